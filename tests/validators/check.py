"""Open outputs with the libraries of others and compare what they read; runs in an environment of its own.

    python check.py MANIFEST

MANIFEST is what ``outputs.make_outputs`` returns, as JSON. Prints one JSON row for each output and library: ``kind``,
``version``, ``library``, ``library_version``, ``problem`` (nothing where all is well) and ``warnings``. Imports nothing
of the package, which is not installed here.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def same(found: Any, level: dict[str, Any], axes: str = "", full: str = "") -> None:
    """Refuse pixels that are not those of a level; ``full``: axes of a reader that adds those an image lacks."""
    values = np.asarray(found)
    if full:
        values = values.reshape([n for a, n in zip(full, values.shape, strict=True) if a in axes])
    assert list(values.shape) == level["shape"], f"shape {values.shape}, expected {level['shape']}"
    assert values.dtype.name == level["dtype"], f"dtype {values.dtype}, expected {level['dtype']}"
    digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    assert digest == level["sha256"], "other pixels than were written"


def yaozarrs(output: dict[str, Any]) -> None:
    """Validate metadata and storage by the specification."""
    import yaozarrs

    for image in output["images"]:
        yaozarrs.validate_zarr_store(image["path"])


def ome_zarr_models(output: dict[str, Any]) -> None:
    """Validate metadata by the pydantic models of the OME-Zarr community."""
    import ome_zarr_models
    import zarr

    for image in output["images"]:
        group = ome_zarr_models.open_ome_zarr(zarr.open_group(image["path"], mode="r"), version=output["version"])
        assert (
            len(group.attributes.ome.multiscales if output["version"] == "0.5" else group.attributes.multiscales) == 1
        )


def ome_zarr_py(output: dict[str, Any]) -> None:
    """Read all levels as napari's plugin does."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    for image in output["images"]:
        (node,) = [n for n in Reader(parse_url(image["path"]))() if n.data]
        for found, level in zip(node.data, image["levels"], strict=True):
            same(found.compute(), level)
        channels = output["channels"]
        if channels and "c" in image["axes"] and image is output["images"][0]:
            assert node.metadata["channel_names"] == channels, node.metadata["channel_names"]


def ngio(output: dict[str, Any]) -> None:
    """Read all levels, and the names of the channels."""
    from ngio import open_ome_zarr_container

    for image in output["images"]:
        container = open_ome_zarr_container(image["path"], mode="r")
        for path, level in zip(container.level_paths, image["levels"], strict=True):
            same(container.get_image(path=path).get_as_numpy(), level)
    if output["channels"]:
        found = open_ome_zarr_container(output["path"], mode="r").get_image().channel_labels
        assert list(found) == output["channels"], found


def tensorstore(output: dict[str, Any]) -> None:
    """Read every array, those of quality/ too: it knows the codecs by their specifications, not by zarr-python."""
    import tensorstore

    driver = "zarr3" if output["version"] == "0.5" else "zarr"

    def read(path: Path) -> Any:
        """Return all of an array."""
        store = {"driver": "file", "path": str(path)}
        return tensorstore.open({"driver": driver, "kvstore": store}, read=True).result().read().result()

    for image in output["images"]:
        for number, level in enumerate(image["levels"]):
            same(read(Path(image["path"], str(number))), level)
    for name in output["metrics"]:
        assert read(Path(output["path"], "quality", name)).ndim == 5


def bioio(output: dict[str, Any]) -> None:
    """Read all levels, the voxel size and the names of the channels."""
    from bioio_ome_zarr import Reader

    for image in output["images"]:
        reader = Reader(image["path"])
        for number, level in enumerate(image["levels"]):
            reader.set_resolution_level(number)
            same(reader.data, level, image["axes"], reader.dims.order.lower())
    reader = Reader(output["path"])
    if output["voxel_size"]:
        sizes = reader.physical_pixel_sizes
        assert output["voxel_size"] == [sizes.Z, sizes.Y, sizes.X], sizes
    if output["channels"]:
        assert reader.channel_names == output["channels"], reader.channel_names


def xarray(output: dict[str, Any]) -> None:
    """Open quality/ as a dataset, consolidated and not, and the whole output as a tree."""
    import xarray

    quality = Path(output["path"], "quality")
    for consolidated in (None, True, False):
        with xarray.open_zarr(quality, consolidated=consolidated, chunks=None) as data:
            assert set(output["metrics"]) <= set(data.data_vars), set(output["metrics"]) - set(data.data_vars)
            assert not data.data_vars.keys() - set(output["metrics"])
            assert set(data.flag.dims) == {"tile_t", "tile_c", "tile_z", "tile_y", "tile_x"}
            assert (data.status.load() == 1).all()
            assert all(v.attrs["long_name"] and v.attrs["units"] for v in data.data_vars.values())
            inner = data.flux_ratio.sel(tile_y=39, tile_x=37, method="ffill")  # the tiles that hold these pixels
            assert inner.ndim == 3
            assert (inner.tile_y <= 39) & (inner.tile_x <= 37)
            assert set(output["positions"]) == {n for n in data.coords if str(n).startswith("position_")}
    # the levels of a pyramid have the same names of dimensions and other sizes, as OME-Zarr demands: one at a time
    coarser = [str(n) for n in range(1, len(output["images"][0]["levels"]))]
    # of format 2 it takes pixels of the fill value, 0, for missing, unless this is switched off
    options = {"engine": "zarr", "consolidated": False, "mask_and_scale": False, "drop_variables": coarser}
    with xarray.open_datatree(output["path"], chunks=None, **options) as tree:
        image = output["images"][0]
        assert "".join(tree["0"].dims) == image["axes"]
        same(tree["0"].values, image["levels"][0])
        assert (tree["quality/status"].load() == 1).all()
        if len(output["images"]) == 2:
            same(tree["uncertainty/0"].values, output["images"][1]["levels"][0])


