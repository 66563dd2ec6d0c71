"""Status of a run of many images, from a summary of each; imports neither torch nor dask.

A summary is a cache: it holds as long as the image's ledger and output are the files that it was made from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ssi_pipeline.errors import SsiError
from ssi_pipeline.redact import redact
from ssi_pipeline.results.status import RunStatus, read_status
from ssi_pipeline.storage.atomic import write_json
from ssi_pipeline.storage.inputs.images import Image
from ssi_pipeline.storage.outputs.zarr_metadata import GROUP_FILES
from ssi_pipeline.storage.small_files import read_json
from ssi_pipeline.storage.state.collection import Collection
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.lock import look_at_lock

State = Literal["complete", "failed", "refused", "incomplete", "running", "pending"]

STATES: tuple[State, ...] = ("complete", "running", "incomplete", "failed", "refused", "pending")
"""In the order of display. failed: tiles failed; refused: it could not start; incomplete: it can be resumed."""


@dataclass(frozen=True, slots=True)
class ImageStatus:
    """Counts of one image. ``error``: why it was refused, or the first cause of failure."""

    name: str
    state: State = "pending"
    tiles: int = 0
    tiles_done: int = 0
    tiles_failed: int = 0
    blocks: int = 0
    blocks_done: int = 0
    flagged: int = 0
    seconds_per_tile: float | None = None
    methods: tuple[tuple[str, int], ...] = ()
    error: str = ""

    @property
    def blocks_missing(self) -> int:
        """Blocks that are not written; 1 for an image that was not started, whose number is not known."""
        return self.blocks - self.blocks_done if self.blocks else 1


@dataclass(frozen=True, slots=True)
class CollectionStatus:
    """Status of every image, and the running client of the whole collection, if any."""

    images: tuple[ImageStatus, ...]
    client: str = ""

    @property
    def counts(self) -> dict[State, int]:
        """Number of images by state, without zeros."""
        found = Counter(image.state for image in self.images)
        return {state: found[state] for state in STATES if found[state]}

    @property
    def complete(self) -> bool:
        """Whether every image is."""
        return all(image.state == "complete" for image in self.images)

    def total(self, name: str) -> int:
        """Return the sum of a count over all images."""
        return sum(int(getattr(image, name)) for image in self.images)

    @property
    def methods(self) -> dict[str, int]:
        """Tiles by method."""
        found: Counter[str] = Counter()
        for image in self.images:
            found.update(dict(image.methods))
        return dict(found)


def read_collection(collection: Collection) -> CollectionStatus:
    """Return the status of all images; those that changed since their summary are read."""
    client = look_at_lock(StatePaths(collection.paths.root).lock)
    images = tuple(image_status(collection, image) for image in collection.images)
    return CollectionStatus(images, "" if client is None else str(client))


def image_status(collection: Collection, image: Image) -> ImageStatus:
    """Return the status of one image, from its summary where that holds."""
    stamp, known = _stamp(collection, image), _read(collection.paths.summary(image.name))
    if known is not None and known["stamp"] == stamp and known["status"]["state"] != "running":
        values = known["status"]
        return ImageStatus(**{**values, "methods": tuple((name, n) for name, n in values["methods"])})
    if stamp is None:
        return ImageStatus(image.name)
    try:
        return _of(image.name, read_status(collection.config_of(image)))
    except (SsiError, OSError) as error:
        return ImageStatus(image.name, "incomplete", error=redact(str(error)))


def save_summary(collection: Collection, image: Image, refusal: str = "") -> ImageStatus:
    """Read the status of an image, store it, and return it; ``refusal``: why its run could not start."""
    stamp, path = _stamp(collection, image), collection.paths.summary(image.name)
    found = ImageStatus(image.name, "refused", error=refusal)
    if not refusal:
        path.unlink(missing_ok=True)
        found = image_status(collection, image)
    elif stamp is not None:
        found = replace(image_status(collection, image), state="refused", error=refusal)
    path.parent.mkdir(parents=True, exist_ok=True)
    if found.state != "running":
        write_json(path, {"stamp": stamp, "status": asdict(found)})
    return found


def note_damage(collection: Collection, image: Image, problem: str) -> None:
    """Store that an image which looks complete has to be run again."""
    found = replace(image_status(collection, image), state="incomplete", error=problem)
    path = collection.paths.summary(image.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"stamp": _stamp(collection, image), "status": asdict(found)})


def _of(name: str, status: RunStatus) -> ImageStatus:
    return ImageStatus(
        name,
        _state(status),
        status.tiles,
        status.tiles_done,
        status.tiles_failed,
        status.blocks,
        status.blocks_done,
        status.flagged,
        status.mean_tile_seconds,
        tuple(sorted(status.methods.items())),
        status.causes[0].text if status.causes else "",
    )


def _state(status: RunStatus) -> State:
    if status.running:
        return "running"
    if status.image_complete and status.finished and not status.lost:
        return "complete"
    return "failed" if status.tiles_failed else "incomplete"


def _stamp(collection: Collection, image: Image) -> list[Any] | None:
    """Return sizes and times of the image's ledger, document and output's metadata; None if it was not started."""
    paths, output = StatePaths(collection.paths.state(image.name)), collection.config.output.folder / image.name
    files = (paths.document, paths.ledger, *(output / name for name in GROUP_FILES))
    found = [_file_stamp(path) for path in files]
    return None if found[0] is None else found


def _file_stamp(path: Path) -> list[int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _read(path: Path) -> dict[str, Any] | None:
    """Return a summary; None without a readable one, as it is made again."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"stamp", "status"} <= found.keys() else None


def describe_collection(status: CollectionStatus, config: str = "CONFIG") -> list[tuple[str, str]]:
    """Return the rows of ``ssi status``; ``config``: the configuration as in a command."""
    counts = status.counts
    rows = [
        ("images", f"{len(status.images)}: {', '.join(f'{n} {state}' for state, n in counts.items())}"),
        (
            "tiles",
            f"{status.total('tiles_done')} done, {status.total('tiles_failed')} failed, "
            f"of {status.total('tiles')} of the images begun",
        ),
        ("client", f"running ({status.client})" if status.client else "not running"),
    ]
    if status.methods:
        rows.append(("solved by", ", ".join(f"{name} {count}" for name, count in sorted(status.methods.items()))))
    if flagged := [image for image in status.images if image.flagged]:
        rows.append(("alarms", f"{status.total('flagged')} tiles of {len(flagged)} images ({_names(flagged)})"))
    bad = [image for image in status.images if image.state in ("failed", "refused")]
    rows += [(f"{image.name} {image.state}", image.error) for image in bad[:_MOST_CAUSES]]
    if len(bad) > _MOST_CAUSES:
        rows.append(("", f"and {len(bad) - _MOST_CAUSES} more images"))
    if bad:
        rows.append(("next step", f"fix the cause, then `ssi run {config} --retry-failed`"))
    elif not status.complete and not status.client:
        rows.append(("next step", f"`ssi run {config}` resumes"))
    return rows


_MOST_CAUSES, _MOST_NAMES = 10, 5


def _names(images: Iterable[ImageStatus]) -> str:
    names = [image.name for image in images]
    return ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
