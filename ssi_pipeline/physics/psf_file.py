"""Read the pixels and the voxel size of a PSF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from ssi_pipeline.errors import InputError
from ssi_pipeline.physics.lengths import tiff_voxel_um

_NOT_SPACE = "CS"


def read_psf_file(path: Path) -> tuple[NDArray[Any], dict[str, float]]:
    """Return the array (y x or z y x) of a TIFF or npy file, and its voxel size in micrometres by axis where stated.

    Raises
    ------
    InputError
        The file is missing, unreadable, of another type, or not 2D or 3D numbers.
    """
    if not path.is_file():
        raise InputError(f"PSF {path} not found; relative paths start at the folder of the configuration")
    kind = path.suffix.lower()
    if kind not in (".tif", ".tiff", ".npy"):
        raise InputError(f"PSF {path}: expected a .tif, .tiff or .npy file")
    try:
        values, sizes = (np.load(path, allow_pickle=False), {}) if kind == ".npy" else _read_tiff(path)
    except InputError:
        raise
    except Exception as error:  # tifffile and numpy raise many kinds on broken files
        raise InputError(f"PSF {path} cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf" or values.size == 0:
        raise InputError(f"PSF {path}: expected an array of integers or floats")
    if values.ndim > 3:
        values = np.squeeze(values)
    if values.ndim not in (2, 3):
        raise InputError(f"PSF {path} has {values.ndim} dimensions {values.shape}; expected 2 (y x) or 3 (z y x)")
    return values, sizes


def _read_tiff(path: Path) -> tuple[NDArray[Any], dict[str, float]]:
    with tifffile.TiffFile(path) as tif:
        series = tif.series[0]
        if any(axis in _NOT_SPACE for axis in series.axes):
            raise InputError(f"PSF {path} has axes {series.axes} {series.shape}; expected one channel, y x or z y x")
        return series.asarray(), tiff_voxel_um(tif)
