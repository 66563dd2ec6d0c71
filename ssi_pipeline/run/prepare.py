"""Prepare a run: open the input, load the PSFs and plan the tiling, before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import ConfigError, InputError
from ssi_pipeline.executors.gpus.memory import on_gpu
from ssi_pipeline.executors.machine import worker_count
from ssi_pipeline.geometry import Cost, Volume, estimate_cost
from ssi_pipeline.geometry.plan import region_of_interest
from ssi_pipeline.needs import output_sizes
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.physics.psf_loader import load_psf
from ssi_pipeline.run.checks.given_calibration import given_calibration
from ssi_pipeline.run.checks.input_checks import (
    refuse_context_without_axis,
    refuse_foreign_fill,
    refuse_large_chunks,
    refuse_partial_voxel_size,
)
from ssi_pipeline.run.checks.overlap import refuse_overlap
from ssi_pipeline.run.tiling import notes_on_tiles, planned_tiles, request_for
from ssi_pipeline.storage.atomic import file_digest
from ssi_pipeline.storage.inputs.digits import describe_digits
from ssi_pipeline.storage.inputs.mask import input_identity, open_mask, refuse_empty_mask
from ssi_pipeline.storage.inputs.source import open_source, spec_of
from ssi_pipeline.storage.inputs.source_protocol import Source
from ssi_pipeline.storage.state.document import RunDocument, StatePaths, basis_of
from ssi_pipeline.storage.state.earlier_release import in_words_of
from ssi_pipeline.storage.state.marker import refuse_foreign_folder
from ssi_pipeline.storage.state.versions import installed_versions
from ssi_pipeline.tasks import Context
from ssi_pipeline.tasks.context import IDENTITY

WINDOW_PER_SLOT = 3
"""Jobs submitted per worker: one runs, the others are queued so that no worker is idle."""


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start: its document, its PSFs by output channel, and its cost."""

    document: RunDocument
    psfs: tuple[Psf | None, ...]
    cost: Cost
    workers: int

    def noting(self, notes: tuple[str, ...]) -> Prepared:
        """Return the same with more notes."""
        return replace(self, document=replace(self.document, notes=self.document.notes + notes))

    @property
    def context(self) -> Context:
        """Context of the run, as the workers open it."""
        return Context(self.document, StatePaths(self.document.config.state_path))


def prepare(config: RunConfig, new: bool = False, frames: int | None = None) -> Prepared:
    """Open the input, load the PSFs, plan the tiling; write nothing.

    ``new``: ignore an earlier run. ``frames``: the first time points of an input that is still being written.

    Raises
    ------
    ConfigError, InputError, GeometryError, OutputError
        The configuration, input, tiling or output is not valid.
    """
    if config.input.images is not None:
        raise ConfigError(
            f"input.images is {config.input.images!r}, many images, but this works on one: choose it by --image NAME "
            f"(`ssi images {config.input.path}` lists them), or remove input.images"
        )
    refuse_overlap(config)
    refuse_foreign_folder(config.state_path)
    source = open_source(spec_of(config.input, frames))

    def identity() -> dict[str, Any]:
        """Return the identity of the input, or of its first time points."""
        return input_identity(config.input, source.volume, frames)

    prepared = prepare_source(config, source, identity, earlier=not new, frames=frames)
    if not config.output.carry:
        return prepared
    from ssi_pipeline.run.carry import describe_carried  # imports zarr

    return prepared.noting(describe_carried(config, source.volume, growing=frames is not None))


