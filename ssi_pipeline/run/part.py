"""One part of a run: its tiles, and the blocks that need no others; the rest is for ``ssi run --finish``."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack, closing

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import SsiError
from ssi_pipeline.executors.sharing import refuse_missing_gpu
from ssi_pipeline.geometry import TilePlan
from ssi_pipeline.run.call import Call
from ssi_pipeline.run.driver import workers
from ssi_pipeline.run.join import join, refuse_executor
from ssi_pipeline.run.ledger_repair import readable_state
from ssi_pipeline.run.missing import forget_missing
from ssi_pipeline.run.outcome import Outcome
from ssi_pipeline.run.output_checks import check_output
from ssi_pipeline.run.prepare import prepare
from ssi_pipeline.run.progress import ProgressDisplay, size_of
from ssi_pipeline.run.retraining import is_chosen
from ssi_pipeline.run.stages import TileStage, forget_failures
from ssi_pipeline.run.stop import StopRequest
from ssi_pipeline.run.stopped import as_stopped, stopping
from ssi_pipeline.storage.ledger import DONE, FAILED, Ledger
from ssi_pipeline.storage.output_lock import Held
from ssi_pipeline.storage.parts import Part, part_ledger, part_log, part_progress
from ssi_pipeline.tasks import Context


def run_part(
    config: RunConfig,
    part: Part,
    retry_failed: bool = False,
    ignore_disk: bool = False,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Do whatever of a part is not done yet; other parts may work at the same time, on any machine.

    Parameters
    ----------
    retry_failed
        Also take up tiles of this part that failed before.
    ignore_disk
        Start although the disk might be too small.
    say
        Receives lines for the user before the display is up.

    Raises
    ------
    SsiError
        The part cannot start, or cannot go on; what was done stays recorded.
    """
    prepared = prepare(config)
    refuse_executor(prepared)
    if not prepared.context.paths.document.exists():
        refuse_missing_gpu(config)
    check_output(prepared, new=False, ignore_disk=ignore_disk)
    with ExitStack() as stack:
        context, lease = join(prepared, part, stack, ignore_disk, say)
        with stopping():
            return _run_locked(context, part, lease, retry_failed)


def _run_locked(context: Context, part: Part, lease: Held, retry_failed: bool) -> Outcome:
    paths, tiles = context.paths, part.tiles(context.plan.n_tiles)
    own = part_ledger(paths, part)
    blocks, shared = own_blocks(context.plan, tiles)
    state = readable_state(context, lease.check, own, lambda r: r.kind == "stitch" and r.index in blocks)
    display = ProgressDisplay(part_log(paths, part), part_progress(paths, part))
    with Ledger(own, lease.check) as ledger, closing(display), StopRequest() as stop:
        for note in context.document.notes:
            display.line(f"note: {note}")
        if (shared or not is_chosen(context)) and not context.plan.direct:
            display.line(describe_shared(context, shared, tiles))
        # what is wrong with the others' blocks is theirs to record, or the finish's
        again = [r for r in forget_missing(context, state) if r.kind == "stitch" and r.index in blocks]
        again += forget_failures(state, tiles) if retry_failed else []
        for record in again:
            ledger.append(record)
        try:
            finished = _work(Call(context, state, ledger, display, stop), part)
        except KeyboardInterrupt:
            finished = False
        except (SsiError, OSError) as error:
            stopped = as_stopped(error)
            display.log(str(stopped))  # whoever called says it on the screen
            raise stopped from error
        within = slice(tiles.start, tiles.stop)
        outcome = Outcome(
            state=paths.root,
            tiles=len(tiles),
            tiles_done=state.count("solve", DONE, within),
            tiles_failed=state.count("solve", FAILED, within),
            blocks_missing=sum(int(state.status["stitch"][b]) != DONE for b in blocks),
            computed_tiles=ledger.done["solve"],
            interrupted=not finished,
            part=part,
        )
        display.line(describe_part(outcome))
        return outcome


def _work(call: Call, part: Part) -> bool:
    """Solve and stitch; returns False when asked to stop."""
    tiles = part.tiles(call.context.plan.n_tiles)
    stage = TileStage(call.context, call.state, tiles)
    if not stage.has_work():
        return True
    with workers(call) as loop:
        return loop.drive(stage, "solve", f"tiles of {part}", slice(tiles.start, tiles.stop))


def own_blocks(plan: TilePlan, tiles: range) -> tuple[set[int], set[int]]:
    """Return the blocks all of whose tiles are in a range, and the tiles of the range that other blocks need too."""
    own: set[int] = set()
    shared: set[int] = set()
    for block in {block for index in tiles for block in plan.blocks_of(plan.tile(index))}:
        members = plan.block(block).tiles
        if all(tile in tiles for tile in members):
            own.add(block)
        else:
            shared.update(tile for tile in members if tile in tiles)
    return own, shared


def describe_shared(context: Context, shared: set[int], tiles: range) -> str:
    """Return a line on the disk that a part's end does not free."""
    waits = not is_chosen(context)
    count = len(tiles) if waits else len(shared)
    size = size_of(4 * context.layers * count * math.prod(context.plan.valid_shape))
    why = "which tiles are trained once more is chosen there" if waits else "their blocks lie across parts"
    return f"the scratch of {count} of {len(tiles)} tiles (up to {size}) stays until the finish: {why}"


def describe_part(outcome: Outcome) -> str:
    """Return the line that ends a part."""
    counts = f"{outcome.tiles_done} of {outcome.tiles} tiles done, {outcome.computed_tiles} solved now"
    if outcome.interrupted:
        return f"{outcome.part} stopped: {counts}; nothing is lost: run the same command again to resume"
    if outcome.tiles_failed:
        return (
            f"{outcome.part} incomplete: {counts}; {outcome.tiles_failed} failed; `ssi status` names the causes, "
            "the same command with --retry-failed tries them again"
        )
    if outcome.blocks_missing:
        return (
            f"{outcome.part} incomplete: {counts}, but {outcome.blocks_missing} blocks could not be written: run again"
        )
    return f"{outcome.part} done: {counts}; when all parts are done, `ssi run --finish` completes the output"
