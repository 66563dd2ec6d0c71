"""Numpy files (.npy), mapped into memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ssi_pipeline.errors import InputError
from ssi_pipeline.storage.inputs.box_source import BoxImage


def open_npy(path: Path) -> BoxImage:
    """Open a .npy file; it names neither axes nor voxel size.

    Raises
    ------
    InputError
        The file is truncated, or holds Python objects.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"input {path} is not a readable .npy file ({error}): save it again") from error
    shape, dtype = array.shape, array.dtype
    del array  # mapped for each read: a permanent map counts all touched pages as memory of the process
    return BoxImage("numpy array", None, shape, dtype, lambda box: np.load(path, mmap_mode="r")[box.slices])
