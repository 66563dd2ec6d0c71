"""Volume of the demo: planes from images of scikit-image, degraded by the published protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from skimage import data
from skimage.color import rgb2gray

from ssi_pipeline.benchmark.protocol import benchmark_psf, degrade

SHAPE = (384, 384)
PIXEL_UM = 0.406

# name in scikit-image, and the first row and column of the crop
_PLANES = {"cell": (150, 60), "retina": (520, 480), "hubble_deep_field": (244, 308), "camera": (30, 64)}


def truth() -> NDArray[np.float32]:
    """Return the planes (z y x), each stretched to [0, 1]."""
    planes = []
    for name, (row, column) in _PLANES.items():
        image = np.asarray(getattr(data, name)())
        grey = rgb2gray(image) if image.ndim == 3 else image
        crop = grey[row : row + SHAPE[0], column : column + SHAPE[1]].astype(np.float32)
        planes.append((crop - crop.min()) / (crop.max() - crop.min()))
    return np.stack(planes)


def write_input(folder: Path) -> None:
    """Write ``input.zarr`` (OME-Zarr 0.5, uint16 counts, z y x) and ``psf.npy``."""
    psf = benchmark_psf()
    counts = np.stack([degrade(plane, psf) for plane in truth()])
    np.save(folder / "psf.npy", psf.astype(np.float32))
    group = zarr.create_group(folder / "input.zarr", zarr_format=3, overwrite=True)
    group.attrs["ome"] = _metadata()
    array = group.create_array(
        "0", shape=counts.shape, chunks=(1, 128, 128), dtype="uint16", dimension_names=list("zyx")
    )
    array[...] = counts


def _metadata() -> dict[str, Any]:
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    scale = {"type": "scale", "scale": [1.0, PIXEL_UM, PIXEL_UM]}
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    return {"version": "0.5", "multiscales": [{"name": "demo", "axes": axes, "datasets": datasets}]}
