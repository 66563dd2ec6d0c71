"""Every input format, read from real files."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tifffile
import zarr

from ssi_pipeline.config import InputConfig
from ssi_pipeline.errors import CorruptDataError, InputError
from ssi_pipeline.geometry import Box
from ssi_pipeline.storage.inputs.identity import identity
from ssi_pipeline.storage.inputs.source import clear_sources, open_source, spec_of
from ssi_pipeline.storage.inputs.source_protocol import SourceSpec

RNG = np.random.default_rng(3)
FULL = RNG.integers(0, 60000, (2, 3, 4, 40, 48), dtype=np.uint16)  # t c z y x
BOX = Box((1, 5, 7), (3, 33, 40))


@pytest.fixture(autouse=True)
def _fresh():
    clear_sources()
    yield
    clear_sources()


def opened(path: Path, **options: Any):
    return open_source(SourceSpec(str(path), **options))


def refused(path: Path, *says: str, **options: Any) -> None:
    with pytest.raises(InputError) as caught:
        opened(path, **options)
    for part in says:
        assert part in str(caught.value)


def write_zarr(path: Path, values: np.ndarray, version: int = 3, chunks=None, **options: Any) -> Path:
    chunks = chunks or (*(1,) * (values.ndim - 2), 16, 16)
    array = zarr.create_array(
        str(path), shape=values.shape, dtype=values.dtype, chunks=chunks, zarr_format=version, **options
    )
    array[...] = values
    return path


def write_tiff(path: Path, values: np.ndarray, **options: Any) -> None:
    # without it, tifffile takes 3 or 4 planes for colours
    tifffile.imwrite(path, values, **{"photometric": "minisblack", **options})


def write_ome(path: Path, version: str, axes: str = "tczyx", unit: str = "micrometer", **extra: Any) -> Path:
    """Two levels: FULL, and every second row and column of it; the voxel of level 0 is 0.4 x 0.1 x 0.1."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    types = {"t": "time", "c": "channel"}
    described: list[dict[str, str]] = [{"name": a, "type": types.get(a, "space")} for a in axes]
    for axis in described:
        if axis["type"] == "space":
            axis["unit"] = unit
        elif axis["type"] == "time":
            axis["unit"] = "second"
    datasets = []
    for level, step in enumerate((1, 2)):
        values = FULL[..., ::step, ::step].transpose(["tczyx".index(a) for a in axes])
        array = group.create_array(str(level), shape=values.shape, dtype=values.dtype, chunks=(1, 1, 1, 16, 16))
        array[...] = values
        size = {"t": 5.0, "c": 1.0, "z": 0.4, "y": 0.1 * step, "x": 0.1 * step}
        transforms = [
            {"type": "scale", "scale": [size[a] for a in axes]},
            {"type": "translation", "translation": [0.05 * level if a in "yx" else 0.0 for a in axes]},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    document = {
        "multiscales": [{"axes": described, "datasets": datasets, "version": version}],
        "omero": {"channels": [{"label": name, "color": "00FF00"} for name in ("DAPI", "GFP", "RFP")]},
        **extra,
    }
    group.attrs.update(document if version == "0.4" else {"ome": {"version": version, **document}})
    return path


def assert_reads_full(source) -> None:
    assert source.volume.shape == FULL.shape
    for t, c in ((0, 0), (1, 2)):
        values = source.read(t, c, BOX)
        np.testing.assert_array_equal(values, FULL[t, c][BOX.slices])
        assert values.dtype.isnative
        assert values.flags.c_contiguous


# --- zarr ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
def test_bare_array_of_five_axes(tmp_path, version):
    source = opened(write_zarr(tmp_path / "a.zarr", FULL, version))
    assert source.volume.axes == "tczyx"
    assert source.volume.voxel_size_um is None
    assert_reads_full(source)


def test_two_axes_are_y_and_x_and_three_are_not_guessed(tmp_path):
    plane = opened(write_zarr(tmp_path / "2.zarr", FULL[0, 0, 0]))
    assert plane.volume.shape == (1, 1, 1, 40, 48)
    np.testing.assert_array_equal(plane.read(0, 0, Box((0, 2, 3), (1, 9, 8)))[0], FULL[0, 0, 0, 2:9, 3:8])
    path = write_zarr(tmp_path / "3.zarr", FULL[0, 0])
    refused(path, "does not name its 3 axes", "axes: zyx")
    stack = opened(path, axes="zyx")
    np.testing.assert_array_equal(stack.read(0, 0, BOX), FULL[0, 0][BOX.slices])
    assert opened(path, axes="tyx").volume.shape == (4, 1, 1, 40, 48)
    refused(path, "'zcyx', 4 axes", "(4, 40, 48)", axes="zcyx")


@pytest.mark.parametrize("version", [2, 3])
def test_names_of_dimensions_give_the_order(tmp_path, version):
    values = FULL[0].transpose(1, 0, 2, 3)
    options: dict[str, Any] = (
        {"dimension_names": list("zcyx")} if version == 3 else {"attributes": {"_ARRAY_DIMENSIONS": list("zcyx")}}
    )
    path = write_zarr(tmp_path / "a.zarr", values, version, **options)
    for axes in (None, "czyx"):
        source = opened(path, axes=axes)
        assert source.volume.axes == "czyx"
        np.testing.assert_array_equal(source.read(0, 2, BOX), FULL[0, 2][BOX.slices])


def test_even_x_before_y_is_read_right(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", FULL[0, 0].transpose(2, 1, 0), dimension_names=list("xyz"))
    np.testing.assert_array_equal(opened(path).read(0, 0, BOX), FULL[0, 0][BOX.slices])


@pytest.mark.parametrize("dtype", ["<u1", "<i2", ">u2", "<u4", "<f4", ">f4", "<f8", "<f2"])
def test_any_real_dtype(tmp_path, dtype):
    values = (FULL[0, 0] // 512).astype(dtype)
    zarred = opened(write_zarr(tmp_path / "a.zarr", values, 2), axes="zyx")
    write_tiff(tmp_path / "a.tif", values, byteorder=">" if dtype[0] == ">" else "<", metadata={"axes": "ZYX"})
    for source in (zarred, opened(tmp_path / "a.tif")):
        read = source.read(0, 0, BOX)
        assert read.dtype == np.dtype(dtype).newbyteorder("=")
        assert source.volume.dtype == read.dtype.name
        np.testing.assert_array_equal(read, values[BOX.slices])


@pytest.mark.parametrize("dtype", ["bool", "complex64"])
def test_other_dtypes_are_refused(tmp_path, dtype):
    refused(write_zarr(tmp_path / "a.zarr", np.ones((8, 8), dtype)), dtype, "integers or floats")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["tczyx", "tzcyx"])
def test_ome_zarr(tmp_path, version, axes):
    source = opened(write_ome(tmp_path / "a.ome.zarr", version, axes))
    assert_reads_full(source)
    assert source.volume.axes == "tczyx"
    assert source.volume.voxel_size_um == pytest.approx((0.4, 0.1, 0.1))
    assert source.volume.channel_names == ("DAPI", "GFP", "RFP")
    assert source.metadata.scale["t"] == 5.0
    assert source.metadata.axes_units == {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"}
    assert source.metadata.omero["channels"][1]["color"] == "00FF00"


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_level(tmp_path, version):
    path = write_ome(tmp_path / "a.ome.zarr", version)
    source = opened(path, level=1)
    assert source.volume.shape == (2, 3, 4, 20, 24)
    assert source.volume.voxel_size_um == pytest.approx((0.4, 0.2, 0.2))
    assert source.metadata.translation == pytest.approx({"y": 0.05, "x": 0.05})
    np.testing.assert_array_equal(source.read(1, 1, Box((0, 0, 0), (4, 20, 24))), FULL[1, 1, :, ::2, ::2])
    refused(path, "no level 2", "0 (2 x 3 x 4 x 40 x 48), 1 (2 x 3 x 4 x 20 x 24)", "input.level", level=2)


def test_level_of_a_bare_array_is_refused(tmp_path):
    refused(write_zarr(tmp_path / "a.zarr", FULL), "without resolution levels", level=1)


@pytest.mark.parametrize(
    ("unit", "factor"), [("nanometer", 1e-3), ("millimeter", 1e3), ("angstrom", 1e-4), ("meter", 1e6)]
)
def test_units_become_micrometres(tmp_path, unit, factor):
    source = opened(write_ome(tmp_path / "a.zarr", "0.5", unit=unit))
    assert source.volume.voxel_size_um == pytest.approx((0.4 * factor, 0.1 * factor, 0.1 * factor))
    assert source.metadata.axes_units["x"] == "micrometer"


def test_the_user_overrules_the_voxel_size(tmp_path):
    path = write_ome(tmp_path / "a.zarr", "0.5", unit="parsec")
    assert opened(path).volume.voxel_size_um is None
    source = opened(path, voxel_size_um=(1.0, 0.2, 0.3))
    assert source.volume.voxel_size_um == (1.0, 0.2, 0.3)
    assert source.metadata.scale["y"] == 0.2
    other = write_ome(tmp_path / "b.zarr", "0.5")
    assert opened(other, voxel_size_um=(0.0, 0.2, 0.3)).volume.voxel_size_um == pytest.approx((0.4, 0.2, 0.3))
    bare = write_zarr(tmp_path / "c.zarr", FULL)
    refused(bare, "lacks z", voxel_size_um=(0.0, 0.2, 0.3))


def test_spec_of_the_configuration_travels():
    section = InputConfig(path=Path("a.zarr"), level=1, axes="zyx", voxel_size_um={"y": 0.1, "x": 0.2})
    spec = spec_of(section)
    assert spec == SourceSpec("a.zarr", 1, "zyx", (0.0, 0.1, 0.2))
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_collections_name_the_image_inside(tmp_path):
    def group(name: str, attributes: dict[str, Any]) -> Path:
        zarr.open_group(str(tmp_path / name), mode="w", zarr_format=2).attrs.update(attributes)
        return tmp_path / name

    plate = group("plate.ome.zarr", {"plate": {"wells": [{"path": "A/01"}, {"path": "B/03"}]}})
    refused(plate, "a plate", "found no image inside")
    group("plate.ome.zarr/B/03", {"well": {"images": [{"path": "0"}, {"path": "2"}]}})
    group("plate.ome.zarr/B/03/2", {"multiscales": []})
    refused(plate, "a plate", f"e.g. {plate}/B/03/2")
    refused(plate / "B/03", "a well", f"e.g. {plate}/B/03/2")
    layout = group("layout.zarr", {"bioformats2raw.layout": 3})
    refused(layout, "bioformats2raw", "found no image inside")
    for name in ("10", "7", "OME"):
        group(f"layout.zarr/{name}", {})
    refused(layout, "bioformats2raw", f"e.g. {layout}/7 or {layout}/10")
    group("layout.zarr/OME", {"series": ["10", "7", "8"]})
    refused(layout, f"e.g. {layout}/10 or {layout}/7")
    plain = group("plain.zarr", {})
    refused(plain, "without an OME-Zarr image")
    write_zarr(plain / "inner", FULL, 2)
    refused(plain, "give an array inside", f"{plain}/inner")


def test_what_is_no_image_is_refused(tmp_path):
    refused(tmp_path / "absent.zarr", "not found")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "without zarr metadata")
    write_tiff(tmp_path / "folder" / "one.tif", FULL[0, 0, 0])
    refused(tmp_path / "folder", "one.tif")
    (tmp_path / "a.png").write_bytes(b"x")
    refused(tmp_path / "a.png", "expected OME-Zarr, a zarr array, TIFF")
    (tmp_path / "a.tif").write_bytes(b"no tiff at all")
    refused(tmp_path / "a.tif", "not a readable TIFF")
    (tmp_path / "bad.zarr").mkdir()
    (tmp_path / "bad.zarr" / "zarr.json").write_text("{")
    refused(tmp_path / "bad.zarr", "not a readable zarr")


@pytest.mark.parametrize(("version", "sharded"), [(2, False), (3, False), (3, True)])
def test_a_corrupt_chunk_is_named(tmp_path, version, sharded):
    options: dict[str, Any] = {"shards": (1, 1, 1, 32, 32)} if sharded else {}
    path = write_zarr(tmp_path / "a.zarr", FULL, version, **options)
    key = {(2, False): "0.1.2.1.1", (3, False): "c/0/1/2/1/1", (3, True): "c/0/1/2/0/0"}[version, sharded]
    (path / key).write_bytes(b"\x07garbage" * 9)
    source = opened(path)
    with pytest.raises(CorruptDataError) as caught:
        source.read(0, 1, BOX)
    assert str(path / key) in str(caught.value)
    assert "chunk (0, 1, 2," in str(caught.value)
    np.testing.assert_array_equal(source.read(0, 0, BOX), FULL[0, 0][BOX.slices])


def test_an_empty_chunk_file_is_corrupt_and_a_missing_one_is_fill(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", FULL)
    (path / "c/0/1/2/1/1").write_bytes(b"")
    with pytest.raises(CorruptDataError, match=r"\(0, 1, 2, 1, 1\).*empty file"):
        opened(path).read(0, 1, BOX)
    (path / "c/0/1/2/1/1").unlink()
    assert not opened(path).read(0, 1, Box((2, 16, 16), (3, 32, 32))).any()


def test_boxes_outside_the_image_are_refused(tmp_path):
    write_tiff(tmp_path / "a.tif", FULL[0, 0], metadata={"axes": "ZYX"})
    for source in (opened(write_zarr(tmp_path / "a.zarr", FULL)), opened(tmp_path / "a.tif")):
        for t, c, box in [(0, 0, BOX.shift((2, 0, 0))), (0, 0, BOX.shift((0, -6, 0))), (2, 0, BOX), (0, 3, BOX)]:
            with pytest.raises(ValueError, match="not inside the image"):
                source.read(t, c, box)


# --- TIFF ---------------------------------------------------------------------------------------


def test_imagej_hyperstack(tmp_path):
    path = tmp_path / "a.tif"
    metadata = {"axes": "TZCYX", "spacing": 0.4, "unit": "\\u00B5m", "finterval": 2.5}
    write_tiff(path, FULL.transpose(0, 2, 1, 3, 4), imagej=True, metadata=metadata, resolution=(10.0, 5.0))
    source = opened(path)
    assert_reads_full(source)
    assert source.volume.axes == "tczyx"
    assert source.volume.voxel_size_um == pytest.approx((0.4, 0.2, 0.1))
    assert source.metadata.scale["t"] == 2.5


def test_ome_tiff(tmp_path):
    path = tmp_path / "a.ome.tif"
    sizes = {"PhysicalSizeX": 100.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.1, "PhysicalSizeZ": 0.4}
    channels = {"Name": ["DAPI", "GFP", "RFP"]}
    write_tiff(path, FULL, metadata={"axes": "TCZYX", **sizes, "TimeIncrement": 3.0, "Channel": channels})
    source = opened(path)
    assert_reads_full(source)
    assert source.volume.voxel_size_um == pytest.approx((0.4, 0.1, 0.1))
    assert source.volume.channel_names == ("DAPI", "GFP", "RFP")
    assert source.metadata.axes_units["t"] == "second"
    assert opened(path, voxel_size_um=(1.0, 2.0, 3.0)).volume.voxel_size_um == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    "options", [{}, {"tile": (16, 32)}, {"rowsperstrip": 7}, {"tile": (16, 32), "predictor": True}]
)
def test_compressed_planes(tmp_path, options):
    write_tiff(tmp_path / "a.tif", FULL, compression="zlib", metadata={"axes": "TCZYX"}, **options)
    assert_reads_full(opened(tmp_path / "a.tif"))


def test_uncompressed_tiles_and_big_endian_strips(tmp_path):
    write_tiff(tmp_path / "a.tif", FULL, tile=(16, 16), metadata={"axes": "TCZYX"})
    assert_reads_full(opened(tmp_path / "a.tif"))
    write_tiff(tmp_path / "b.tif", FULL, byteorder=">", bigtiff=True, rowsperstrip=9, metadata={"axes": "TCZYX"})
    assert_reads_full(opened(tmp_path / "b.tif"))


def test_planes_written_one_by_one(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for plane in FULL[0, 0]:
            tif.write(plane, contiguous=False, metadata=None)
    refused(tmp_path / "a.tif", "'iyx'", "axes: zyx")
    np.testing.assert_array_equal(opened(tmp_path / "a.tif", axes="zyx").read(0, 0, BOX), FULL[0, 0][BOX.slices])


def test_unnamed_stack_needs_axes(tmp_path):
    write_tiff(tmp_path / "a.tif", FULL[0, 0])
    refused(tmp_path / "a.tif", "'qyx'", "input.axes", "axes: zyx")
    np.testing.assert_array_equal(opened(tmp_path / "a.tif", axes="zyx").read(0, 0, BOX), FULL[0, 0][BOX.slices])
    refused(tmp_path / "a.tif", "4 axes", axes="czyx")
    write_tiff(tmp_path / "b.tif", FULL[0, 0, 0])
    assert opened(tmp_path / "b.tif").volume.axes == "yx"


def test_a_single_plane_may_be_called_a_stack(tmp_path):
    write_tiff(tmp_path / "a.tif", FULL[:1, :1, 0], imagej=True, metadata={"axes": "TZYX"})
    assert opened(tmp_path / "a.tif").volume.axes == "yx"
    assert opened(tmp_path / "a.tif", axes="zyx").volume.axes == "zyx"


def test_colour_and_several_images_are_refused(tmp_path):
    write_tiff(tmp_path / "rgb.tif", np.ones((32, 32, 3), np.uint8), photometric="rgb")
    refused(tmp_path / "rgb.tif", "colour samples", "YXS")
    with tifffile.TiffWriter(tmp_path / "two.tif") as tif:
        tif.write(FULL[0, 0, 0])
        tif.write(FULL[0, 0, 0].astype(np.float32))
    refused(tmp_path / "two.tif", "2 images", "set input.scene (or --scene) to one of")


def test_pyramid_in_a_tiff(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        sizes = {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "PhysicalSizeZ": 0.4}
        tif.write(FULL[0, 0], subifds=1, tile=(16, 16), metadata={"axes": "ZYX", **sizes})
        tif.write(FULL[0, 0, :, ::2, ::2], subfiletype=1, tile=(16, 16))
    source = opened(tmp_path / "a.ome.tif", level=1)
    assert source.volume.voxel_size_um == pytest.approx((0.4, 0.2, 0.2))
    np.testing.assert_array_equal(source.read(0, 0, Box((0, 0, 0), (4, 20, 24))), FULL[0, 0, :, ::2, ::2])
    refused(tmp_path / "a.ome.tif", "no level 2", level=2)


@pytest.mark.parametrize(("dots", "unit", "size"), [(1e5, "CENTIMETER", 0.1), (72, "INCH", None), (1, "NONE", None)])
def test_resolution_tags_count_only_where_they_can_be_meant(tmp_path, dots, unit, size):
    write_tiff(tmp_path / "a.tif", FULL[0, 0, 0], resolution=(dots, dots), resolutionunit=unit)
    expected = None if size is None else pytest.approx((1.0, size, size))
    assert opened(tmp_path / "a.tif").volume.voxel_size_um == expected


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_broken_page_is_named_and_the_others_are_read(tmp_path, compression):
    path = tmp_path / "a.tif"
    write_tiff(path, FULL[0, 0], compression=compression, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as tif:
        start, count = tif.pages[3].dataoffsets[0], tif.pages[3].databytecounts[0]
    content = bytearray(path.read_bytes())
    if compression:
        content[start : start + count] = bytes(count)
    source = opened(path)
    path.write_bytes(content if compression else content[: start + count // 2])
    np.testing.assert_array_equal(source.read(0, 0, Box((0, 0, 0), (3, 40, 48))), FULL[0, 0, :3])
    with pytest.raises(CorruptDataError, match=r"page 3 of .*a\.tif"):
        source.read(0, 0, Box((2, 0, 0), (4, 8, 8)))


def test_a_stack_larger_than_memory_is_not_read(tmp_path):
    path = tmp_path / "big.tif"
    shape = (2048, 2048, 2048)
    stack = tifffile.memmap(path, shape=shape, dtype=np.uint16, bigtiff=True, metadata={"axes": "ZYX"})
    stack[1000, 500, 600] = 77
    del stack
    assert path.stat().st_size > 16 * 2**30
    process = psutil.Process()
    before = process.memory_info()
    source = opened(path)
    values = source.read(0, 0, Box((990, 400, 500), (1010, 656, 756)))
    assert values[10, 100, 100] == 77
    assert values.sum(dtype=np.int64) == 77
    # the box has 2.6 MB and touches 20 x 256 rows of 4 kB, 21 MB; the file has 16 GiB
    assert process.memory_info().rss - before.rss < 100 * 2**20


# --- both ---------------------------------------------------------------------------------------


def test_sources_are_kept_open_and_replaced_files_are_noticed(tmp_path):
    path = tmp_path / "a.tif"
    write_tiff(path, FULL[0, 0], metadata={"axes": "ZYX"})
    assert opened(path) is opened(path)
    write_tiff(path, FULL[0, 0, :2], metadata={"axes": "ZYX"})
    assert opened(path).volume.shape == (1, 1, 2, 40, 48)


def test_threads_share_a_source(tmp_path):
    write_tiff(tmp_path / "a.tif", FULL, compression="zlib", metadata={"axes": "TCZYX"})
    spec = SourceSpec(str(tmp_path / "a.tif"))
    places = [(t, c) for t in range(2) for c in range(3)] * 8
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda tc: open_source(spec).read(*tc, BOX), places))
    for (t, c), values in zip(places, results, strict=True):
        np.testing.assert_array_equal(values, FULL[t, c][BOX.slices])


def test_identity_tells_inputs_apart_and_copies_together(tmp_path):
    def of(name: str, values: np.ndarray) -> dict[str, Any]:
        (tmp_path / name).mkdir()
        found = identity(SourceSpec(str(write_zarr(tmp_path / name / "a.zarr", values))))
        assert found.pop("path").endswith("a.zarr")
        return found

    first = of("one", FULL)
    assert first["shape"] == list(FULL.shape)
    assert len(first["content"]) == 8
    assert of("copy", FULL) == first
    assert of("other", FULL + 1)["content"] != first["content"]
    assert of("converted", FULL.astype(np.int32))["metadata"] != first["metadata"]


def test_identity_of_a_tiff(tmp_path):
    write_tiff(tmp_path / "a.tif", FULL[0, 0], metadata={"axes": "ZYX"})
    found = identity(SourceSpec(str(tmp_path / "a.tif")))
    assert found["bytes"] == (tmp_path / "a.tif").stat().st_size
    write_tiff(tmp_path / "a.tif", FULL[0, 0] + 1, metadata={"axes": "ZYX"})
    assert identity(SourceSpec(str(tmp_path / "a.tif"))) != found


def test_identity_survives_a_corrupt_chunk(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", FULL[0, 0], chunks=(1, 40, 48))
    (path / "c/0/0/0").write_bytes(b"garbage")
    content = identity(SourceSpec(str(path), axes="zyx"))["content"]
    assert "unreadable" in content
    assert len(set(content)) > 1
