"""Write a PSF with its voxel size and origin: OME-TIFF, OME-Zarr or npy."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from ssi_pipeline.errors import OutputError
from ssi_pipeline.physics.psf import VoxelSize
from ssi_pipeline.physics.psf_zarr import write_psf_zarr
from ssi_pipeline.storage.atomic import partial_name, replacing
from ssi_pipeline.storage.state.made import note, refuse_foreign

_KINDS = (".tif", ".tiff", ".npy", ".zarr")


def refuse_output(path: Path, kinds: tuple[str, ...] = _KINDS) -> None:
    """Refuse a file that cannot be written, or that another program wrote, before any work.

    Raises
    ------
    OutputError
        The name ends in something else, its folder does not exist, or the file is not ours.
    """
    if path.suffix.lower() not in kinds:
        raise OutputError(f"{path}: expected a name that ends in {', '.join(kinds)}")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist")
    refuse_foreign(path.parent, [path.name], str(path))


def refuse_pictures(html: Path | None, png: Path | None) -> None:
    """Refuse the page or the picture of a command as ``refuse_output`` does, where one is asked for."""
    for path, kind in ((html, ".html"), (png, ".png")):
        if path is not None:
            refuse_output(path, (kind,))


def save_psf(path: Path, values: NDArray[np.float32], voxel_um: VoxelSize | None, description: str) -> None:
    """Write a PSF (z y x; one plane is written as y x).

    Parameters
    ----------
    path
        .tif, .tiff (OME-TIFF), .zarr (OME-Zarr 0.5) or .npy (without voxel size).
    values
        float32, sum 1.
    voxel_um
        z y x, None if unknown.
    description
        How it was made.
    """
    shown = values[0] if values.shape[0] == 1 else values
    sizes = (voxel_um or (1.0, 1.0, 1.0))[-shown.ndim :]
    note(path.parent, [path.name])
    kind = path.suffix.lower()
    if kind == ".zarr":
        partial = partial_name(path)
        try:
            write_psf_zarr(partial, shown, sizes, description)
            shutil.rmtree(path, ignore_errors=True)
            partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return
    with replacing(path) as partial, partial.open("wb") as stream:
        if kind == ".npy":
            np.save(stream, shown)
            return
        units = {} if voxel_um is None else _physical(sizes)
        metadata = {"axes": "ZYX"[-shown.ndim :], "Description": description, **units}
        tifffile.imwrite(stream, np.ascontiguousarray(shown), ome=True, metadata=metadata, photometric="minisblack")


def _physical(sizes: tuple[float, ...]) -> dict[str, float | str]:
    found: dict[str, float | str] = {}
    for axis, size in zip("ZYX"[-len(sizes) :], sizes, strict=True):
        found |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    return found
