"""Find missing or damaged small files of the state folder, each with the function that repairs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ssi_pipeline.errors import CorruptDataError
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.run.retraining import was_chosen, write_list
from ssi_pipeline.storage.atomic import replacing, write_json
from ssi_pipeline.storage.outputs.scratch import scratch_problem, write_scratch_metadata
from ssi_pipeline.storage.state.ledger import records_of
from ssi_pipeline.storage.state.records import Kind, TaskRecord
from ssi_pipeline.tasks import Context

Latest = Mapping[str, TaskRecord]
"""Last record of each task, by its key."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """A damaged or missing file, its problem, and the function that repairs it."""

    path: Path
    problem: str
    remake: Callable[[], None]

    def __str__(self) -> str:
        """Return file and problem."""
        return f"{self.path} is {self.problem}"


def state_flaws(context: Context, psfs: Sequence[Psf | None] = ()) -> Iterator[Flaw]:
    """Yield the flaws of the small files of a run.

    ``psfs``: the PSFs of the configuration, by channel of the output; needed for the repair only.
    """
    yield from _psfs(context, psfs)
    yield from _from_ledger(context)
    yield from _retrained(context)
    if not context.plan.direct:
        problem = scratch_problem(context.scratch_path, context.plan, context.layers)
        if problem is not None:
            remake = partial(write_scratch_metadata, context.scratch_path, context.plan, context.layers)
            yield Flaw(context.scratch_path / "zarr.json", problem, remake)


def save_psf(path: Path, psf: Psf) -> None:
    """Write a PSF for the workers, atomically."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        psf.save(stream)


def _psfs(context: Context, psfs: Sequence[Psf | None]) -> Iterator[Flaw]:
    for c in range(context.plan.shape[1]):
        try:
            context.psf(c)
        except CorruptDataError:
            path = context.paths.psf(c)
            psf = psfs[c] if c < len(psfs) else None
            remake = partial(save_psf, path, psf) if psf is not None else _nothing
            yield Flaw(path, "damaged" if path.exists() else "missing", remake)


def _nothing() -> None:
    return


def _from_ledger(context: Context) -> Iterator[Flaw]:
    """Yield the flaws of files derived from the ledger; with incomplete records, the run writes the files itself."""
    paths = context.paths
    latest = {record.key: record for record in records_of(paths.ledger, "calibrate", "train")}
    calibrations, models = _calibrations(context, latest), _models(context, latest)
    for path, expected in ((paths.calibration, calibrations), (paths.model_list, models)):
        if expected is None:
            if path.exists() and not _holds_list(path):
                yield Flaw(path, "damaged", path.unlink)  # its tasks run again
        elif not path.exists():
            yield Flaw(path, "missing", partial(write_json, path, expected))
        elif _text(_read(path)) != _text(expected):
            yield Flaw(path, "damaged", partial(write_json, path, expected))


def _retrained(context: Context) -> Iterator[Flaw]:
    """Yield the flaw of the list of tiles to retrain, which must not be selected from retrained tiles."""
    path = context.paths.retrained
    document = _read(path) if path.exists() else None
    if isinstance(document, dict) and isinstance(document.get("tiles"), list):
        return
    if (path.exists() or context.document.config.training.retrain) and was_chosen(context):
        yield Flaw(path, "damaged" if path.exists() else "missing", partial(write_list, context))
    elif path.exists():
        yield Flaw(path, "damaged", path.unlink)  # no tile was invalidated yet: the selection is repeated


def _calibrations(context: Context, latest: Latest) -> list[Any] | None:
    records = _of_all_channels(context, "calibrate", latest)
    return None if records is None else [record.quality for record in records]


def _models(context: Context, latest: Latest) -> list[Any] | None:
    """Return the expected content of ``models.json``, None while it is not known."""
    if _calibrations(context, latest) is None:
        return None
    if context.document.basis["start_from"]:
        return list(context.document.basis["start_from"])
    if not context.starts_from_model:
        return []
    records = _of_all_channels(context, "train", latest)
    return None if records is None else [record.model for record in records]


def _of_all_channels(context: Context, kind: Kind, latest: Latest) -> list[TaskRecord] | None:
    records = [latest.get(f"{kind}/{c}") for c in range(context.plan.shape[1])]
    done = [record for record in records if record is not None and record.status == "done"]
    return done if len(done) == len(records) else None


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None


def _holds_list(path: Path) -> bool:
    return isinstance(_read(path), list)


def _text(document: Any) -> str:
    """Return a document as text, in which NaN equals itself."""
    return json.dumps(document, sort_keys=True)
