"""Read an image of beads and measure its PSF."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ssi_pipeline.config import PsfConfig, parse_config
from ssi_pipeline.errors import ConfigError, InputError
from ssi_pipeline.geometry import Box
from ssi_pipeline.storage.inputs.source import open_source
from ssi_pipeline.storage.inputs.source_protocol import SourceSpec
from ssi_pipeline.workbench.beads.measure import Request, measure
from ssi_pipeline.workbench.beads.report import BeadReport
from ssi_pipeline.workbench.source import describe, three_um

_LARGEST = 2**30
"""Voxels of an image of beads: all are in memory, as float32 several times."""


def measure_file(path: Path, channel: int, axes: str | None, request: Request) -> BeadReport:
    """Measure the PSF in an image of beads.

    Parameters
    ----------
    path
        TIFF, zarr array or OME-Zarr image; of several time points the first.
    channel
        Position along c.
    axes
        Of a file that does not name them.
    request
        ``voxel_um`` None: as the file says.

    Raises
    ------
    InputError, ConfigError
        It is no image, has no such channel, no voxel size where one is needed, or no beads that can be used.
    """
    source = open_source(SourceSpec(str(path.absolute()), axes=axes))
    volume = source.volume
    if not 0 <= channel < volume.shape[1]:
        raise ConfigError(f"--channel {channel}: {path} has the channels 0 to {volume.shape[1] - 1}")
    shape = volume.shape[2:]
    if int(np.prod(shape)) > _LARGEST:
        raise InputError(f"{path} has {int(np.prod(shape))} voxels: expected an image of beads, of at most {_LARGEST}")
    whole = source.read(0, channel, Box((0, 0, 0), shape))
    image = whole[0] if shape[0] == 1 else whole
    known = request.voxel_um or (volume.voxel_size_um[-image.ndim :] if volume.voxel_size_um else None)
    request = replace(request, voxel_um=_checked(known, image.ndim, request))
    if not np.isfinite(image).all():
        raise InputError(f"{path} has values that are NaN or infinite: expected finite values")
    found = measure(image, request)
    section = _file_section(path)
    psf = describe(path.name, section, three_um(request.voxel_um), image.ndim, array=found.values)
    return BeadReport(found, psf, request.voxel_um)


def _file_section(path: Path) -> PsfConfig:
    psf = {"kind": "file", "path": str(path)}
    return parse_config({"input": {"path": "image"}, "output": {"path": "output.zarr"}, "psf": psf}).psf[0]


def _checked(known: tuple[float, ...] | None, dimensions: int, request: Request) -> tuple[float, ...] | None:
    """Return the voxel size; refuse lengths in micrometres without one, and other numbers of axes."""
    needs = [name for name, value in (("--bead-um", request.bead_um), ("--box-um", request.box_um)) if value]
    if known is None and needs:
        need = "needs" if len(needs) == 1 else "need"
        names = " and ".join(needs)
        raise ConfigError(f"{names} {need} the voxel size, which the image does not state: --voxel-size-um")
    for name, value in (("--voxel-size-um", known), ("--box-um", request.box_um)):
        if value is not None and len(value) != dimensions:
            raise ConfigError(f"{name} has {len(value)} numbers: expected {dimensions}, as the image is {dimensions}D")
    return known