def prepare_source(
    config: RunConfig,
    source: Source,
    identity: Callable[[], dict[str, Any]],
    earlier: bool,
    given: Sequence[Psf | NDArray[Any] | None] = (),
    frames: int | None = None,
) -> Prepared:
    """Check an opened input, load the PSFs, plan the tiling; see ``prepare``.

    Parameters
    ----------
    config
        Of the run; its path of the input is not read.
    source
        The input.
    identity
        Returns what identifies the input, once it is known to be readable.
    earlier
        Keep the plan of an earlier run on the same output.
    given
        For each section of ``psf`` its values or PSF where these are in memory; None, or empty: it is loaded.
    frames
        The source is the first time points of an input that is still being written.
    """
    refuse_large_chunks(source, config)  # first, before any chunk is read
    # before the shape is used: reading digits checks that the pixels exist
    notes = (*source.notes, *describe_digits(source))
    refuse_partial_voxel_size(source, config)
    refuse_foreign_fill(source, config)
    refuse_context_without_axis(source, config)
    mask = open_mask(config.input, source.volume)
    if mask is not None:
        refuse_empty_mask(mask, config.input, source.volume)
        notes += tuple(f"mask: {note}" for note in mask.source.notes)
    psfs = _load_psfs(config, source.volume, given)
    notes += tuple(f"PSF: {note}" for note in dict.fromkeys(note for psf in psfs if psf for note in psf.notes))
    if models := start_models(config, len(psfs)):
        from ssi_pipeline.run.start_models import check_given_models  # imports torch: only with training.start_from

        check_given_models(config, models, psfs)
    workers = worker_count(config.executor)
    request = request_for(config, psfs)
    plan = planned_tiles(config, source.volume, psfs, request)
    basis = basis_of(
        config,
        identity(),
        [psf.digest if psf else IDENTITY for psf in psfs],
        [str(file_digest(file)) for file in models],
        given_calibration(config, source.volume, [psf.digest if psf else IDENTITY for psf in psfs]),
        frames,
    )
    document = RunDocument(basis, config, plan, source.volume, _metadata(source, config), installed_versions(), notes)
    if earlier:
        document = _with_earlier_plan(document)
    document = replace(document, notes=notes + notes_on_tiles(config, source.volume, psfs, document.plan))
    written, window = output_sizes(config, source.volume), WINDOW_PER_SLOT * workers
    cost = estimate_cost(document.plan, source.volume, written, request.needs, window, on_gpu(config))
    return Prepared(document, psfs, cost, workers)


def start_models(config: RunConfig, channels: int) -> list[Path]:
    """Return the file of the network that each channel starts from, or nothing where none is given.

    Raises
    ------
    ConfigError
        A file is missing.
    """
    source = config.training.start_from
    if not config.method.network or source is None:
        return []
    names = [StatePaths(Path()).shared_model(c).name for c in range(channels)]
    files = [source / name if source.is_dir() else source for name in names]
    for file in files:
        if not file.is_file():
            raise ConfigError(f"training.start_from: {file} not found; give a .pt file, or the models folder of a run")
    return files


def _with_earlier_plan(document: RunDocument) -> RunDocument:
    """Keep the plan of a run that was started, even if this machine would tile the volume differently."""
    path = StatePaths(document.config.state_path).document
    if not path.exists():
        return document
    earlier = RunDocument.load(path)
    document = replace(document, basis=in_words_of(earlier.basis, document.basis, document.config.input.path))
    return replace(document, plan=earlier.plan) if earlier.fingerprint == document.fingerprint else document


def _load_psfs(config: RunConfig, volume: Volume, given: Sequence[Psf | NDArray[Any] | None]) -> tuple[Psf | None, ...]:
    start, stop = region_of_interest(volume, config.input.roi)[1]
    channels = stop - start
    if len(config.psf) not in (1, channels):
        raise ConfigError(
            f"psf lists {len(config.psf)} PSFs, but {channels} channel(s) are processed: "
            "give one for all channels, or one for each"
        )
    dimensions = config.tiling.dimensions
    if dimensions == 3 and volume.shape[2] == 1:
        raise InputError("tiling.dimensions is 3, but the image has a single plane: set tiling.dimensions: 2")
    loaded = [
        known
        if isinstance(known, Psf)
        else load_psf(section, volume.voxel_size_um, dimensions, volume.shape[2:], known)
        for section, known in zip(config.psf, given or [None] * len(config.psf), strict=True)
    ]
    # those of the image, as workers read them back: a file's own are rounded, or known along some axes only
    found = [None if psf is None else replace(psf, voxel_size_um=volume.voxel_size_um) for psf in loaded]
    return tuple(found[c if len(found) > 1 else 0] for c in range(channels))


def _metadata(source: Source, config: RunConfig) -> dict[str, Any]:
    """Return the input's metadata for the output, without channels outside the region of interest."""
    metadata = asdict(source.metadata)
    start, stop = region_of_interest(source.volume, config.input.roi)[1]
    omero = metadata.get("omero") or {}
    if isinstance(omero.get("channels"), list):
        metadata["omero"] = {**omero, "channels": omero["channels"][start:stop]}
    return metadata
