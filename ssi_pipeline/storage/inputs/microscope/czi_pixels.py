"""Pixels of a CZI subblock: stored as they are, or compressed with Zstandard, LZW, JPEG or JPEG XR.

Numbers of the compressions and the header of Zstandard 1: ZISRAW (CZI) file format, Carl Zeiss.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import InputError

_RAW, _ZSTD_0, _ZSTD_1 = 0, 5, 6
_CODECS = {1: ("JPEG", "jpeg8_decode"), 2: ("LZW", "lzw_decode"), 4: ("JPEG XR", "jpegxr_decode")}
"""Compressions of imagecodecs: name and function."""


def refuse_compression(compression: int, path: Path) -> None:
    """Refuse pixels that cannot be decoded here.

    Raises
    ------
    InputError
        The compression is unknown, or imagecodecs is needed and not installed.
    """
    if compression in (_RAW, _ZSTD_0, _ZSTD_1):
        return
    if compression not in _CODECS:
        raise InputError(
            f"input {path} has the compression {compression}, of a camera or a newer version: save it uncompressed"
        )
    try:
        importlib.import_module("imagecodecs")
    except ImportError as error:
        raise InputError(
            f"input {path} is compressed with {_CODECS[compression][0]}, which needs: pip install imagecodecs"
        ) from error


def decode(entry: Any, size: tuple[int, int]) -> NDArray[Any]:
    """Return the pixels (y x) of a subblock.

    Raises
    ------
    ValueError, RuntimeError
        It is truncated, or cannot be decoded.
    """
    data, dtype = entry.data_segment().data(raw=True), np.dtype(entry.dtype)
    if entry.compression in (_ZSTD_0, _ZSTD_1):
        data = _zstd(data, dtype, entry.compression == _ZSTD_1)
    elif entry.compression != _RAW:
        found = getattr(importlib.import_module("imagecodecs"), _CODECS[entry.compression][1])(data)
        data = found if isinstance(found, bytes) else np.ascontiguousarray(found).tobytes()
    expected = size[0] * size[1] * dtype.itemsize
    if len(data) != expected:
        raise ValueError(f"a subblock has {len(data)} bytes, expected {expected}")
    return np.frombuffer(data, dtype).reshape(size)


def _zstd(data: bytes, dtype: np.dtype[Any], headed: bool) -> bytes:
    """Decompress; ``headed``: a header of 1 or 3 bytes says whether low and high bytes are stored apart."""
    from numcodecs.zstd import Zstd

    apart = False
    if headed:
        length = data[0]
        apart = length >= 3 and data[1] == 1 and bool(data[2] & 1)
        data = data[length:]
    plain = bytes(Zstd().decode(data))
    if not apart or dtype.itemsize != 2:
        return plain
    return np.frombuffer(plain, np.uint8).reshape(2, -1).T.tobytes()
