"""Run many images from start to end; the same call resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace

from ssi_pipeline.config import RunConfig
from ssi_pipeline.executors.shared import SharedWorkers
from ssi_pipeline.run.create import move_to_backup
from ssi_pipeline.run.images.call import ImagesCall, ImagesRequest
from ssi_pipeline.run.images.checks import check_collection, sole_run
from ssi_pipeline.run.images.shared import prepare_shared
from ssi_pipeline.run.images.tables import describe_plate_tables
from ssi_pipeline.run.on_end import end_hook
from ssi_pipeline.run.outcome import ImagesOutcome, describe_outcome
from ssi_pipeline.run.progress import ProgressDisplay
from ssi_pipeline.run.session import Caller
from ssi_pipeline.run.stop import StopRequest
from ssi_pipeline.storage.outputs.output_lock import Leases
from ssi_pipeline.storage.state.collection import Collection, open_collection
from ssi_pipeline.storage.state.document import StatePaths


def run_images(
    config: RunConfig,
    request: ImagesRequest,
    log: Callable[[str], None] = print,
    name: str = "CONFIG",
    caller: Caller | None = None,
) -> ImagesOutcome:
    """Start or resume the run of every image, several at a time on the same workers.

    An image that is refused or whose tiles fail leaves the others running; it is reported at the end. ``name``: the
    configuration as in a command, without ``--image``; for messages.

    Raises
    ------
    SsiError
        The run cannot start or continue; what is finished stays recorded.
    """
    caller = caller or Caller()
    check_collection(open_collection(config), request.new)
    with end_hook(config) as ending, ExitStack() as stack:
        leases = stack.enter_context(sole_run(config, log))
        if request.new:
            leases = _start_over(config, log, stack)
        collection = open_collection(config)
        check_collection(collection, new=False)  # again under the lock
        chosen = collection.images if request.image is None else collection.matching(request.image)
        describe_plate_tables(collection)
        prepared = prepare_shared(collection)
        collection.save()
        with _open(collection, leases, request, name, caller) as call:
            ending.outcome = call.outcome(chosen, interrupted=True)  # from here on the run has started
            try:
                finished = call.work(chosen, prepared)
            finally:
                call.write_metadata()
                ending.outcome = call.outcome(chosen, call.stop.requested)
            outcome = replace(ending.outcome, interrupted=not finished)
            ending.outcome = outcome
            call.display.line(describe_outcome(outcome))
    return outcome


def _start_over(config: RunConfig, log: Callable[[str], None], stack: ExitStack) -> Leases:
    """Move an earlier run to a backup; ``stack`` holds the lock of the new state folder."""
    for moved in move_to_backup(config):
        log(f"the earlier run was moved to {moved}")
    stack.close()  # the lock was moved with the state folder
    return stack.enter_context(sole_run(config, log))


@contextmanager
def _open(
    collection: Collection, leases: Leases, request: ImagesRequest, name: str, caller: Caller
) -> Iterator[ImagesCall]:
    paths = StatePaths(collection.paths.root)
    display = ProgressDisplay(paths.log, paths.progress, caller.verbosity, caller.progress)
    with (
        closing(display),
        closing(SharedWorkers(collection.config.executor, str(paths.root), display.line)) as shared,
        StopRequest() as stop,
    ):
        yield ImagesCall(collection, leases, request, name, caller, display, shared, stop)
