"""Read the values and the voxel size of a PSF file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import InputError
from ssi_pipeline.physics.psf_zarr import read_psf_zarr
from ssi_pipeline.tiff.foreign import likely_kind, read_head

_LARGEST = 2**32
"""Largest size in bytes: that of 1000 x 1000 x 1000 float32 voxels."""


def read_psf_file(path: Path) -> tuple[NDArray[Any], dict[str, float]]:
    """Return the array (y x or z y x) of a TIFF, npy or zarr, and its voxel size in micrometres by axis where stated.

    Raises
    ------
    InputError
        The file is missing, unreadable, of another type, or not a 2D or 3D array of numbers.
    """
    kind = path.suffix.lower()
    if not (path.is_dir() if kind == ".zarr" else path.is_file()):
        raise InputError(f"PSF {path} not found; relative paths start at the folder of the configuration")
    if kind not in _READERS:
        raise InputError(f"PSF {path}: expected a .tif, .tiff or .npy file, or a .zarr folder")
    try:
        values, sizes = _READERS[kind](path)
    except (InputError, PermissionError):
        raise
    except Exception as error:  # tifffile, numpy and zarr raise many exceptions for broken files
        raise InputError(f"PSF {path} cannot be read: {type(error).__name__}: {error}") from error
    return psf_array(values, f"PSF {path}"), sizes


def psf_array(values: Any, where: str) -> NDArray[Any]:
    """Return the values of a PSF (y x or z y x), without further axes of length 1.

    Raises
    ------
    InputError
        They are not a 2D or 3D array of numbers.
    """
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf" or values.size == 0:
        raise InputError(f"{where}: expected an array of integers or floats")
    if values.ndim > 3:
        values = np.squeeze(values)
    if values.ndim not in (2, 3):
        raise InputError(f"{where} has {values.ndim} dimensions {values.shape}; expected 2 (y x) or 3 (z y x)")
    found: NDArray[Any] = values
    return found


def _read_npy(path: Path) -> tuple[Any, dict[str, float]]:
    where = f"PSF {path}"
    head = read_head(path, where)
    kind = likely_kind(head)
    if not head.startswith(b"\x93NUMPY") and kind is not None:
        raise InputError(f"{where} is no numpy array but {kind}")
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(version, np.lib.format.read_array_header_2_0)
        shape, _, dtype = read(file)
        stated = math.prod(shape) * dtype.itemsize
        there = path.stat().st_size - file.tell()
    # compare sizes before reading: a damaged header may state more than fits in memory
    if stated != there and not dtype.hasobject:
        cut = "cut short: copy it again" if there < stated else "damaged: save it again"
        raise InputError(f"{where} states {stated} bytes of numbers {shape} and holds {there}: it is {cut}")
    if stated > _LARGEST:
        raise InputError(f"{where} has {stated} bytes {shape}; expected a PSF, of less than 4 GiB")
    return np.load(path, allow_pickle=False), {}


def _read_tiff(path: Path) -> tuple[NDArray[Any], dict[str, float]]:
    from ssi_pipeline.physics.psf_tiff import read_psf_tiff  # only for this kind of file: imports take .2 s

    return read_psf_tiff(path, _LARGEST)


_READERS = {".tif": _read_tiff, ".tiff": _read_tiff, ".npy": _read_npy, ".zarr": read_psf_zarr}
