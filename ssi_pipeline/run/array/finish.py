"""Finish a run in parts: merge their ledgers, write the blocks across parts and the pyramid, verify every block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import InputError
from ssi_pipeline.run.checks.verify import check_all
from ssi_pipeline.run.create import start_or_resume
from ssi_pipeline.run.driver import session_on, work
from ssi_pipeline.run.on_end import end_hook
from ssi_pipeline.run.outcome import Outcome
from ssi_pipeline.run.prepare import prepare
from ssi_pipeline.run.repair.ledger_repair import readable_ledger
from ssi_pipeline.run.repair.missing import forget_missing
from ssi_pipeline.run.session import PLAIN, Caller, count_outcome, whole_run
from ssi_pipeline.run.writer import sole_writer
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.ledger import DONE, FAILED, TODO, LedgerState
from ssi_pipeline.storage.state.parts import Part, read_count
from ssi_pipeline.storage.state.records import TaskRecord
from ssi_pipeline.tasks import Context


def finish_parts(
    config: RunConfig, name: str = "run.yaml", log: Callable[[str], None] = print, caller: Caller = PLAIN
) -> Outcome:
    """Finish a run whose parts are done; the same call resumes.

    Parameters
    ----------
    name
        The configuration as in a command: its file, quoted for a shell, and its ``--set`` options; for messages.
    log
        Receives lines for the user.
    caller
        How much is on the screen, and the command line.

    Raises
    ------
    SsiError
        A part is still running, or the output cannot be completed.
    """
    prepared = prepare(config)
    paths = StatePaths(config.state_path)
    if not paths.document.exists():
        raise InputError(f"no run found at {paths.root}: start its parts with `{_command(name)} --part k/n`")
    with end_hook(config) as ending, sole_writer(config, "the finish of a run in parts", log) as lease:
        context, _ = start_or_resume(prepared)
        state = readable_ledger(context, lease.check).state
        todo = pending_tiles(context, state)
        if not todo or context.paths.retrained.exists():  # tiles pending since then are the finish's own
            with session_on(prepared, lease, ending, name, caller=caller) as session:
                session.finished = work(session, _unreadable)
        else:
            for line in describe_missing(context, todo, read_count(paths), _command(name)):
                log(line)
            ending.outcome = count_outcome(context, whole_run(context), state, computed_tiles=0, interrupted=False)
    assert ending.outcome is not None
    return ending.outcome


def _command(name: str) -> str:
    return f"ssi run {name}"


def pending_tiles(context: Context, state: LedgerState) -> list[int]:
    """Return the pending tiles that some block needs; failed ones are left out. ``state`` learns of missing files."""
    forget_missing(context, state)
    missing = {int(tile) for tile in (state.status["solve"] == TODO).nonzero()[0]}
    for block in (state.status["stitch"] != DONE).nonzero()[0]:
        missing.update(tile for tile in context.plan.block(int(block)).tiles if _is_pending(context, state, tile))
    return sorted(missing)


def _is_pending(context: Context, state: LedgerState, tile: int) -> bool:
    status = state.status["solve"][tile]
    if status == FAILED:
        return False
    return bool(status != DONE) or context.plan.direct or not context.scratch.has(tile)


def describe_missing(context: Context, tiles: list[int], count: int | None, command: str) -> list[str]:
    """Return the pending tiles of each part, with the command to run it."""
    if count is None:
        return [f"{len(tiles)} tiles are pending: `{command}`"]
    n_tiles = context.plan.n_tiles
    starts = Counter(_part_of(tile, n_tiles, count) for tile in tiles)
    parts = [Part(count, number) for number in sorted(starts)]
    found = [
        f"{part}: {starts[part.number]} of {len(part.tiles(n_tiles))} tiles pending: `{command} --part {part.option}`"
        for part in parts
    ]
    return [*found, f"incomplete: {len(tiles)} of {n_tiles} tiles are pending; finished tiles are kept"]


def _part_of(tile: int, n_tiles: int, count: int) -> int:
    """Return the number of the part whose range holds a tile: the inverse of ``Part.tiles``."""
    return ((tile + 1) * count - 1) // n_tiles + 1


def _unreadable(context: Context, state: LedgerState) -> list[TaskRecord]:
    """Read every block of every level back; returns the records that invalidate bad ones."""
    found = check_all(context, state)
    return [TaskRecord(kind, index, "invalid", error=problem) for kind, index, problem in found if problem]
