"""Outputs of every kind from real runs: two versions of OME-Zarr, all axes, dtypes, channels, uncertainty."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr

from ssi_pipeline.config import load_config
from ssi_pipeline.results.finish import METRICS
from ssi_pipeline.run.images.call import ImagesRequest
from ssi_pipeline.run.images.driver import run_images
from ssi_pipeline.storage.inputs.images import list_images
from tests.builders import beads, complete, make_run, ramp
from tests.plates import write_labelled, write_plate, write_plate_table, write_series

VERSIONS = ("0.5", "0.4")

UM = {"z": 0.4, "y": 0.1, "x": 0.1}
"""Voxel size of the kinds with one."""


@dataclass(frozen=True)
class Kind:
    """One kind of output.

    ``omero``: the input's block of that name, in an OME-Zarr image; None: a bare array. ``channels``: names that
    readers have to find. ``known``: axes along which the input says what a voxel is.
    """

    name: str
    axes: str
    shape: tuple[int, ...]
    dtype: str = "uint16"
    omero: Any = None
    tiff: bool = False
    channels: tuple[str, ...] = ()
    known: str = ""
    sections: dict[str, Any] = field(default_factory=dict)


LONG = bool(os.environ.get("SSI_LONG"))
"""The long form has every dtype, and every kind in both versions; the short form int8 and uint64 beside the dtypes of
the other kinds, and the kinds in 0.5 and 0.4 by turns."""

DYES = ("DAPI", "GFP")
NAMES = {"channels": [{"label": name} for name in DYES]}
"""Channels with labels alone: what many writers leave behind, without the colour and window that have to be there."""

BROKEN = {
    "channels": [
        {"label": 7, "color": "#0f0", "window": {"start": 900, "end": 10}, "active": "yes"},
        {
            "label": "GFP",
            "color": "red",
            "window": {"min": "0", "max": "4095", "start": 5},
            "coefficient": float("nan"),
        },
        {"label": "GFP", "color": "00FF00FF"},
        "no mapping",
        {"label": "more channels than the image has"},
    ],
    "rdefs": {"defaultZ": 77, "defaultT": None, "model": "color"},
    "version": "0.3",
}

SMALL = {"tiling": {"core": 64}}
CHUNKED = {"output": {"chunk": {"y": 16, "x": 16}}, **SMALL}

SOLID = {
    "tiling": {"dimensions": 3, "core": {"z": 8, "y": 70, "x": 70}},
    "psf": {"kind": "gaussian", "fwhm_px": {"z": 2, "y": 2, "x": 2}},
    "solver": "wiener",
}

KINDS = (
    Kind("plane", "yx", (40, 50), "uint8"),
    Kind("stack", "zyx", (3, 150, 300), sections={"input": {"voxel_size_um": UM}, **CHUNKED}),
    Kind("one level", "zyx", (3, 150, 300), sections={"output": {"pyramid": False}, **SMALL}),
    Kind("3D", "zyx", (8, 70, 140), sections=SOLID),
    Kind("time", "tyx", (3, 40, 50), "float32"),
    Kind("channels", "cyx", (3, 40, 50), "int16", channels=("channel 0", "channel 1", "channel 2")),
    Kind("all axes", "tczyx", (2, 2, 3, 40, 50), omero=NAMES, channels=DYES, sections={"input": {"voxel_size_um": UM}}),
    Kind(
        "region",
        "tczyx",
        (3, 4, 3, 40, 50),
        omero=BROKEN,
        channels=("GFP", "GFP (2)", "channel 3"),
        sections={"input": {"roi": {"c": [1, 4], "t": [1, 3]}}},
    ),
    Kind("float64", "tcyx", (2, 3, 40, 50), "float64", omero={"channels": [{}, {"color": "FF0000"}]}),
    Kind(
        "uncertainty",
        "czyx",
        (2, 2, 70, 135),
        omero=NAMES,
        channels=DYES,
        sections={"solver": "wiener", "output": {"uncertainty": 2, "dtype": "float32"}, "tiling": {"core": 70}},
    ),
    Kind("ome-tiff", "czyx", (2, 3, 40, 50), tiff=True, channels=DYES, known="yx"),
    Kind("int8", "yx", (40, 50), "int8"),
    Kind("uint64", "yx", (40, 50), "uint64"),
    *(Kind(dtype, "yx", (40, 50), dtype) for dtype in ("uint32", "int32", "int64", "float16") if LONG),
)

MADE = [
    (kind, version) for i, kind in enumerate(KINDS) for j, version in enumerate(VERSIONS) if LONG or (i + j) % 2 == 0
]


def make_outputs(folder: Path) -> list[dict[str, Any]]:
    """Run every kind; returns what a reader has to find, with the folders."""
    return [_make(folder / f"{kind.name} {version}", kind, version) for kind, version in MADE]


def _make(folder: Path, kind: Kind, version: str) -> dict[str, Any]:
    image = beads(kind.shape) if kind.dtype == "uint16" else ramp(kind.shape, kind.dtype)
    sections = {**kind.sections, "output": {**kind.sections.get("output", {}), "ome_zarr": version}}
    folder.mkdir(parents=True)
    bare: Any = None
    if kind.tiff:
        channels = {"Name": ["DAPI", "GFP"]}
        metadata = {"axes": kind.axes.upper(), "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "Channel": channels}
        tifffile.imwrite(folder / "in.ome.tif", image, metadata=metadata)
        sections["input"] = {"path": "in.ome.tif"}
    elif kind.omero is not None:
        write_ome(folder / "in.zarr", image, kind.axes, kind.omero)
    else:
        bare = image
    output = complete(make_run(folder, bare, kind.axes, **sections))
    size = kind.sections.get("input", {}).get("voxel_size_um")
    return {
        "kind": kind.name,
        "version": version,
        "path": str(output),
        "images": list(_images(output, kind.axes)),
        "metrics": list(METRICS),
        "channels": list(kind.channels),
        "voxel_size": [size[a] for a in "zyx"] if size else None,
        "positions": [f"position_{a}" for a in (kind.known or (size or {}))],
    }


def make_labelled(folder: Path) -> list[dict[str, Any]]:
    """Run an image with labels and a table, which are carried along, in both versions."""
    return [_labelled(folder / f"labels {version}", version) for version in VERSIONS]


def _labelled(folder: Path, version: str) -> dict[str, Any]:
    folder.mkdir(parents=True)
    write_labelled(folder / "in.zarr", version)
    carried = {"ome_zarr": version, "carry": ["labels", "tables"]}
    output = complete(make_run(folder, None, input={"path": "in.zarr"}, output=carried))
    names = ["nuclei", "empty"]
    paths = [output, *(output / "labels" / name for name in names)]
    images = [_image(path, axes) for path, axes in zip(paths, ("czyx", "zyx", "zyx"), strict=True)]
    labels = {name: image["levels"] for name, image in zip(names, images[1:], strict=True)}
    made = {"path": str(output), "images": images, "metrics": list(METRICS), "channels": [], "voxel_size": None}
    return {"kind": "labels", "version": version, **made, "labels": labels, "tables": ["areas"]}


def make_collections(folder: Path) -> list[dict[str, Any]]:
    """Run a plate with two images in each well, and a series, in both versions."""
    return [_collection(folder / f"{kind} {v}", kind, v) for kind in ("plate", "series") for v in VERSIONS]


def _collection(folder: Path, kind: str, version: str) -> dict[str, Any]:
    folder.mkdir(parents=True)
    if kind == "plate":
        write_plate(folder / "in.zarr", 2, 2, fields=2, version=version)
        write_plate_table(folder / "in.zarr", version)
    else:
        write_series(folder / "in.zarr", 2)
    pattern = "*/*/*" if kind == "plate" else "*"
    output = {"ome_zarr": version, "carry": ["tables"] if kind == "plate" else []}
    file = make_run(folder, None, input={"images": pattern}, output=output)
    outcome = run_images(load_config(file), ImagesRequest(), log=lambda _: None)
    assert outcome.complete
    names = [image.name for image in list_images(folder / "out.zarr").images]
    shape, grid = (1, 24, 28), (2, 2)
    made = {"path": str(folder / "out.zarr"), "names": names, "shape": shape, "grid": grid}
    return {"kind": kind, "collection": kind, "version": version, **made}


def write_ome(path: Path, image: np.ndarray[Any, Any], axes: str, omero: Any) -> None:
    """Write an OME-Zarr 0.4 image whose ``omero`` block is whatever is given."""
    group = zarr.create_group(path, zarr_format=2)
    group.create_array("0", data=image, chunks=image.shape, chunk_key_encoding={"name": "v2", "separator": "/"})
    kinds = {"t": "time", "c": "channel"}
    named = [{"name": a, "type": kinds.get(a, "space")} for a in axes]
    transforms = [{"type": "scale", "scale": [1.0] * len(axes)}]
    dataset = {"path": "0", "coordinateTransformations": transforms}
    document = {"multiscales": [{"version": "0.4", "axes": named, "datasets": [dataset]}], "omero": omero}
    (path / ".zattrs").write_text(json.dumps(document))


def _images(output: Path, axes: str) -> Iterator[dict[str, Any]]:
    yield from (_image(path, axes) for path in (output, output / "uncertainty") if path.exists())


def _image(path: Path, axes: str) -> dict[str, Any]:
    levels = []
    for level in sorted(p for p in path.glob("[0-9]*") if p.is_dir()):
        values = np.asarray(zarr.open_array(level, mode="r")[...])
        digest = hashlib.sha256(values.tobytes()).hexdigest()
        levels.append({"shape": values.shape, "dtype": values.dtype.name, "sha256": digest})
    return {"path": str(path), "axes": axes, "levels": levels}