LIBRARIES: dict[str, Callable[[dict[str, Any]], None]] = {
    "yaozarrs": yaozarrs,
    "ome-zarr-models": ome_zarr_models,
    "ome-zarr": ome_zarr_py,
    "ngio": ngio,
    "tensorstore": tensorstore,
    "bioio-ome-zarr": bioio,
    "xarray": xarray,
}


def plate_yaozarrs(output: dict[str, Any]) -> None:
    """Validate metadata and storage of all groups and images by the specification."""
    import yaozarrs

    yaozarrs.validate_zarr_store(output["path"])


def plate_models(output: dict[str, Any]) -> None:
    """Validate a plate or a series; ``open_ome_zarr`` tries no series of 0.5."""
    import ome_zarr_models.v04
    import ome_zarr_models.v05
    import zarr

    models = {"0.4": ome_zarr_models.v04, "0.5": ome_zarr_models.v05}[output["version"]]
    model = getattr(models, {"plate": "HCS", "series": "BioFormats2Raw"}[output["collection"]])
    model.from_zarr(zarr.open_group(output["path"], mode="r"))


def plate_ome_zarr_py(output: dict[str, Any]) -> None:
    """Read a plate as napari's plugin does: all wells in one picture."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    if output["collection"] == "plate":
        (node,) = [n for n in Reader(parse_url(output["path"]))() if n.data]
        found = np.asarray(node.data[0].compute())
        rows, columns = output["grid"]
        y, x = output["shape"][-2:]
        assert found.shape[-2:] == (rows * y, columns * x), found.shape


def plate_ngio(output: dict[str, Any]) -> None:
    """Find the images of a plate, and its table."""
    from ngio import open_ome_zarr_plate

    if output["collection"] == "plate":
        plate = open_ome_zarr_plate(output["path"], mode="r")
        found = sorted(plate.get_images(max_workers=1))
        assert found == sorted(output["names"]), found
        assert plate.list_tables() == ["drugs"], plate.list_tables()


COLLECTIONS: dict[str, Callable[[dict[str, Any]], None]] = {
    "yaozarrs": plate_yaozarrs,
    "ome-zarr-models": plate_models,
    "ome-zarr": plate_ome_zarr_py,
    "ngio": plate_ngio,
}
"""Libraries that know plates; images within are checked as any other."""


def carried_ngio(output: dict[str, Any]) -> None:
    """Find and read the labels of an image, and find its table."""
    from ngio import open_ome_zarr_container

    container = open_ome_zarr_container(output["path"], mode="r")
    assert sorted(container.list_labels()) == sorted(output["labels"]), container.list_labels()
    assert container.list_tables() == output["tables"], container.list_tables()
    for name, levels in output["labels"].items():
        for number, level in enumerate(levels):
            same(container.get_label(name, path=str(number)).get_as_numpy(), level)


def carried_ome_zarr_py(output: dict[str, Any]) -> None:
    """Read an image with its labels as napari's plugin does."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    nodes = {Path(str(node.zarr)).name.split(" ")[0]: node for node in Reader(parse_url(output["path"]))() if node.data}
    assert set(output["labels"]) <= set(nodes), sorted(nodes)
    for name, levels in output["labels"].items():
        for found, level in zip(nodes[name].data, levels, strict=True):
            same(np.asarray(found.compute()).reshape(level["shape"]), level)


CARRIED: dict[str, Callable[[dict[str, Any]], None]] = {
    "yaozarrs": yaozarrs,
    "ome-zarr-models": ome_zarr_models,
    "ome-zarr": carried_ome_zarr_py,
    "ngio": carried_ngio,
    "tensorstore": tensorstore,
    "bioio-ome-zarr": bioio,
}
"""Libraries that read label images beside an image."""


def known(output: dict[str, Any]) -> dict[str, Callable[[dict[str, Any]], None]]:
    """Return the checks of an output."""
    return CARRIED if "labels" in output else COLLECTIONS if "collection" in output else LIBRARIES


def row(output: dict[str, Any], library: str) -> dict[str, Any]:
    """Let one library read one output."""
    problem = ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            known(output)[library](output)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
    said = sorted({f"{w.category.__name__}: {w.message}" for w in caught})
    version = importlib.metadata.version(library)
    names = {"kind": output["kind"], "version": output["version"], "library": library, "library_version": version}
    return {**names, "problem": problem[:2000], "warnings": said}


def main() -> None:
    """Print a row for each output and library."""
    for output in json.loads(Path(sys.argv[1]).read_text()):
        for library in known(output):
            print(json.dumps(row(output, library)), flush=True)


if __name__ == "__main__":
    main()
