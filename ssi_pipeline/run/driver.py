"""One run from start to end; the same call resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

from ssi_pipeline.config import ExecutorConfig, RunConfig
from ssi_pipeline.errors import SsiError
from ssi_pipeline.executors import Executor, open_executor
from ssi_pipeline.executors.sharing import describe_idle, own_cards, refuse_missing_gpu
from ssi_pipeline.run import failure_budget
from ssi_pipeline.run.alarms import describe_quality
from ssi_pipeline.run.call import Call
from ssi_pipeline.run.channels import ready_channels
from ssi_pipeline.run.failure_budget import FailureBudget
from ssi_pipeline.run.finish import write_display, write_metrics
from ssi_pipeline.run.hook import Ending, end_hook
from ssi_pipeline.run.input_check import refuse_changed_input
from ssi_pipeline.run.ledger_repair import readable_state
from ssi_pipeline.run.loop import Loop
from ssi_pipeline.run.missing import forget_missing
from ssi_pipeline.run.outcome import Outcome, describe_outcome, describe_resumed
from ssi_pipeline.run.output_checks import check_output
from ssi_pipeline.run.prepare import Prepared, prepare
from ssi_pipeline.run.progress import ProgressDisplay
from ssi_pipeline.run.quality_check import quality_problem
from ssi_pipeline.run.retraining import choose_tiles, is_chosen, take_back_flagged
from ssi_pipeline.run.say import say_repaired
from ssi_pipeline.run.settle import decide, device_of, placed, save_compute, settle
from ssi_pipeline.run.setup import put_aside, start_or_resume
from ssi_pipeline.run.stages import ListStage, TileStage, forget_failures, pending
from ssi_pipeline.run.stop import StopRequest
from ssi_pipeline.run.stopped import as_stopped
from ssi_pipeline.run.unfit import UnfitWorkers
from ssi_pipeline.run.versions import describe_other_versions, write_made_by
from ssi_pipeline.run.writer import hold_state, sole_writer, until_refused
from ssi_pipeline.storage.ledger import DONE, Ledger, LedgerState
from ssi_pipeline.storage.output import read_status, set_status
from ssi_pipeline.storage.output_lock import Held, Leases
from ssi_pipeline.storage.records import TaskRecord
from ssi_pipeline.storage.scratch import remove_scratch
from ssi_pipeline.storage.state import StatePaths
from ssi_pipeline.storage.versions import installed_versions
from ssi_pipeline.tasks import Context, RunSpec

_ROUNDS = 10
"""Times that each of many workers may be lost or fail, with nothing done in between, before the run gives up."""

Proof = Callable[[Context, LedgerState], Sequence[TaskRecord]]
"""Looks at all that is written; returns records that take back what is not good."""


def run(
    config: RunConfig,
    new: bool = False,
    retry_failed: bool = False,
    ignore_disk: bool = False,
    say: Callable[[str], None] = print,
    name: str = "CONFIG",
    recreate_output: bool = False,
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
    name
        Of the configuration's file, for the commands that the user is told.
    recreate_output
        Make the output again where it is missing; one of another run of ours is put aside.

    Raises
    ------
    SsiError
        The run cannot start, or cannot go on; what was done stays recorded.
    """
    prepared = prepare(config, new)
    paths = StatePaths(config.state_path)
    if new or not paths.document.exists():
        refuse_missing_gpu(config)
    check_output(prepared, new, ignore_disk, recreate_output)
    with end_hook(config) as ending, sole_writer(config, "a run", say) as leases:
        check_output(
            prepared, new, ignore_disk=True, recreate=recreate_output
        )  # before the lock, all may have been otherwise
        if not (new and (paths.document.exists() or config.output.path.exists())):
            return run_locked(prepared, leases, retry_failed, ending, name, recreate_output=recreate_output)
        for moved in put_aside(prepared):
            say(f"the earlier run is kept as {moved}")
        # the lock went aside with the state: the new folder needs one of its own; the output stays ours meanwhile
        with hold_state(config, paths.lock, "a run", say, until_refused()) as lease:
            prepared = prepare(config)  # not cut as the run that was put aside
            check_output(prepared, new=False, ignore_disk=ignore_disk)
            return run_locked(prepared, Leases(lease, leases.output), retry_failed, ending, name)


def run_locked(
    prepared: Prepared,
    lease: Held,
    retry_failed: bool,
    ending: Ending,
    name: str,
    prove: Proof = lambda *_: [],
    recreate_output: bool = False,
) -> Outcome:
    """Do it under the run's lock; ``prove`` has the last word before the output is called complete."""
    context, resumed = start_or_resume(prepared, recreate=recreate_output)
    state = readable_state(context, lease.check)
    ledger = Ledger(context.paths.ledger, lease.check)
    with ledger, closing(_display(context)) as display, StopRequest() as stop:
        call = Call(context, state, ledger, display, stop)
        for note in context.document.notes:
            display.line(f"note: {note}")
        if resumed:
            for line in [describe_resumed(context, state), *describe_other_versions(context.document)]:
                display.line(line)
        refuse_changed_input(context, display, lambda: stop.requested)
        ending.outcome = call.outcome(interrupted=True)  # from here on the run has begun; before, it is refused
        _take_back(call, retry_failed)
        finished = False
        try:
            finished = _is_finished(context, state) or _work(call, prove)
        except KeyboardInterrupt:
            pass
        except (SsiError, OSError) as error:
            stopped = as_stopped(error)
            display.log(str(stopped))  # whoever called says it on the screen
            raise stopped from error
        finally:
            ending.outcome = outcome = call.outcome(interrupted=not finished)
            call.summarise(name)
        if outcome.complete and not context.document.config.output.keep_scratch:
            remove_scratch(context.scratch_path)
        display.line(describe_outcome(outcome))
        return outcome


