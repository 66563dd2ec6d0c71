"""Check an input before it is tiled: chunks must fit a worker's memory, and what the options need must be there."""

from __future__ import annotations

import numpy as np

from ssi_pipeline.config import ComputedPsf, GaussianPsf, RunConfig, parts_of
from ssi_pipeline.errors import InputError
from ssi_pipeline.executors.machine import worker_memory
from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.storage.inputs.source_protocol import Source
from ssi_pipeline.words import size_of


def refuse_large_chunks(source: Source, config: RunConfig) -> None:
    """Refuse an image whose chunks do not fit a worker's memory: a chunk is always decoded whole.

    Raises
    ------
    InputError
        A chunk is larger than the memory of a worker.
    """
    size = int(getattr(source, "chunk_bytes", 0))  # formats without chunks have none
    limit = worker_memory(config.executor)
    if size > limit:
        raise InputError(
            f"input {config.input.path} is stored in chunks of {size_of(size)}, which are decoded whole; a worker has "
            f"{size_of(limit)}: raise executor.memory_gib, use fewer workers, or store the image in smaller chunks"
        )


def refuse_partial_voxel_size(source: Source, config: RunConfig) -> None:
    """Refuse a PSF in micrometres where the image states only some sides of its voxels.

    Raises
    ------
    InputError
        One side is known and another, which is needed, is not.
    """
    volume, metadata = source.volume, source.metadata
    if volume.voxel_size_um is not None or not any(_needs_size(one) for psf in config.psf for one in parts_of(psf)):
        return
    in_um = [a for a in SPATIAL if a in metadata.scale and metadata.axes_units.get(a) == "micrometer"]
    lacking = [a for a in SPATIAL if a in volume.axes and a not in in_um]
    if in_um and lacking:
        known = ", ".join(f"{axis} {metadata.scale[axis]:g}" for axis in in_um)
        raise InputError(
            f"the PSF needs the voxel size; input {config.input.path} states {known} um, but not {', '.join(lacking)}: "
            f"set input.voxel_size_um, e.g. {{{lacking[0]}: 0.5}} (other sides keep the image's value)"
        )


def refuse_foreign_fill(source: Source, config: RunConfig) -> None:
    """Refuse a fill value that no pixel of the input can have.

    Raises
    ------
    InputError
        The input has integers, and the value is none or outside their range.
    """
    fill, dtype = config.input.fill, np.dtype(source.volume.dtype)
    if isinstance(fill, str) or dtype.kind == "f":
        return
    info = np.iinfo(dtype)
    if fill != int(fill) or not info.min <= fill <= info.max:
        raise InputError(
            f"input.fill is {fill:g}, but pixels of {config.input.path} are {dtype.name}, integers from {info.min} to "
            f"{info.max}: give a value that its filled areas have, auto, or none"
        )


def refuse_context_without_axis(source: Source, config: RunConfig) -> None:
    """Refuse neighbouring planes or frames of an image that has only one.

    Raises
    ------
    InputError
        The image has a single plane, or a single frame.
    """
    frames, _, planes, *_ = source.volume.shape
    for axis in dict.fromkeys(axis for axis, _ in config.network.neighbours):
        if (frames if axis == "t" else planes) == 1:
            what = "frame (t)" if axis == "t" else "plane (z)"
            raise InputError(
                f"network.context has {axis}, but {config.input.path} has a single {what}: remove {axis} from it, or "
                "state the order of the axes with input.axes"
            )


def _needs_size(psf: object) -> bool:
    in_um = isinstance(psf, GaussianPsf) and psf.fwhm_um is not None
    return in_um or isinstance(psf, ComputedPsf)
