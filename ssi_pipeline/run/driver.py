"""One run from start to end; the same call resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

from ssi_pipeline.config import ExecutorConfig, RunConfig
from ssi_pipeline.errors import SsiError, StoppedError
from ssi_pipeline.executors import Executor, open_executor
from ssi_pipeline.run.channels import ready_channels
from ssi_pipeline.run.finish import write_metrics
from ssi_pipeline.run.loop import Loop
from ssi_pipeline.run.losses import Losses
from ssi_pipeline.run.merge import settle_parts
from ssi_pipeline.run.outcome import Outcome, describe_outcome, describe_resumed
from ssi_pipeline.run.prepare import Prepared, prepare, task_counts
from ssi_pipeline.run.progress import ProgressDisplay
from ssi_pipeline.run.setup import check_output, put_aside, start_or_resume
from ssi_pipeline.run.stages import ListStage, TileStage, forget_failures, pending
from ssi_pipeline.run.stop import StopRequest
from ssi_pipeline.run.verify import forget_missing
from ssi_pipeline.storage.ledger import DONE, FAILED, Ledger, LedgerState, read_state
from ssi_pipeline.storage.lock import Lease, run_lock
from ssi_pipeline.storage.output import read_status, set_status
from ssi_pipeline.storage.records import Kind, TaskRecord
from ssi_pipeline.storage.scratch import remove_scratch
from ssi_pipeline.storage.state import StatePaths, make_state_folder
from ssi_pipeline.tasks import Context, RunSpec

WRITTEN: tuple[Kind, ...] = ("stitch", "pyramid")
"""Kinds of task that write the image."""

Proof = Callable[[Context, LedgerState], Sequence[TaskRecord]]
"""Looks at all that is written; returns records that take back what is not good."""


def run(
    config: RunConfig,
    new: bool = False,
    retry_failed: bool = False,
    ignore_disk: bool = False,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Do whatever of a run is not done yet.

    Parameters
    ----------
    new
        Put an earlier run on this output aside and start over.
    retry_failed
        Also take up tiles that failed before.
    ignore_disk
        Start although the disk might be too small.
    say
        Receives lines for the user before the display is up.

    Raises
    ------
    SsiError
        The run cannot start, or cannot go on; what was done stays recorded.
    """
    prepared = prepare(config)
    paths = StatePaths(config.state_path)
    check_output(prepared, new, ignore_disk)
    make_state_folder(paths)
    with run_lock(paths.lock, say=say) as lease:
        settle_parts(paths, lease, say)
        if not (new and (paths.document.exists() or config.output.path.exists())):
            return run_locked(prepared, lease, retry_failed)
        for moved in put_aside(prepared):
            say(f"the earlier run is kept as {moved}")
    # the lock went aside with the state: the new folder needs one of its own
    return run(config, retry_failed=retry_failed, ignore_disk=ignore_disk, say=say)


def run_locked(prepared: Prepared, lease: Lease, retry_failed: bool, prove: Proof = lambda *_: []) -> Outcome:
    """Do it under the run's lock; ``prove`` has the last word before the output is called complete."""
    context, resumed = start_or_resume(prepared)
    state = read_state(context.paths.ledger, task_counts(context))
    with (
        Ledger(context.paths.ledger, lease.check) as ledger,
        closing(_display(context)) as display,
        StopRequest() as stop,
    ):
        if resumed:
            display.line(describe_resumed(context, state))
        for record in forget_missing(context, state):
            ledger.append(record)
        if retry_failed and (again := forget_failures(state)):
            display.line(f"{len(again)} failed tiles are taken up again")
            for record in again:
                ledger.append(record)
        try:
            finished = _is_finished(context, state) or _work(context, state, ledger, display, stop, prove)
        except KeyboardInterrupt:
            finished = False
        except (SsiError, OSError) as error:
            raise StoppedError(f"stopped: {error}; what is done is recorded") from error
        outcome = Outcome(
            state=context.paths.root,
            tiles=context.plan.n_tiles,
            tiles_done=state.count("solve", DONE),
            tiles_failed=state.count("solve", FAILED),
            blocks_missing=sum(int((state.status[kind] != DONE).sum()) for kind in WRITTEN),
            computed_tiles=ledger.done["solve"],
            interrupted=not finished,
        )
        if outcome.complete and not context.document.config.output.keep_scratch:
            remove_scratch(context.scratch_path)
        display.line(describe_outcome(outcome))
        return outcome


def _display(context: Context) -> ProgressDisplay:
    return ProgressDisplay(context.paths.log, context.paths.progress)


def _work(
    context: Context, state: LedgerState, ledger: Ledger, display: ProgressDisplay, stop: StopRequest, prove: Proof
) -> bool:
    """Drive all stages and finish the output; returns False when asked to stop."""
    set_status(context.document.config.output.path, "incomplete")
    if not (nothing_to_do(state) or _compute(context, state, ledger, display, stop)):
        return False
    ledger.sync()  # refuses where the lock was lost meanwhile
    write_metrics(context)
    # also where the pyramid is not whole: a bad block below it may be why
    for record in prove(context, state) if state.count("stitch", DONE) == context.plan.n_blocks else []:
        display.line(f"{record.error}; run again to mend it")
        ledger.append(record)
        state.note(record)
    if nothing_to_do(state):
        ledger.sync()
        set_status(context.document.config.output.path, "complete")
    return True


@contextmanager
def workers(
    context: Context, state: LedgerState, ledger: Ledger, display: ProgressDisplay, stop: StopRequest
) -> Iterator[Loop]:
    """Start the workers that the configuration asks for."""
    section = context.document.config.executor
    spec = RunSpec(str(context.paths.root), context.document.fingerprint)
    with closing(open_executor(section, spec, display.line)) as executor:
        display.line(_describe_workers(section, executor))
        losses = Losses(section.worker_losses, section.infrastructure_failures, executor.avoid, display.line)
        yield Loop(executor, ledger, state, display, stop, section.tile_attempts, losses)


def _compute(context: Context, state: LedgerState, ledger: Ledger, display: ProgressDisplay, stop: StopRequest) -> bool:
    """Start the workers and drive all stages; returns False when asked to stop."""
    with workers(context, state, ledger, display, stop) as loop:
        return ready_channels(context, state, loop) and _tiles_and_levels(context, state, loop)


def _describe_workers(section: ExecutorConfig, executor: Executor) -> str:
    if section.kind == "slurm":
        return f"up to {section.workers} workers in SLURM jobs, as they come"
    return f"{executor.slots} worker(s), {section.kind} executor"


def _tiles_and_levels(context: Context, state: LedgerState, loop: Loop) -> bool:
    if not loop.drive(TileStage(context, state), "solve", "tiles"):
        return False
    if state.count("stitch", DONE) < context.plan.n_blocks:
        return True  # a pyramid of an image with holes would have to be made again
    for level in range(1, context.pyramid.n_levels):
        todo = pending(state, "pyramid", context.pyramid.indices(level))
        if todo and not loop.drive(ListStage("pyramid", todo), "pyramid", f"pyramid level {level}"):
            return False
    return True


def nothing_to_do(state: LedgerState) -> bool:
    """Tell whether every block of every level is written."""
    return all(bool((state.status[kind] == DONE).all()) for kind in WRITTEN)


def _is_finished(context: Context, state: LedgerState) -> bool:
    """Tell whether an earlier call ended well: one may have been killed between the last block and the last words."""
    return nothing_to_do(state) and read_status(context.document.config.output.path) == "complete"