def _take_back(call: Call, retry_failed: bool) -> None:
    """Put back to do what is not there any more, and what failed, when asked to."""
    for record in forget_missing(call.context, call.state) + take_back_flagged(call.context, call.state):
        call.ledger.append(record)
    if retry_failed and (again := forget_failures(call.state)):
        call.display.line(f"{len(again)} failed tiles are taken up again")
        for record in again:
            call.ledger.append(record)


def _display(context: Context) -> ProgressDisplay:
    return ProgressDisplay(context.paths.log, context.paths.progress)


def _work(call: Call, prove: Proof) -> bool:
    """Drive all stages and finish the output; returns False when asked to stop."""
    output = call.context.document.config.output.path
    set_status(output, "incomplete")
    ready = is_chosen(call.context) and call.context.paths.calibration.exists()
    if not (call.state.nothing_to_do and ready) and not _compute(call):
        return False
    call.ledger.sync()  # refuses where the lock was lost meanwhile
    for line in describe_quality(write_metrics(call.context)):
        call.display.line(line)
    write_made_by(call.context)
    refuse_changed_input(call.context, call.display, lambda: call.stop.requested)
    # also where the pyramid is not whole: a bad block below it may be why
    whole = call.state.count("stitch", DONE) == call.context.plan.n_blocks
    for record in prove(call.context, call.state) if whole else []:
        call.display.line(f"{record.error}; run again to mend it")
        call.ledger.append(record)
        call.state.note(record)
    if call.state.all_written:
        call.ledger.sync()
        write_display(call.context)
        set_status(output, "complete")
    return True


def _compute(call: Call) -> bool:
    """Start the workers and drive all stages; returns False when asked to stop."""
    with workers(call) as loop:
        return ready_channels(call.context, call.state, loop) and _tiles_and_levels(call.context, call.state, loop)


@contextmanager
def workers(call: Call) -> Iterator[Loop]:
    """Start the workers that the configuration asks for, on what the run is computed on; settle that first."""
    context, display, config = call.context, call.display, call.context.document.config
    device = device_of(context)
    section = placed(config.executor, device)
    compute = context.document.compute or decide(config, device, [])
    document = context.document
    versions = document.version_sets.index(installed_versions())
    spec = RunSpec(str(context.paths.root), document.fingerprint, compute, versions)
    with closing(open_executor(section, spec, display.line)) as executor:
        what = str(compute) if compute else "a GPU"
        unfit = UnfitWorkers(executor, what, section.workers or 1, display.line)
        if compute is None:
            compute = settle(config, device, executor, unfit, lambda: call.stop.requested)
            executor.use(compute)
        call.context = save_compute(context, compute)
        display.line(f"{_describe_workers(section, executor)}; computing on {compute}")
        if idle := describe_idle(config.executor, compute.device):
            display.line(idle)
        # many workers fail many times at once, when a file system or a partition is away
        in_a_row = max(failure_budget.INFRASTRUCTURE_FAILURES, _ROUNDS * (section.workers or 1))
        budget = FailureBudget(failure_budget.WORKER_LOSSES, in_a_row, executor.avoid, display.line)
        attempts = failure_budget.TILE_ATTEMPTS
        yield Loop(executor, call.ledger, call.state, display, call.stop, attempts, budget, call.lost, unfit)


def _describe_workers(section: ExecutorConfig, executor: Executor) -> str:
    if section.kind == "slurm":
        return f"up to {section.workers} workers in SLURM jobs, as they come"
    cards = own_cards(section).names if section.kind == "dask" else ()
    shared = f" sharing GPU {', '.join(cards)}" if cards else ""
    return f"{executor.slots} worker(s), {section.kind} executor{shared}"


def _tiles_and_levels(context: Context, state: LedgerState, loop: Loop) -> bool:
    if not loop.drive(TileStage(context, state), "solve", "tiles"):
        return False
    if state.count("stitch", DONE) < context.plan.n_blocks:
        if not is_chosen(context):
            loop.say("no tile is trained once more before all blocks are written: which ones stand out shows then")
        return True  # a pyramid of an image with holes would have to be made again
    if not is_chosen(context):
        count = len(choose_tiles(context))
        loop.say(f"tiles that stand out and are trained once more: {count or 'none'}")
        for record in take_back_flagged(context, state):
            loop.take_back(record)
        return _tiles_and_levels(context, state, loop)
    for level in range(1, context.pyramid.n_levels):
        todo = pending(state, "pyramid", context.pyramid.indices(level))
        if todo and not loop.drive(ListStage("pyramid", todo), "pyramid", f"pyramid level {level}"):
            return False
    return True


def _is_finished(context: Context, state: LedgerState) -> bool:
    """Tell whether an earlier call ended well: one may have been killed between the last block and the last words."""
    if not state.nothing_to_do or read_status(context.document.config.output.path) != "complete":
        return False
    problem = quality_problem(context)
    if problem is not None:
        say_repaired(context.paths, f"{problem}: made again from the ledger")
    return problem is None and context.paths.calibration.exists()
