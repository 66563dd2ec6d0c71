"""Plates and collections of tiny images, as microscopes write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from tests.builders import beads

KINDS = {"t": "time", "c": "channel"}


def write_image(folder: Path, image: np.ndarray[Any, Any], axes: str = "cyx", version: str = "0.5") -> None:
    """Write one OME-Zarr image of one level."""
    group = zarr.create_group(folder, zarr_format=3 if version == "0.5" else 2)
    keys: dict[str, Any] = {"dimension_names": tuple(axes)}
    if version != "0.5":
        keys = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    group.create_array("0", data=image, chunks=(*(1 for _ in image.shape[:-2]), *image.shape[-2:]), **keys)
    named = [{"name": a, "type": KINDS.get(a, "space")} for a in axes]
    scale = [{"type": "scale", "scale": [1.0] * len(axes)}]
    multiscale: dict[str, Any] = {"axes": named, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    _mark(group, version, {"multiscales": [multiscale if version == "0.5" else {**multiscale, "version": version}]})


def write_labelled(
    path: Path, version: str = "0.5", labels: tuple[int, ...] = (2, 40, 48)
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Write an image (c z y x) of two levels with a label image, one without objects, and a table.

    Returns both levels of the labels.
    """
    image = beads((2, 2, 40, 48))
    nuclei = np.random.default_rng(1).integers(0, 9, labels).astype(np.int32)
    group = _write_levels(path, [image, image[..., ::2, ::2]], "czyx", version)
    beside = group.create_group("labels")
    _mark(beside, version, {"labels": ["nuclei", "empty"]})
    about = {"colors": [{"label-value": 1, "rgba": [255, 0, 0, 255]}], "source": {"image": "../../"}}
    for name, pixels in (("nuclei", nuclei), ("empty", np.zeros((2, 40, 48), np.uint8))):
        _write_levels(path / "labels" / name, [pixels, pixels[..., ::2, ::2]], "zyx", version, {"image-label": about})
    tables = group.create_group("tables", attributes={"tables": ["areas"]})
    tables.create_group("areas", attributes={"type": "generic_table", "backend": "csv"})
    (path / "tables/areas/table.csv").write_text("label,area\n1,20.5\n")
    return nuclei, nuclei[:, ::2, ::2]


def write_plane(path: Path, shape: tuple[int, int]) -> None:
    """Write an image (y x) that is large enough for a pyramid, with labels of one level."""
    group = _write_levels(path, [beads(shape)], "yx", "0.5")
    _mark(group.create_group("labels"), "0.5", {"labels": ["nuclei"]})
    nuclei = np.random.default_rng(1).integers(0, 99, shape).astype(np.uint16)
    _write_levels(path / "labels/nuclei", [nuclei], "yx", "0.5", {"image-label": {}})


def _write_levels(
    path: Path, levels: list[np.ndarray[Any, Any]], axes: str, version: str, more: Any = None
) -> zarr.Group:
    group = zarr.create_group(path, zarr_format=3 if version == "0.5" else 2)
    datasets = []
    for number, pixels in enumerate(levels):
        keys: dict[str, Any] = {"dimension_names": tuple(axes)}
        if version != "0.5":
            keys = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
        group.create_array(str(number), data=pixels, chunks=(*(1 for _ in axes[:-2]), 16, 16), **keys)
        scale = [{"z": 0.5, "c": 1.0}.get(axis, 0.1 * 2**number) for axis in axes]
        datasets.append({"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    named = [{"name": a, "type": KINDS.get(a, "space"), **({} if a == "c" else {"unit": "micrometer"})} for a in axes]
    multiscale = {"axes": named, "datasets": datasets} | ({} if version == "0.5" else {"version": version})
    _mark(group, version, {"multiscales": [multiscale], **(more or {})})
    return group


def write_plate(
    path: Path,
    rows: int,
    columns: int,
    shape: tuple[int, ...] = (1, 24, 28),
    fields: int = 1,
    version: str = "0.5",
    axes: str = "cyx",
) -> Path:
    """Write a plate; every image has other pixels."""
    root = zarr.create_group(path, zarr_format=3 if version == "0.5" else 2)
    letters, numbers = [chr(65 + r) for r in range(rows)], [str(c + 1) for c in range(columns)]
    wells = [(f"{letters[r]}/{numbers[c]}", r, c) for r in range(rows) for c in range(columns)]
    plate = {
        "name": "test",
        "rows": [{"name": name} for name in letters],
        "columns": [{"name": name} for name in numbers],
        "field_count": fields,
        "wells": [{"path": name, "rowIndex": r, "columnIndex": c} for name, r, c in wells],
        "version": version,
    }
    _mark(root, version, {"plate": plate})
    for number, (name, _, _) in enumerate(wells):
        images = [{"path": str(f)} for f in range(fields)]
        _mark(root.create_group(name), version, {"well": {"images": images, "version": version}})
        for f in range(fields):
            write_image(path / name / str(f), beads(shape, seed=100 * number + f), axes, version)
    return path


def write_plate_table(plate: Path, version: str = "0.5") -> Path:
    """Write a table of a whole plate; returns its file."""
    tables = zarr.create_group(
        plate / "tables", zarr_format=3 if version == "0.5" else 2, attributes={"tables": ["drugs"]}
    )
    tables.create_group("drugs", attributes={"type": "generic_table", "backend": "csv"})
    (plate / "tables/drugs/table.csv").write_text("row,column,drug\nA,1,none\n")
    return plate / "tables/drugs/table.csv"


def write_series(path: Path, count: int, version: str = "0.5") -> Path:
    """Write a collection as bioformats2raw does: images 0, 1, ... and their list."""
    root = zarr.create_group(path, zarr_format=3 if version == "0.5" else 2)
    _mark(root, version, {"bioformats2raw.layout": 3})
    names = [str(i) for i in range(count)]
    _mark(root.create_group("OME"), version, {"series": names})
    for i, name in enumerate(names):
        write_image(path / name, beads((24, 28), seed=i), "yx", version)
    return path


def _mark(group: zarr.Group, version: str, document: dict[str, Any]) -> None:
    group.attrs.update({"ome": {"version": version, **document}} if version == "0.5" else document)
