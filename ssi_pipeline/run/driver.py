"""Run from start to end; the same call resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from ssi_pipeline.config import RunConfig
from ssi_pipeline.executors.gpus.sharing import refuse_missing_gpu
from ssi_pipeline.results.alarms import describe_quality
from ssi_pipeline.results.channel_facts import channel_psfs, plain_calibration
from ssi_pipeline.results.finish import write_display, write_metrics
from ssi_pipeline.results.provenance import write_provenance
from ssi_pipeline.results.quality_check import quality_problem
from ssi_pipeline.results.unmeasured import describe_unmeasured
from ssi_pipeline.results.versions import describe_other_versions
from ssi_pipeline.run.carry import carried_problems, carry_along
from ssi_pipeline.run.channels import ready_channels
from ssi_pipeline.run.checks.input_check import refuse_changed_input
from ssi_pipeline.run.checks.output_checks import check_output
from ssi_pipeline.run.create import move_to_backup, start_or_resume
from ssi_pipeline.run.on_end import RunEnd, end_hook
from ssi_pipeline.run.outcome import Outcome, describe_outcome, describe_resumed
from ssi_pipeline.run.prepare import Prepared, prepare
from ssi_pipeline.run.repair_log import log_repair
from ssi_pipeline.run.retraining import choose_tiles, invalidate_flagged, is_chosen
from ssi_pipeline.run.scheduling import Scheduler
from ssi_pipeline.run.session import PLAIN, Caller, RunSession, open_session, recorded, whole_run
from ssi_pipeline.run.stages import ListStage, TileStage, pending
from ssi_pipeline.run.summary import describe_summary, summarise
from ssi_pipeline.run.workers import workers
from ssi_pipeline.run.writer import hold_state, sole_writer, until_refused
from ssi_pipeline.storage.outputs.output import read_status, set_status
from ssi_pipeline.storage.outputs.output_lock import Held, Leases
from ssi_pipeline.storage.outputs.output_store import output_store
from ssi_pipeline.storage.outputs.scratch import remove_scratch
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.ledger import DONE, LedgerState
from ssi_pipeline.storage.state.records import TaskRecord
from ssi_pipeline.tasks import Context

Prepare = Callable[[RunConfig, bool], Prepared]
"""Prepares a run; True: without regard to an earlier one."""

Work = Callable[[RunSession], bool]
"""Runs the pending tasks and completes the output; returns False when asked to stop."""

Verify = Callable[[Context, LedgerState], Sequence[TaskRecord]]
"""Reads all written blocks back; returns records that invalidate bad ones."""


def run(
    config: RunConfig,
    new: bool = False,
    retry_failed: bool = False,
    ignore_disk: bool = False,
    log: Callable[[str], None] = print,
    name: str = "CONFIG",
    recreate_output: bool = False,
    caller: Caller = PLAIN,
    preparing: Prepare = prepare,
    working: Work | None = None,
) -> Outcome:
    """Start or resume a run.

    Parameters
    ----------
    new
        Move an earlier run on this output to a backup and start over.
    retry_failed
        Also retry tiles that failed before.
    ignore_disk
        Start although the disk might be too small.
    log
        Receives messages for the user before the display starts.
    name
        The configuration as in a command: its file, quoted for a shell, and its ``--set`` options; for messages.
    recreate_output
        Create a missing output again; move one that belongs to another run to a backup.
    caller
        What the caller brings along: client, progress, how much is on the screen.
    preparing, working
        How the run is prepared and worked on, where its data are not finished.

    Raises
    ------
    SsiError
        The run cannot start or continue; finished tasks stay recorded.
    """
    prepared = preparing(config, new)
    paths = StatePaths(config.state_path)
    if new or not paths.document.exists():
        refuse_missing_gpu(config)
    check_output(prepared, new, ignore_disk, recreate_output)
    with end_hook(config) as ending, sole_writer(config, "a run", log) as leases, ExitStack() as stack:
        # again under the lock: another client may have changed it meanwhile
        check_output(prepared, new, ignore_disk=True, recreate=recreate_output)
        if new and (paths.document.exists() or output_store(config.output.path).exists()):
            prepared, leases = _start_over(preparing, prepared, leases, ignore_disk, log, stack)
        recreate = recreate_output and not new
        with session_on(prepared, leases, ending, name, retry_failed, recreate, caller) as session:
            session.finished = (working or work)(session)
    assert ending.outcome is not None
    return ending.outcome


def _start_over(
    preparing: Prepare,
    prepared: Prepared,
    leases: Leases,
    ignore_disk: bool,
    log: Callable[[str], None],
    stack: ExitStack,
) -> tuple[Prepared, Leases]:
    """Move an earlier run to a backup; ``stack`` holds the lock of the new state folder."""
    config = prepared.document.config
    for moved in move_to_backup(config):
        log(f"the earlier run was moved to {moved}")
    # the lock was moved with the state folder: the new folder needs its own; the lease on the output is kept
    lock = StatePaths(config.state_path).lock
    lease = stack.enter_context(hold_state(config, lock, "a run", log, until_refused()))
    prepared = preparing(config, False)  # with a plan of its own, not that of the earlier run
    check_output(prepared, new=False, ignore_disk=ignore_disk)
    return prepared, Leases(lease, leases.output)


@contextmanager
def session_on(
    prepared: Prepared,
    lease: Held,
    ending: RunEnd,
    name: str,
    retry_failed: bool = False,
    recreate: bool = False,
    caller: Caller = PLAIN,
) -> Iterator[RunSession]:
    """Start or resume a run under its lock; print its summary at the end."""
    context, resumed = start_or_resume(prepared, recreate=recreate)
    scope = whole_run(context)
    with open_session(context, scope, lease, ending, caller) as session, recorded(session, caller.command):
        display = session.display
        for note in context.document.notes:
            display.line(f"note: {note}")
        if resumed:
            for line in [describe_resumed(context, session.state), *describe_other_versions(context.document)]:
                display.line(line)
        refuse_changed_input(context, display, session.is_asked_to_stop)
        ending.outcome = session.outcome()  # from here on the run has started; errors before this are refusals
        _invalidate(session, retry_failed)
        try:
            with session.concluding():
                yield session
        finally:
            _print_summary(session, name)
        outcome = session.outcome()
        if outcome.complete and not context.document.config.output.keep_scratch:
            remove_scratch(context.scratch_path)
        display.line(describe_outcome(outcome))


def _invalidate(session: RunSession, retry_failed: bool) -> None:
    """Make missing blocks, flagged tiles and, on request, failed tiles pending again."""
    session.invalidate_missing()
    for record in invalidate_flagged(session.context, session.state):
        session.invalidate(record)
    if retry_failed and (failed := session.invalidate_failed()):
        session.display.line(f"{failed} failed tiles will be retried")


def _print_summary(session: RunSession, name: str) -> None:
    summary = summarise(session.tally)
    with suppress(OSError):  # the terminal was closed
        for line in describe_summary(summary, session.state, session.ledger.seconds, session.lost, name):
            session.display.line(line)


def work(session: RunSession, verify: Verify = lambda *_: []) -> bool:
    """Run the pending tasks and complete the output; returns False when asked to stop.

    ``verify`` is called before the output is marked as complete.
    """
    if is_finished(session.context, session.state):
        return True
    set_status(session.context.document.config.output.path, "incomplete")
    ready = is_chosen(session.context) and session.context.paths.calibration.exists()
    if not (session.state.nothing_to_do and ready):
        with workers(session) as loop:
            finished = ready_channels(session, loop) and tiles_and_levels(session, loop)
        if not finished:
            return False
    complete(session, verify)
    return True


def tiles_and_levels(session: RunSession, loop: Scheduler) -> bool:
    """Run the pending tiles, blocks and coarser levels; returns False when asked to stop."""
    context, state = session.context, session.state
    if not loop.drive(TileStage(context, state, session.scope.tiles), "solve", "tiles"):
        return False
    if state.count("stitch", DONE) < context.plan.n_blocks:
        if not is_chosen(context):
            session.display.line(
                "no tile is retrained before all blocks are written: tiles are flagged relative to all others"
            )
        return True  # the pyramid of an incomplete image would have to be written again
    if not is_chosen(context):
        count = len(choose_tiles(context))
        session.display.line(f"flagged tiles to retrain: {count or 'none'}")
        for record in invalidate_flagged(context, state):
            session.invalidate(record)
        return tiles_and_levels(session, loop)
    for level in range(1, context.pyramid.n_levels):
        todo = pending(state, "pyramid", context.pyramid.indices(level))
        stage = ListStage("pyramid", todo, context.document.frames)
        if todo and not loop.drive(stage, "pyramid", f"pyramid level {level}"):
            return False
    return True


def complete(session: RunSession, verify: Verify = lambda *_: []) -> None:
    """Write metrics and provenance, and mark the output as complete if every block is written."""
    context, state, display = session.context, session.state, session.display
    session.ledger.sync()  # raises where the lock was lost
    metrics = write_metrics(context)
    said = describe_quality(metrics, plain_calibration(context), channel_psfs(context))
    for line in (*describe_unmeasured(metrics, context.plan), *said):
        display.line(line)
    write_provenance(context, session.tally, session.call)
    for line in carry_along(context):
        display.line(line)
    refuse_changed_input(context, display, session.is_asked_to_stop)
    # also with an incomplete pyramid: a bad block below it may be the cause
    whole = state.count("stitch", DONE) == context.plan.n_blocks
    for record in verify(context, state) if whole else []:
        display.line(f"{record.error}; run again to repair it")
        session.invalidate(record)
    if state.all_written:
        session.ledger.sync()
        write_display(context)
        set_status(context.document.config.output.path, "complete")


def is_finished(context: Context, state: LedgerState) -> bool:
    """Return whether an earlier call completed the output: it may have been killed just before the end."""
    if not state.nothing_to_do or read_status(context.document.config.output.path) != "complete":
        return False
    problem = quality_problem(context)
    if problem is not None:
        log_repair(context.paths, f"{problem}: repaired from the ledger")
    return problem is None and context.paths.calibration.exists() and not carried_problems(context, unwritten=True)
