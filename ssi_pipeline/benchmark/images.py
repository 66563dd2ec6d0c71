"""The images of the benchmark: from a folder, or those that ship with scikit-image."""

from __future__ import annotations

import hashlib
import io
from importlib import resources
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from skimage.color import rgb2gray
from skimage.io import imread

from ssi_pipeline.errors import InputError

_SUFFIXES = (".png", ".tif", ".tiff")

_PACKAGED = ("camera.png", "cell.png", "coins.png", "hubble_deep_field.jpg", "ihc.png", "moon.png")
"""In scikit-image's wheel: nothing is downloaded."""


def find_images(folder: Path | None) -> list[Path]:
    """Return the image files of a folder in the order of their names; without a folder, scikit-image's own.

    Raises
    ------
    InputError
        There is no such folder, no image in it, or two whose names differ in the suffix alone.
    """
    if folder is None:
        data = Path(str(resources.files("skimage.data")))
        return [data / name for name in _PACKAGED]
    if not folder.is_dir():
        raise InputError(f"--images {folder} is no folder: expected one that holds {', '.join(_SUFFIXES)} files")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and not p.name.startswith("."))
    if not found:
        raise InputError(f"--images {folder} holds no image: expected {', '.join(_SUFFIXES)} files")
    names = [p.stem for p in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"--images {folder} holds more than one image of the name {', '.join(twice)}")
    return found


def read_truth(path: Path, crop: int | None) -> NDArray[np.float32]:
    """Return a plane (y x), cut to the middle ``crop`` pixels along each axis, then stretched to [0, 1].

    Colour becomes luminance, as scikit-image weighs it.

    Raises
    ------
    InputError
        The file cannot be read, is no single plane, or shows nothing.
    """
    try:
        raw = np.asarray(tifffile.imread(path) if path.suffix.lower().startswith(".tif") else _decoded(path))
    except Exception as error:  # the libraries behind raise a dozen kinds
        raise InputError(f"{path} cannot be read as an image: {error}") from error
    if raw.ndim == 3 and raw.shape[-1] in (3, 4):
        raw = rgb2gray(raw[..., :3])
    if raw.ndim != 2:
        raise InputError(f"{path} has the shape {raw.shape}: expected one plane, grey (y x) or colour (y x 3)")
    inside = tuple(slice(max(0, n - crop) // 2, max(0, n - crop) // 2 + crop) if crop else slice(n) for n in raw.shape)
    image = raw[inside].astype(np.float32)
    if not np.isfinite(image).all():
        raise InputError(f"{path} has values that are NaN or infinite")
    low, high = image.min(), image.max()
    if low == high:
        raise InputError(f"{path} is constant: there is nothing to restore")
    return np.asarray((image - low) / (high - low), np.float32)


def _decoded(path: Path) -> NDArray[np.generic]:
    # from memory: given a name, imageio leaves the file open when nothing can read it
    return np.asarray(imread(io.BytesIO(path.read_bytes())))


def image_digest(truth: NDArray[np.float32]) -> str:
    """Return 16 hexadecimal digits that identify a plane."""
    return hashlib.sha256(repr(truth.shape).encode() + truth.astype("<f4").tobytes()).hexdigest()[:16]
