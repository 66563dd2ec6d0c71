"""Run many images from start to end; the same call resumes."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import (
    ChannelError,
    CorruptDataError,
    ExecutorError,
    InputError,
    LockedError,
    LockLostError,
    RunChangedError,
    SsiError,
    StoppedError,
)
from ssi_pipeline.executors.shared import SharedWorkers
from ssi_pipeline.results.collection import CollectionStatus, ImageStatus, image_status, save_summary
from ssi_pipeline.run.create import move_to_backup
from ssi_pipeline.run.driver import run
from ssi_pipeline.run.images.checks import check_collection, sole_run
from ssi_pipeline.run.images.layout import layout_of
from ssi_pipeline.run.images.shared import prepare_shared, ready_shared
from ssi_pipeline.run.on_end import end_hook
from ssi_pipeline.run.outcome import ImagesOutcome, describe_outcome
from ssi_pipeline.run.prepare import Prepared
from ssi_pipeline.run.progress import ProgressDisplay
from ssi_pipeline.run.session import Caller
from ssi_pipeline.run.stop import StopRequest
from ssi_pipeline.storage.inputs.images import Image
from ssi_pipeline.storage.outputs.collection import write_collection
from ssi_pipeline.storage.outputs.output_lock import Leases
from ssi_pipeline.storage.state.collection import Collection, open_collection
from ssi_pipeline.storage.state.document import StatePaths

_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class ImagesRequest:
    """What a call on many images asks for, as the options of ``ssi run``; ``image``: pattern of those to run."""

    new: bool = False
    retry_failed: bool = False
    ignore_disk: bool = False
    recreate_output: bool = False
    image: str | None = None


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


@dataclass
class ImagesCall:
    """One call on many images, with its lock held."""

    collection: Collection
    leases: Leases
    request: ImagesRequest
    name: str
    caller: Caller
    display: ProgressDisplay
    shared: SharedWorkers
    stop: StopRequest
    computed: int = 0
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self.inner = Caller(verbosity=-1, command=self.caller.command, opener=self.shared.open, stop=self.stop)
        self.found: dict[str, ImageStatus] = {}

    def work(self, chosen: Sequence[Image], shared: Prepared | None) -> bool:
        """Run the images, after what they share; returns False when asked to stop."""
        self.found = {image.name: image_status(self.collection, image) for image in chosen}
        todo = [image for image in chosen if self._is_pending(self.found[image.name])]
        done = len(chosen) - len(todo)
        self.display.line(f"images: {len(chosen)}, of which {done} are complete")
        if not todo:
            return True
        layout = replace(layout_of(self.collection, self.found), images=self.collection.images, status="incomplete")
        write_collection(self.collection.config.output.path, layout)
        if shared is not None:
            self.display.line(f"finding what the images share: {self.collection.config.input.share}")
            if not ready_shared(self.collection, shared, self.leases, self.inner):
                return False
        self.display.start("images", done, len(chosen))
        try:
            self._drive(iter(todo))
        finally:
            self.display.finish_stage()
        if self.error is not None:
            raise self.error
        return not self.stop.requested

    def _is_pending(self, status: ImageStatus) -> bool:
        missing = self.request.recreate_output and not (self.collection.config.output.path / status.name).exists()
        return status.state != "complete" or missing

    def _drive(self, todo: Iterator[Image]) -> None:
        running: set[Future[int]] = set()
        with ThreadPoolExecutor(self.shared.runs, thread_name_prefix="image") as threads:
            while True:
                try:
                    while len(running) < self.shared.runs and not self.stop.requested:
                        if (image := next(todo, None)) is None:
                            break
                        running.add(threads.submit(self._one, image))
                    if not running:
                        return
                    finished, running = wait(running, _POLL_S, FIRST_COMPLETED)
                    self._take(finished)
                    self._show(len(running))
                except KeyboardInterrupt:  # the second signal
                    self.stop.at_once()

    def _take(self, finished: set[Future[int]]) -> None:
        """Count the tiles of finished images; what ended one of them in a way that concerns all ends the others."""
        try:
            for future in finished:
                self.computed += future.result()
            if finished:
                self.leases.check()
        except BaseException as problem:
            self.error = self.error or problem
            self.stop.at_once()

    def _show(self, running: int) -> None:
        counts = CollectionStatus(tuple(self.found.values())).counts
        self.display.note(counts.get("complete", 0), counts.get("failed", 0) + counts.get("refused", 0), running)

    def _one(self, image: Image) -> int:
        """Run one image in a thread of its own; returns the number of tiles that it computed.

        Raises
        ------
        SsiError, OSError
            What stops the other images too: workers, disk or lock are lost.
        """
        refusal, computed = "", 0
        try:
            config, request = self.collection.config_of(image), self.request
            outcome = run(
                config,
                retry_failed=request.retry_failed,
                ignore_disk=request.ignore_disk,
                log=self.display.log,
                name=f"{self.name} --image {shlex.quote(image.name)}",
                recreate_output=request.recreate_output,
                caller=self.inner,
            )
            computed, text = outcome.computed_tiles, describe_outcome(outcome)
        except LockedError as problem:
            text = str(problem)
        except (SsiError, OSError) as problem:
            if not _is_of_image(problem):
                raise
            refusal = text = str(problem)
        found = self.found[image.name] = save_summary(self.collection, image, refusal)
        said = f"{image.name}: {text}"
        if found.state == "complete" and self.caller.verbosity <= 0:
            self.display.log(said)
        else:
            self.display.line(said)
        return computed

    def outcome(self, chosen: Sequence[Image], interrupted: bool) -> ImagesOutcome:
        """Count images, tiles and blocks."""
        status = CollectionStatus(tuple(self.found.get(i.name, ImageStatus(i.name)) for i in chosen))
        counts = status.counts
        return ImagesOutcome(
            state=self.collection.paths.root,
            tiles=status.total("tiles"),
            tiles_done=status.total("tiles_done"),
            tiles_failed=status.total("tiles_failed"),
            blocks_missing=status.total("blocks_missing"),
            computed_tiles=self.computed,
            interrupted=interrupted,
            images=len(chosen),
            images_complete=counts.get("complete", 0),
            images_failed=counts.get("failed", 0) + counts.get("refused", 0),
        )

    def write_metadata(self) -> None:
        """List the images that are there, and whether these are all of them."""
        layout = layout_of(self.collection, self.found)
        if layout.images:
            write_collection(self.collection.config.output.path, layout)


def _is_of_image(problem: BaseException) -> bool:
    """Return whether an error is that of one image, so that the others can go on.

    A run that has started wraps its cause: what was lost there (disk, workers, lock) is lost for all.
    """
    cause = problem.__cause__ if problem.__cause__ is not None else problem
    if isinstance(problem, SsiError) and not isinstance(problem, StoppedError):
        return not isinstance(problem, ExecutorError | LockLostError)
    return isinstance(cause, ChannelError | CorruptDataError | InputError | RunChangedError)
