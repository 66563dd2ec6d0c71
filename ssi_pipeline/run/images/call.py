"""One call on many images: several at a time, each in a thread of the client, on the same workers."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

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
from ssi_pipeline.run.carry import keep_collection_xml
from ssi_pipeline.run.driver import run
from ssi_pipeline.run.images.layout import layout_of
from ssi_pipeline.run.images.shared import ready_shared
from ssi_pipeline.run.images.tables import carry_plate_tables
from ssi_pipeline.run.outcome import ImagesOutcome, describe_outcome
from ssi_pipeline.run.prepare import Prepared
from ssi_pipeline.run.progress import ProgressDisplay
from ssi_pipeline.run.session import Caller
from ssi_pipeline.run.stop import StopRequest
from ssi_pipeline.storage.inputs.images import Image
from ssi_pipeline.storage.outputs.carried import outdate_carried
from ssi_pipeline.storage.outputs.collection import write_collection
from ssi_pipeline.storage.outputs.output import read_provenance
from ssi_pipeline.storage.outputs.output_lock import Leases
from ssi_pipeline.storage.state.collection import Collection

_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class ImagesRequest:
    """What a call on many images asks for, as the options of ``ssi run``; ``image``: pattern of those to run."""

    new: bool = False
    retry_failed: bool = False
    ignore_disk: bool = False
    recreate_output: bool = False
    image: str | None = None


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
        output = self.collection.config.output.folder
        if any(self.found[image.name].state == "pending" for image in todo):
            outdate_carried(output)  # images joined
        layout = replace(layout_of(self.collection, self.found), images=self.collection.images, status="incomplete")
        write_collection(output, layout)
        keep_collection_xml(self.collection.config)
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
        missing = self.request.recreate_output and not (self.collection.config.output.folder / status.name).exists()
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
        """List the images that are there, and whether these are all of them; then they get the tables of the plate."""
        layout, output = layout_of(self.collection, self.found), self.collection.config.output.folder
        if not layout.images:
            return
        if layout.status == "complete":
            for line in carry_plate_tables(self.collection):
                self.display.line(line)
            layout = replace(layout, provenance=read_provenance(output))
        write_collection(output, layout)


def _is_of_image(problem: BaseException) -> bool:
    """Return whether an error is that of one image, so that the others can go on.

    A run that has started wraps its cause: what was lost there (disk, workers, lock) is lost for all.
    """
    cause = problem.__cause__ if problem.__cause__ is not None else problem
    if isinstance(problem, SsiError) and not isinstance(problem, StoppedError):
        return not isinstance(problem, ExecutorError | LockLostError)
    return isinstance(cause, ChannelError | CorruptDataError | InputError | RunChangedError)
