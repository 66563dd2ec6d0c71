"""Images of the benchmark: from a folder, or from scikit-image."""

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
"""Images in scikit-image's wheel: no download."""


def find_images(folder: Path | None) -> list[Path]:
    """Return the image files of a folder sorted by name; without a folder, those of scikit-image.

    Raises
    ------
    InputError
        The folder is missing, has no image, or two whose names differ only in the suffix.
    """
    if folder is None:
        data = Path(str(resources.files("skimage.data")))
        return [data / name for name in _PACKAGED]
    if not folder.is_dir():
        raise InputError(f"--images {folder} is not a folder: expected a folder of {', '.join(_SUFFIXES)} files")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and not p.name.startswith("."))
    if not found:
        raise InputError(f"--images {folder} contains no image: expected {', '.join(_SUFFIXES)} files")
    names = [p.stem for p in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"--images {folder} contains several images named {', '.join(twice)}")
    return found


def read_truth(path: Path, crop: int | None) -> NDArray[np.float32]:
    """Return a plane (y x), cropped to the central ``crop`` pixels along each axis and rescaled to [0, 1].

    Colour is converted to luminance with scikit-image's weights.

    Raises
    ------
    InputError
        The file cannot be read, is not a single plane, or is constant.
    """
    try:
        raw = np.asarray(tifffile.imread(path) if path.suffix.lower().startswith(".tif") else _decoded(path))
    except Exception as error:  # image libraries raise many types
        raise InputError(f"{path} cannot be read as an image: {error}") from error
    if raw.ndim == 3 and raw.shape[-1] in (3, 4):
        raw = rgb2gray(raw[..., :3])
    if raw.ndim != 2:
        raise InputError(f"{path} has the shape {raw.shape}: expected one plane, grey (y x) or colour (y x 3)")
    inside = tuple(slice(max(0, n - crop) // 2, max(0, n - crop) // 2 + crop) if crop else slice(n) for n in raw.shape)
    image = raw[inside].astype(np.float32)
    if not np.isfinite(image).all():
        raise InputError(f"{path} has NaN or infinite values")
    low, high = image.min(), image.max()
    if low == high:
        raise InputError(f"{path} is constant: there is nothing to restore")
    return np.asarray((image - low) / (high - low), np.float32)


def _decoded(path: Path) -> NDArray[np.generic]:
    # from memory: imageio leaves a file open if no plugin can read it
    return np.asarray(imread(io.BytesIO(path.read_bytes())))


def image_digest(truth: NDArray[np.float32]) -> str:
    """Return 16 hexadecimal digits that identify a plane."""
    return hashlib.sha256(repr(truth.shape).encode() + truth.astype("<f4").tobytes()).hexdigest()[:16]
