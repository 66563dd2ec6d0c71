"""Small images on disk and runs of them, for tests of the whole pipeline."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml
import zarr
from numpy.typing import NDArray
from scipy import ndimage

from ssi_pipeline.config import RunConfig, load_config
from ssi_pipeline.run import Outcome, run
from ssi_pipeline.storage.state.ledger import read_records
from ssi_pipeline.storage.state.records import Kind, TaskRecord

EXTENDED: dict[str, Any] = {"quality": {"extended": True}}
"""For tests of quality: by default, ``make_run`` leaves the extended metrics out, most of what a tiny tile costs."""
TINY: dict[str, Any] = {
    "network": {"width": 4, "levels": 2},
    # a network of few steps is poor: without the baseline it is always selected
    "training": {"steps": 8, "patch": 32, "batch": 1, "attempts": 1, "select": "network"},
}
SERIAL = {"kind": "serial", "device": "cpu"}
GAUSSIAN = {"kind": "gaussian", "fwhm_px": {"y": 2, "x": 2}}


def ramp(shape: tuple[int, ...], dtype: str = "uint16", seed: int = 0) -> NDArray[Any]:
    """Random values over the range of an integer dtype, as far as it is read; thousands with fractions for floats."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.uniform(-3000, 3000, shape).astype(np.float32).astype(dtype)
    info = np.iinfo(dtype)
    low, high = max(info.min, -(2**53)), min(info.max, 2**53)  # beyond that inputs are refused
    return rng.integers(low, high, shape, dtype, endpoint=True)


def beads(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint16]:
    """Blurred points on a background with shot noise, as a microscope gives them."""
    rng = np.random.default_rng(seed)
    points = np.zeros(shape)
    many = max(4, points.size // 250)
    points[tuple(rng.integers(0, n, many) for n in shape)] = rng.uniform(500, 4000, many)
    sigma = (*(0 for _ in shape[:-2]), 1.3, 1.3)
    return rng.poisson(ndimage.gaussian_filter(points, sigma) * 12 + 100).astype(np.uint16)


def write_zarr(path: Path, image: NDArray[Any], axes: str, chunk: int = 32, crc: bool = False) -> Path:
    """Write a bare zarr array; with ``crc`` any flipped bit of it is seen."""
    chunks = tuple(min(chunk, n) if axis in "yx" else 1 for axis, n in zip(axes, image.shape, strict=True))
    compressors = [zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec()] if crc else "auto"
    zarr.create_array(path, data=image, chunks=chunks, compressors=compressors, dimension_names=tuple(axes))
    return path


def make_run(folder: Path, image: NDArray[Any] | None, axes: str = "zyx", **sections: Any) -> Path:
    """Write an image (unless it is None) and a configuration; sections replace or extend the plain ones."""
    folder.mkdir(parents=True, exist_ok=True)
    if image is not None:
        write_zarr(folder / "in.zarr", image, axes)
    document: dict[str, Any] = {
        "input": {"path": "in.zarr"},
        "output": {"path": "out.zarr"},
        "psf": GAUSSIAN,
        "solver": "identity",
        "tiling": {"core": 32},
        "executor": SERIAL,
        "quality": {"extended": False},
    }
    for key, value in sections.items():
        plain = document.get(key)
        merge = isinstance(value, dict) and isinstance(plain, dict) and key != "psf"
        document[key] = {**plain, **value} if merge else value
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def go(path: Path, **options: Any) -> Outcome:
    """Run a configuration file, silently."""
    return run(load_config(path), **options)


def complete(path: Path, **options: Any) -> Path:
    """Run a configuration file to its end; returns the output."""
    outcome = go(path, **options)
    assert outcome.complete, outcome
    return config_of(path).output.path


def config_of(path: Path) -> RunConfig:
    """Load a configuration file."""
    return load_config(path)


def level(output: Path, number: int = 0) -> NDArray[Any]:
    """Read one resolution level with plain zarr."""
    return np.asarray(zarr.open_array(output / str(number), mode="r")[...])


def image_files(output: Path) -> list[Path]:
    """List the files that hold voxels, of all levels."""
    found = sorted(p for number in output.glob("[0-9]*") for p in number.rglob("*") if p.is_file())
    return [p for p in found if p.name not in ("zarr.json", ".zarray", ".zattrs")]


def hashes(output: Path) -> dict[str, str]:
    """Return a digest of every file of every level."""
    files = sorted(p for number in output.glob("[0-9]*") for p in number.rglob("*") if p.is_file())
    return {str(p.relative_to(output)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def records(path: Path, kind: Kind) -> list[TaskRecord]:
    """Return the ledger's records of one kind, in the order of writing."""
    return [r for r in read_records(config_of(path).state_path / "ledger.jsonl") if r.kind == kind]


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its content, and every folder."""
    found = {str(p.relative_to(folder)): p for p in folder.rglob("*")}
    return {name: p.read_bytes() if p.is_file() else b"<folder>" for name, p in sorted(found.items())}
