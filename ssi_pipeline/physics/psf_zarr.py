"""Read and write a PSF as an OME-Zarr image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.physics.lengths import MICROMETRES, positive


def read_psf_zarr(path: Path) -> tuple[NDArray[Any], dict[str, float]]:
    """Return the array (y x or z y x) of a zarr array or OME-Zarr image, and its voxel size in micrometres by axis.

    Raises
    ------
    InputError
        It has several time points or channels.
    """
    import zarr  # only for this kind of file

    node = zarr.open(path, mode="r")
    if isinstance(node, zarr.Array):
        return np.asarray(node[...]), {}
    attributes: Any = node.attrs.asdict()
    image = attributes.get("ome", attributes)["multiscales"][0]
    array: Any = node[image["datasets"][0]["path"]]
    values = np.asarray(array[...])
    axes = [(str(axis["name"]).lower(), axis.get("unit")) for axis in image["axes"]]
    scales = [t["scale"] for t in image["datasets"][0].get("coordinateTransformations", ()) if t["type"] == "scale"]
    others = [name for (name, _), n in zip(axes, values.shape, strict=True) if name not in SPATIAL and n > 1]
    if others:
        raise InputError(f"PSF {path} has several {', '.join(others)}: expected one time point and one channel")
    values = values.reshape([n for (name, _), n in zip(axes, values.shape, strict=True) if name in SPATIAL])
    sizes: dict[str, float] = {
        name: size * MICROMETRES[unit]
        for (name, unit), scale in zip(axes, scales[0] if scales else [], strict=bool(scales))
        if name in SPATIAL and unit in MICROMETRES and (size := positive(scale)) is not None
    }
    return values, sizes


def write_psf_zarr(path: Path, values: NDArray[np.float32], voxel_um: tuple[float, ...], description: str) -> None:
    """Write a PSF (y x or z y x) as an OME-Zarr 0.5 image of one level; ``path`` must not exist."""
    import zarr

    axes = SPATIAL[3 - values.ndim :]
    image = {
        "name": path.stem,
        "axes": [{"name": axis, "type": "space", "unit": "micrometer"} for axis in axes],
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": list(voxel_um)}]}],
        "metadata": {"description": description},
    }
    group = zarr.create_group(store=path, attributes={"ome": {"version": "0.5", "multiscales": [image]}})
    array = group.create_array(
        "0", shape=values.shape, dtype="float32", chunks=values.shape, dimension_names=list(axes)
    )
    array[...] = values
