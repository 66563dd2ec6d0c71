"""Run one part of a run: its tiles, and the blocks that need no others; ``ssi run --finish`` does the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack

from ssi_pipeline.config import RunConfig
from ssi_pipeline.executors.gpus.sharing import refuse_missing_gpu
from ssi_pipeline.geometry import TilePlan
from ssi_pipeline.run.array.join import join, refuse_executor
from ssi_pipeline.run.checks.output_checks import check_output
from ssi_pipeline.run.outcome import Outcome, describe_outcome
from ssi_pipeline.run.prepare import prepare
from ssi_pipeline.run.retraining import is_chosen
from ssi_pipeline.run.session import PLAIN, Caller, RunSession, Scope, open_session, recorded
from ssi_pipeline.run.stages import TileStage
from ssi_pipeline.run.stopped import stopping
from ssi_pipeline.run.workers import workers
from ssi_pipeline.storage.state.parts import Part, part_calls, part_ledger, part_log, part_progress
from ssi_pipeline.tasks import Context
from ssi_pipeline.words import size_of


def run_part(
    config: RunConfig,
    part: Part,
    retry_failed: bool = False,
    ignore_disk: bool = False,
    log: Callable[[str], None] = print,
    caller: Caller = PLAIN,
) -> Outcome:
    """Run the pending tasks of one part; other parts may run at the same time, on any machine.

    Parameters
    ----------
    retry_failed
        Also retry tiles of this part that failed before.
    ignore_disk
        Start although the disk might be too small.
    log
        Receives messages for the user before the display starts.
    caller
        How much is on the screen, and the command line.

    Raises
    ------
    SsiError
        The part cannot start or continue; finished tasks stay recorded.
    """
    prepared = prepare(config)
    refuse_executor(prepared)
    if not prepared.context.paths.document.exists():
        refuse_missing_gpu(config)
    check_output(prepared, new=False, ignore_disk=ignore_disk)
    with ExitStack() as stack:
        context, lease = join(prepared, part, stack, ignore_disk, log)
        scope = scope_of(context, part)
        opened = open_session(context, scope, lease, caller=caller)
        with stopping(), opened as session, recorded(session, caller.command):
            for note in context.document.notes:
                session.display.line(f"note: {note}")
            if line := describe_shared(session):
                session.display.line(line)
            session.invalidate_missing()
            if retry_failed:
                session.invalidate_failed()
            with session.concluding():
                session.finished = _work(session, f"tiles of {part}")
            outcome = session.outcome()
            session.display.line(describe_outcome(outcome))
            return outcome


def scope_of(context: Context, part: Part) -> Scope:
    """Return the scope of a part; problems with blocks of other parts are recorded by them, or by the finish."""
    paths, tiles = context.paths, part.tiles(context.plan.n_tiles)
    own, _ = own_blocks(context.plan, tiles)
    files = part_ledger(paths, part), part_log(paths, part), part_progress(paths, part), part_calls(paths, part)
    return Scope(*files, tiles, {"stitch": own}, part)


def _work(session: RunSession, title: str) -> bool:
    """Solve and stitch; returns False when asked to stop."""
    stage = TileStage(session.context, session.state, session.scope.tiles)
    if not stage.has_work():
        return True
    with workers(session) as loop:
        return loop.drive(stage, "solve", title)


def own_blocks(plan: TilePlan, tiles: range) -> tuple[set[int], set[int]]:
    """Return the blocks whose tiles are all in a range, and the tiles of the range that other blocks need too."""
    own: set[int] = set()
    shared: set[int] = set()
    for block in {block for index in tiles for block in plan.blocks_of(plan.tile(index))}:
        members = plan.block(block).tiles
        if all(tile in tiles for tile in members):
            own.add(block)
        else:
            shared.update(tile for tile in members if tile in tiles)
    return own, shared


def describe_shared(session: RunSession) -> str:
    """Return a line on the scratch that stays on disk when a part ends; empty where none does."""
    context, tiles, waits = session.context, session.scope.tiles, not is_chosen(session.context)
    count = len(tiles) if waits else len(own_blocks(context.plan, tiles)[1])
    if not count or context.plan.direct:
        return ""
    size = size_of(4 * context.layers * count * math.prod(context.plan.valid_shape))
    why = "the tiles to retrain are selected there" if waits else "their blocks span several parts"
    return f"the scratch of {count} of {len(tiles)} tiles (up to {size}) stays until the finish: {why}"
