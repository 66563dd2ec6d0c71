"""Zarr inputs from practice: stale, truncated, incomplete, misnamed. Each is read correctly or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
import zarr.codecs.numcodecs as numcodecs3
from builders import complete, config_of, go, level, make_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numcodecs import BZ2, CRC32, LZ4, LZMA, Blosc, Delta, GZip, Shuffle, Zlib, Zstd
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from ssi_pipeline.cli import main
from ssi_pipeline.errors import CorruptDataError, InputError
from ssi_pipeline.geometry import Box
from ssi_pipeline.run.prepare import prepare
from ssi_pipeline.storage.inputs.axes import AXES
from ssi_pipeline.storage.inputs.identity import identity
from ssi_pipeline.storage.inputs.source import clear_sources, open_source
from ssi_pipeline.storage.inputs.source_protocol import SourceSpec
from ssi_pipeline.storage.inputs.zarr_chunks import ChunkFiles
from ssi_pipeline.storage.inputs.zarr_source import ZarrSource
from ssi_pipeline.storage.outputs.output import set_status

RNG = np.random.default_rng(11)
STACK = RNG.integers(0, 60000, (9, 40, 48), dtype=np.uint16)
SPACE = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
ANY = pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
pytestmark = ANY


@pytest.fixture(autouse=True)
def _fresh():
    clear_sources()
    yield
    clear_sources()


def opened(path: Path, **options: Any) -> ZarrSource:
    clear_sources()
    source = open_source(SourceSpec(str(path), **options))
    assert isinstance(source, ZarrSource)
    return source


def refused(path: Path, *says: str, **options: Any) -> None:
    with pytest.raises(InputError) as caught:
        opened(path, **options)
    for part in says:
        assert part in str(caught.value)


def whole(source: ZarrSource, t: int = 0, c: int = 0) -> np.ndarray:
    return source.read(t, c, Box((0, 0, 0), source.volume.shape[2:]))


def array(path: Path, values: np.ndarray = STACK, version: int = 3, chunks: Any = (1, 16, 16), **options: Any) -> Path:
    layout: dict[str, Any] = {"shape": values.shape, "dtype": values.dtype, "chunks": chunks}
    made = zarr.create_array(path, zarr_format=version, **layout, **options)  # type: ignore[arg-type]
    made[...] = values
    return path


def image(path: Path, values: np.ndarray, version: int, scale: Any = (0.5, 0.2, 0.1), **extra: Any) -> Path:
    transforms = [{"type": "scale", "scale": list(scale)}]
    entry = {"axes": SPACE, "datasets": [{"path": "0", "coordinateTransformations": transforms}]}
    document = {"multiscales": [entry], **extra}
    attributes: Any = {"ome": {"version": "0.5", **document}} if version == 3 else document
    zarr.create_group(path, zarr_format=version, attributes=attributes)  # type: ignore[arg-type]
    array(path / "0", values, version)
    return path


def chunk_paths(folder: Path) -> list[Path]:
    names = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in names)


def edit(file: Path, **changes: Any) -> None:
    document = json.loads(file.read_text())
    for key, value in changes.items():
        if value is None:
            document.pop(key)
        else:
            document[key] = value
    file.write_text(json.dumps(document))


# --- consolidated metadata ------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
def test_stale_consolidated_metadata_are_passed_over_and_said(tmp_path, version):
    path = image(tmp_path / "a.zarr", STACK[:5], version)
    zarr.consolidate_metadata(path, zarr_format=version)
    assert opened(path).notes == ()
    before = opened(path).stamp()
    grown = zarr.open_array(path / "0", mode="r+")
    grown.resize(STACK.shape)
    grown[...] = STACK
    source = opened(path)
    assert source.volume.shape == (1, 1, *STACK.shape)
    np.testing.assert_array_equal(whole(source), STACK)
    (note,) = source.notes
    assert "stale" in note
    assert "[5, 40, 48] there, [9, 40, 48] in its own" in note
    assert source.stamp() != before


@pytest.mark.parametrize("version", [2, 3])
def test_an_image_that_grows_while_it_is_open_is_opened_anew(tmp_path, version):
    path = image(tmp_path / "a.zarr", STACK[:5], version)
    spec = SourceSpec(str(path))
    assert open_source(spec).volume.shape[2] == 5
    zarr.open_array(path / "0", mode="r+").resize(STACK.shape)
    assert open_source(spec).volume.shape[2] == 9


def test_consolidating_an_input_does_not_change_it(tmp_path):
    path = image(tmp_path / "a.zarr", STACK, 3)
    before = opened(path).stamp()
    zarr.consolidate_metadata(path)
    assert opened(path).stamp() == before


def test_damaged_consolidated_metadata_are_passed_over_and_said(tmp_path):
    path = image(tmp_path / "a.zarr", STACK, 2)
    (path / ".zmetadata").write_text("{")
    source = opened(path)
    np.testing.assert_array_equal(whole(source), STACK)
    assert ".zmetadata" in source.notes[0]


# --- chunks cut short -----------------------------------------------------------------------------

CODECS_2 = {
    **{f"blosc {name}": {"compressors": Blosc(name)} for name in ("lz4", "lz4hc", "blosclz", "zlib", "zstd")},
    "zstd": {"compressors": Zstd()},
    "gzip": {"compressors": GZip()},
    "zlib": {"compressors": Zlib()},
    "lz4": {"compressors": LZ4()},
    "bz2": {"compressors": BZ2()},
    "lzma": {"compressors": LZMA()},
    "none": {"compressors": None},
    "delta and blosc": {"compressors": Blosc("lz4"), "filters": [Delta("u2")]},
    "shuffle and crc32": {"compressors": None, "filters": [Shuffle(2), CRC32()]},
    "blosc as a filter": {"compressors": Zlib(), "filters": [Blosc("lz4")]},
    "F order": {"compressors": Blosc("zstd"), "order": "F"},
}
CODECS_3 = {
    **{f"blosc {name}": {"compressors": BloscCodec(cname=name)} for name in ("lz4", "blosclz", "zlib", "zstd")},  # type: ignore[arg-type]
    "zstd": {"compressors": ZstdCodec()},
    "gzip": {"compressors": GzipCodec()},
    "none": {"compressors": None},
    "blosc and crc32c": {"compressors": [BloscCodec(), Crc32cCodec()]},
    "blosc in shards": {"compressors": BloscCodec(cname="lz4"), "shards": (3, 40, 48)},
    "zstd in shards": {"compressors": ZstdCodec(), "shards": (3, 40, 48)},
    "raw shards": {"compressors": None, "shards": (3, 40, 48)},
}
CASES = [(2, name) for name in CODECS_2] + [(3, name) for name in CODECS_3]


@pytest.mark.parametrize(("version", "name"), CASES, ids=[f"v{v} {n}" for v, n in CASES])
def test_a_chunk_cut_short_is_never_read_as_something_else(tmp_path, version, name):
    smooth = np.add.outer(np.arange(3), np.add.outer(np.arange(40), np.arange(48))).astype(np.uint16)
    options = (CODECS_2 if version == 2 else CODECS_3)[name]
    for values in (STACK[:3], smooth):  # what does not compress, and what does
        path = tmp_path / f"{values[0, 0, 1]}.zarr"
        array(path, values, version, (1, 20, 24) if "shards" in options else (3, 40, 48), **options)
        (file,) = chunk_paths(path)
        source, data = opened(path, axes="zyx"), file.read_bytes()
        np.testing.assert_array_equal(whole(source), values)
        cuts = sorted({*range(1, 20, 3), len(data) // 4, len(data) // 2, *(len(data) - n for n in (65, 16, 4, 1))})
        for n in (n for n in cuts if 0 < n < len(data)):
            file.write_bytes(data[:n])
            with pytest.raises(CorruptDataError) as caught:
                whole(source)
            assert str(file) in str(caught.value)
        for tail in (b"\0", b"\0" * 100, data):
            file.write_bytes(data + tail)
            try:
                read = whole(source)
            except CorruptDataError:
                continue
            np.testing.assert_array_equal(read, values)


def test_a_blosc_frame_of_numcodecs_in_format_3_is_checked_too(tmp_path):
    path = array(tmp_path / "a.zarr", STACK, 3, (9, 40, 48), compressors=numcodecs3.Blosc(cname="lz4", clevel=5))
    (file,) = chunk_paths(path)
    np.testing.assert_array_equal(whole(opened(path, axes="zyx")), STACK)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CorruptDataError, match="truncated: the blosc frame states"):
        whole(opened(path, axes="zyx"))


def test_a_shard_whose_index_comes_first_is_checked_too(tmp_path):
    codec = zarr.codecs.ShardingCodec(
        chunk_shape=(1, 20, 24), codecs=[zarr.codecs.BytesCodec(), BloscCodec(cname="lz4")], index_location="start"
    )
    path = array(tmp_path / "a.zarr", STACK[:3], 3, (3, 40, 48), serializer=codec, compressors=None)
    (file,) = chunk_paths(path)
    source, data = opened(path, axes="zyx"), file.read_bytes()
    np.testing.assert_array_equal(whole(source), STACK[:3])
    last = Box((2, 20, 24), (3, 40, 48))
    for n in (1, 100, 196, 197, len(data) // 2, len(data) - 1):  # the index takes 196 bytes
        file.write_bytes(data[:n])
        for box in (Box((0, 0, 0), (3, 40, 48)), last):  # the shard at once, and one chunk by its range in the file
            with pytest.raises(CorruptDataError, match="cannot be read"):
                source.read(0, 0, box)


def test_a_cut_chunk_fails_its_tile_and_no_other(tmp_path):
    run = make_run(tmp_path, None, input={"axes": "zyx"})
    array(tmp_path / "in.zarr", STACK[:, :32, :32], 2, (1, 32, 32), compressors=Blosc("lz4"))
    file = tmp_path / "in.zarr" / "7.0.0"
    file.write_bytes(file.read_bytes()[:1500])
    outcome = go(run)
    assert (outcome.tiles_failed, outcome.tiles_done) == (1, 8)


# --- chunks that are not there --------------------------------------------------------------------


def test_no_chunk_at_the_stated_names_is_refused_with_the_cure(tmp_path):
    keys: dict[str, Any] = {"name": "v2", "separator": "/"}
    path = array(tmp_path / "a.zarr", STACK, 2, chunk_key_encoding=keys)
    edit(path / ".zarray", dimension_separator=None)
    separator = '"dimension_separator": "/"'
    refused(path, "no chunk file has a name given by the metadata", "0.0.0", "0/0/0", separator, axes="zyx")
    edit(path / ".zarray", dimension_separator="/")
    np.testing.assert_array_equal(whole(opened(path, axes="zyx")), STACK)
    flat = array(tmp_path / "b.zarr", STACK, 2)
    edit(flat / ".zarray", dimension_separator="/")
    refused(flat, "0/0/0", "named like 0.0.0", '"dimension_separator": "."', axes="zyx")


@pytest.mark.parametrize(
    ("name", "separator", "key"), [("default", ".", "c.0.0.0"), ("v2", "/", "0/0/0"), ("v2", ".", "0.0.0")]
)
def test_other_chunk_key_encodings_are_read_and_a_wrong_one_is_named(tmp_path, name, separator, key):
    path = array(tmp_path / "a.zarr", STACK, 3, chunk_key_encoding={"name": name, "separator": separator})
    source = opened(path, axes="zyx")
    np.testing.assert_array_equal(whole(source), STACK)
    assert source.notes == ()
    edit(path / "zarr.json", chunk_key_encoding={"name": "default", "configuration": {"separator": "/"}})
    refused(path, "c/0/0/0", f"named like {key}", f'"{name}" with separator', axes="zyx")


def test_an_array_without_any_chunk_is_refused(tmp_path):
    path = array(tmp_path / "a.zarr", STACK)
    shutil.rmtree(path / "c")
    refused(path, "no chunk file has a name", "contains no chunk", "fill value 0", axes="zyx")
    (path / "data-00.bin").write_bytes(b"x")
    refused(path, "named like data-00.bin", "chunk_key_encoding", axes="zyx")
    (path / "data-00.bin").unlink()
    (path / "c").mkdir()
    (path / "c" / "0").symlink_to(tmp_path / "annex")
    refused(path, "dangling link", axes="zyx")


def test_absent_chunks_are_counted_and_said(tmp_path):
    path = image(tmp_path / "a.zarr", STACK, 3)
    assert opened(path).notes == ()
    for file in chunk_paths(path / "0")[::2]:
        file.unlink()
    (note,) = opened(path).notes
    assert "41 of 81 chunk files are missing" in note
    assert "fill value 0" in note
    flat = array(tmp_path / "b.zarr", STACK, 2, fill_value=7)
    (flat / "0.0.0").unlink()
    source = opened(flat, axes="zyx")
    assert "1 of 81 chunk files are missing" in source.notes[0]
    assert "fill value 7" in source.notes[0]
    assert (whole(source)[0, :16, :16] == 7).all()
    edit(flat / ".zarray", fill_value="gone")
    text = (flat / ".zarray").read_text().replace('"gone"', "null")
    (flat / ".zarray").write_text(text)
    assert "no fill value" in opened(flat, axes="zyx").notes[0]
    (flat / "0").mkdir()
    (flat / "0" / "0").mkdir()
    (flat / "0" / "0" / "0").write_bytes(b"x")
    assert "also chunks named like 0/0/0" in opened(flat, axes="zyx").notes[0]


def test_absent_chunks_are_said_by_plan_run_and_report(tmp_path, capsys):
    run = make_run(tmp_path, None)
    path = image(tmp_path / "in.zarr", STACK, 3)
    for file in chunk_paths(path / "0")[::3]:
        file.unlink()
    said = "27 of 81 chunk files are missing"
    assert main(["plan", str(run)]) == 0
    assert said in capsys.readouterr().out
    assert main(["run", str(run)]) == 0
    assert said in capsys.readouterr().err
    assert main(["report", str(run)]) == 0
    assert said in (tmp_path / "out.zarr.run" / "report.html").read_text()


@pytest.mark.parametrize("version", [2, 3])
def test_chunks_beyond_the_stated_shape_are_said(tmp_path, version):
    path = array(tmp_path / "a.zarr", STACK, version)
    name = "zarr.json" if version == 3 else ".zarray"
    edit(path / name, shape=[5, 40, 48])  # metadata older than the data
    (note,) = opened(path, axes="zyx").notes
    assert "outside of the stated shape (5, 40, 48)" in note
    edit(path / name, shape=[9, 40, 20])
    assert "outside" in opened(path, axes="zyx").notes[0]


def test_label_images_are_no_intensities(tmp_path):
    path = image(tmp_path / "a.zarr", STACK, 3, **{"image-label": {}})
    refused(path, "label image")
    refused(path / "0", "label image")


def test_axes_of_a_later_ome_zarr_are_asked_for_and_the_scale_is_said(tmp_path):
    path = image(tmp_path / "a.zarr", STACK, 3)
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["ome"]["version"] = "0.6"
    del document["attributes"]["ome"]["multiscales"][0]["axes"]
    (path / "zarr.json").write_text(json.dumps(document))
    refused(path, "input.axes")
    assert "version 0.6" in opened(path, axes="zyx").notes[0]


def placed(path: Path, of_level: list[dict[str, Any]], of_image: list[dict[str, Any]]) -> Path:
    """An image in the manner of RFC-5: named coordinate systems in place of axes."""
    systems = [{"name": "physical", "axes": SPACE}, {"name": "world", "axes": SPACE}]
    level = {"path": "0", "coordinateTransformations": [{**t, "output": "physical"} for t in of_level]}
    entry = {"coordinateSystems": systems, "datasets": [level], "coordinateTransformations": of_image}
    zarr.create_group(path, attributes={"ome": {"version": "0.6", "multiscales": [entry]}})  # type: ignore[dict-item]
    array(path / "0")
    return path


def test_named_coordinate_systems_and_sequences(tmp_path):
    scale, shift = {"type": "scale", "scale": [0.5, 0.2, 0.1]}, {"type": "translation", "translation": [0, 3, 0]}
    sequence = {"type": "sequence", "transformations": [scale, shift]}
    source = opened(placed(tmp_path / "a.zarr", [sequence], [{"type": "rotation", "rotation": np.eye(3).tolist()}]))
    assert source.volume.axes == "zyx"
    assert source.volume.voxel_size_um == (0.5, 0.2, 0.1)
    assert source.metadata.translation == {"y": 3.0}
    assert any("'rotation'" in note and "not carried over" in note for note in source.notes)


@pytest.mark.parametrize(
    ("transform", "says"),
    [
        ({"type": "affine", "affine": [[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]}, "'affine'"),
        ({"type": "sequence", "transformations": [{"type": "displacements", "path": "field"}]}, "'displacements'"),
        ({"type": "scale", "path": "sizes"}, "'scale in an array'"),
    ],
)
def test_levels_on_no_regular_grid_are_refused(tmp_path, transform, says):
    refused(placed(tmp_path / "a.zarr", [transform], []), says, "expected scale and translation")


def test_many_chunks_are_sampled(tmp_path):
    folder = tmp_path / "a"
    for z in range(20):
        (folder / "c" / str(z)).mkdir(parents=True)
        for y in range(0, 200, 2):
            (folder / "c" / str(z) / str(y)).touch()
    files = ChunkFiles(folder, (20, 200), "c", "/")
    assert files.count().describe_absent() == "2000 of 4000 chunk files are missing"
    sampled = files.count(seconds=-1.0)
    assert sampled.looked_up == 2000
    assert 0.45 < sampled.present / sampled.looked_up < 0.55
    assert "about" in sampled.describe_absent()
    assert files.count(seconds=-1.0) == sampled


def test_folders_and_links_to_nothing_in_place_of_chunks_are_corrupt(tmp_path):
    path = array(tmp_path / "a.zarr", STACK)
    place = path / "c" / "3" / "1" / "1"
    where = Box((3, 16, 16), (4, 32, 32))
    good = tmp_path / "elsewhere"
    place.rename(good)
    place.symlink_to(good)
    np.testing.assert_array_equal(opened(path, axes="zyx").read(0, 0, where), STACK[where.slices])
    assert opened(path, axes="zyx").notes == ()
    good.unlink()
    assert "1 of 81" in opened(path, axes="zyx").notes[0]
    with pytest.raises(CorruptDataError, match=r"chunk \(3, 1, 1\).*dangling link"):
        opened(path, axes="zyx").read(0, 0, where)
    place.unlink()
    place.mkdir()
    with pytest.raises(CorruptDataError, match="is not a regular file"):
        opened(path, axes="zyx").read(0, 0, where)
    shutil.rmtree(place.parent)
    place.parent.write_bytes(b"a file in place of a folder")
    with pytest.raises(CorruptDataError, match="Not a directory"):
        opened(path, axes="zyx").read(0, 0, where)
    place.parent.unlink()
    place.parent.symlink_to(tmp_path / "gone")
    with pytest.raises(CorruptDataError, match="dangling link"):
        opened(path, axes="zyx").read(0, 0, where)


# --- pointers and damaged metadata ----------------------------------------------------------------

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 512\n"


@pytest.mark.parametrize("version", [2, 3])
def test_git_lfs_pointers_are_named(tmp_path, version):
    path = array(tmp_path / "a.zarr", STACK, version)
    files = chunk_paths(path)
    files[5].write_bytes(POINTER)
    with pytest.raises(CorruptDataError, match=r"Git LFS pointer.*git lfs pull"):
        whole(opened(path, axes="zyx"))
    for file in files:
        file.write_bytes(POINTER)
    refused(path, "chunk", "Git LFS pointer", axes="zyx")
    for name in ("zarr.json",) if version == 3 else (".zattrs", ".zarray"):
        (path / name).write_bytes(POINTER)
        refused(path, name, "Git LFS pointer", "git lfs pull", axes="zyx")


def grid(*shape: Any) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": list(shape)}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"shape": [2**62, 40, 48]}, "more voxels than any disk has"),
        ({"shape": [2**70, 2**70, 48]}, "more voxels than any disk has"),
        ({"shape": [9, -40, 48]}, "shape [9, -40, 48]"),
        ({"shape": [9, 0, 48]}, "the image is empty"),
        ({"shape": [9, 40.5, 48]}, "expected non-negative integers"),
        ({"shape": "9"}, "expected non-negative integers"),
        ({"shape": [True, 40, 48]}, "expected non-negative integers"),
        ({"chunk_grid": grid(1, 0, 16)}, "chunk_shape [1, 0, 16]"),
        ({"chunk_grid": grid(1, 16)}, "3 positive integers"),
        ({"chunk_grid": {"name": "rectangular", "configuration": {}}}, "chunk grid"),
        ({"node_type": "banana"}, "node_type 'banana'"),
        ({"node_type": "group"}, "describes an array"),
        ({"zarr_format": 4}, "zarr_format 4"),
        ({"attributes": [1]}, "not a JSON object"),
        ({"storage_transformers": [{"name": "x"}]}, "storage transformers"),
        ({"codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "x"}]}, "Unknown codec"),
        ({"chunk_key_encoding": {"name": "suffix"}}, "Unknown chunk key encoding"),
    ],
)
def test_impossible_metadata_are_refused_before_work(tmp_path, changes, says):
    path = array(tmp_path / "a.zarr", STACK)
    edit(path / "zarr.json", **changes)
    refused(path, says, str(path), axes="zyx")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\0" * 300, "only NUL bytes"),
        (b'{"zarr_format": 3, "node_type": "arr', "no complete JSON"),
        (b"[" * 100_000, "no complete JSON"),
        (b"\xff\xfe\x00", "no complete JSON"),
        (b"[1]", "expected a JSON object"),
        (b"null", "expected a JSON object"),
        (b'{"zarr_format": 3, "node_type": "array", "shape": [' + b"9" * 5000 + b"]}", "no complete JSON"),
        (b"<!DOCTYPE html><html>404", "web page"),
        (b"/annex/objects/SHA256E-s512--00.json\n", "git annex get"),
    ],
)
@pytest.mark.parametrize("name", ["zarr.json", ".zarray", ".zattrs"])
def test_damaged_metadata_files_are_named(tmp_path, name, content, says):
    path = array(tmp_path / "a.zarr", STACK, 3 if name == "zarr.json" else 2)
    (path / name).write_bytes(content)
    refused(path, "not a readable zarr", f"{path / name}", says, axes="zyx")


def test_chunks_larger_than_a_worker_are_refused_at_plan(tmp_path):
    run = make_run(tmp_path, STACK, executor={"kind": "serial", "memory_gib": 4})
    edit(tmp_path / "in.zarr" / "zarr.json", chunk_grid=grid(1000, 100_000, 10_000))
    with pytest.raises(InputError, match=r"chunks of 2 TB.*decoded whole"):
        prepare(config_of(run))


@pytest.mark.parametrize("shape", [(2**40, 64, 64), (2**20, 2**19, 2**19)])
def test_plans_of_absurd_shapes_end_at_once(tmp_path, shape, capsys):
    run = make_run(tmp_path, STACK)
    edit(tmp_path / "in.zarr" / "zarr.json", shape=list(shape))
    assert main(["plan", str(run)]) == 2
    assert "pieces: expected at most 100000000" in capsys.readouterr().err


def test_a_plan_too_large_for_the_disk_is_printed_and_then_refused(tmp_path, capsys):
    run = make_run(tmp_path, STACK, tiling={"core": 1024})
    edit(tmp_path / "in.zarr" / "zarr.json", shape=[51_200, 40_000, 25_000])  # 102 TB
    assert main(["plan", str(run)]) == 2
    said = capsys.readouterr()
    assert "102 TB" in said.out
    assert "tiles" in said.out
    assert "are free" in said.err
    assert main(["run", str(run)]) == 2
    assert "are free" in capsys.readouterr().err
    assert not (tmp_path / "out.zarr").exists()


# --- outputs of ours ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_incomplete_output_is_refused_as_an_input(tmp_path, version):
    make = make_run(tmp_path, STACK[:2], output={"ome_zarr": version, "uncertainty": 2}, solver="wiener")
    out = complete(make)
    np.testing.assert_array_equal(whole(opened(out)), level(out))
    set_status(out, "incomplete")
    shutil.copytree(out, tmp_path / "copy.zarr")
    for path in (out, out / "0", out / "uncertainty", out / "uncertainty" / "0", tmp_path / "copy.zarr" / "0"):
        refused(path, "incomplete", "ssi run", str(path.name), axes="zyx")
    refused(out, f"state is in {out}.run", str(tmp_path / "in.zarr"))
    set_status(out, "complete")
    zarr.consolidate_metadata(out)  # by others, while it was complete
    set_status(out, "incomplete")
    refused(out, "incomplete", "ssi run")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_output_that_others_consolidated_before_its_end_is_consolidated_anew(tmp_path, version):
    run = make_run(tmp_path, STACK[:2], output={"ome_zarr": version})
    out = complete(run)
    shutil.rmtree(out / "quality")
    set_status(out, "incomplete")
    zarr.consolidate_metadata(out)
    complete(run)  # writes the metrics again
    group = zarr.open_group(out, mode="r", use_consolidated=True)
    assert group.attrs["ssi_pipeline"]["status"] == "complete"  # type: ignore[index, call-overload]
    assert "quality/flag" in group
    assert opened(out).notes == ()


def test_a_chunk_lost_from_a_complete_output_is_no_zero(tmp_path):
    out = complete(make_run(tmp_path, STACK[:2]))
    chunk_paths(out / "0")[0].unlink()
    source = opened(out)
    assert "ssi verify" in source.notes[-1]
    assert "1 of 8 chunk files are missing" in source.notes[0]
    with pytest.raises(CorruptDataError, match="missing from a complete output"):
        whole(source)


# --- images, arrays inside images, hints ----------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
def test_an_array_inside_an_image_has_its_scale_and_channels(tmp_path, version):
    omero = {"channels": [{"label": "DAPI"}]}
    path = image(tmp_path / "a.zarr", STACK, version, omero=omero)
    alone, inside = opened(path), opened(path / "0")
    assert inside.volume == alone.volume
    assert inside.metadata == alone.metadata
    assert inside.volume.voxel_size_um == (0.5, 0.2, 0.1)
    assert inside.notes == (f"read as level 0 of {path}, with its axes, scale and channels",)
    (tmp_path / "link").symlink_to(path / "0")
    assert opened(tmp_path / "link").volume == alone.volume
    refused(path / "0", "remove input.level", f"{path}", level=1)
    before = identity(SourceSpec(str(path / "0")))
    file = path / ("zarr.json" if version == 3 else ".zattrs")
    file.write_text(file.read_text().replace("DAPI", "GFP"))
    clear_sources()
    assert identity(SourceSpec(str(path / "0"))) != before


def test_an_array_two_groups_below_its_image(tmp_path):
    path = image(tmp_path / "a.zarr", STACK, 3)
    (path / "s").mkdir()
    (path / "0").rename(path / "s" / "0")
    file = path / "zarr.json"
    file.write_text(file.read_text().replace('"path": "0"', '"path": "s/0"'))
    assert opened(path / "s" / "0").volume == opened(path).volume
    assert opened(path / "s" / "0").volume.voxel_size_um == (0.5, 0.2, 0.1)


def test_a_second_multiscale_image_is_said_and_can_be_had(tmp_path):
    path = image(tmp_path / "a.zarr", STACK, 3)
    array(path / "other", STACK + 1)
    document = json.loads((path / "zarr.json").read_text())
    entries = document["attributes"]["ome"]["multiscales"]
    transforms = [{"type": "scale", "scale": [1.0, 2.0, 3.0]}]
    entries.append({"axes": SPACE, "datasets": [{"path": "other", "coordinateTransformations": transforms}]})
    (path / "zarr.json").write_text(json.dumps(document))
    source = opened(path)
    assert "2 multiscale images" in source.notes[0]
    np.testing.assert_array_equal(whole(source), STACK)
    other = opened(path / "other")
    np.testing.assert_array_equal(whole(other), STACK + 1)
    assert other.volume.voxel_size_um == (1.0, 2.0, 3.0)


def test_hints_name_what_is_there(tmp_path):
    zarr.create_group(tmp_path / "g.zarr")
    refused(tmp_path / "g.zarr", "contains no image")
    image(tmp_path / "g.zarr" / "sub", STACK, 3)
    refused(tmp_path / "g.zarr", f"e.g. {tmp_path / 'g.zarr' / 'sub'}")
    refused(tmp_path / "g.zarr" / "zarr.json", f"give its folder, {tmp_path / 'g.zarr'}")


def test_n5_is_named(tmp_path):
    (tmp_path / "a.n5").mkdir()
    (tmp_path / "a.n5" / "attributes.json").write_text('{"n5": "2.0.0"}')
    refused(tmp_path / "a.n5", "looks like N5")


def test_a_missing_side_of_the_voxel_is_named(tmp_path):
    psf = {"kind": "gaussian", "fwhm_um": {"y": 0.3, "x": 0.3}}
    run = make_run(tmp_path, None, psf=psf)
    path = image(tmp_path / "in.zarr", STACK, 3)
    text = (path / "zarr.json").read_text()
    document = json.loads(text)
    del document["attributes"]["ome"]["multiscales"][0]["axes"][0]["unit"]
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"states y 0.2, x 0.1 um, but not z: set .*, e.g. \{z: 0.5\}"):
        prepare(config_of(run))
    assert prepare(config_of(make_run(tmp_path, None, psf=psf, input={"voxel_size_um": {"z": 0.5}})))


# --- axes and dtypes ------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_axes_of_a_bare_array_are_read_in_the_order_that_the_user_states(tmp_path, data):
    others = data.draw(st.lists(st.sampled_from("tcz"), unique=True))
    axes = "".join(data.draw(st.permutations([*others, "y", "x"])))
    sizes = dict(zip(AXES, data.draw(st.permutations([2, 3, 4, 5, 7])), strict=True))
    values = RNG.integers(0, 60000, [sizes[a] for a in axes], dtype=np.uint16)
    path = tmp_path / "a.zarr"
    shutil.rmtree(path, ignore_errors=True)
    array(path, values, data.draw(st.sampled_from([2, 3])), tuple(max(1, sizes[a] // 2) for a in axes))
    source = opened(path, axes=axes)
    shape = tuple(sizes[a] if a in axes else 1 for a in AXES)
    assert source.volume.shape == shape
    assert source.volume.axes == "".join(a for a in AXES if a in axes)
    t, c = (data.draw(st.integers(0, n - 1)) for n in shape[:2])
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape[2:])
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, shape[2:], strict=True))
    read = source.read(t, c, Box(start, stop))
    for z, y, x in np.ndindex(read.shape):  # voxel by voxel: no transposition of ours is trusted here
        at = {"t": t, "c": c, "z": start[0] + z, "y": start[1] + y, "x": start[2] + x}
        assert read[z, y, x] == values[tuple(at[a] for a in axes)]


def test_an_order_that_the_user_states_overrules_the_metadata(tmp_path):
    path = array(tmp_path / "a.zarr", STACK, dimension_names=("z", "y", "x"))
    assert opened(path, axes="zyx").volume.shape == (1, 1, 9, 40, 48)
    assert opened(path, axes="xyz").volume.shape == (1, 1, 48, 40, 9)


@pytest.mark.parametrize("dtype", ["<i8", ">i8", "<u8"])
def test_integers_beyond_double_precision_fail_where_they_are(tmp_path, dtype):
    values = STACK.astype(dtype)
    values[8, 39, 47] = 2**53
    path = array(tmp_path / "a.zarr", values, 2)
    np.testing.assert_array_equal(whole(opened(path, axes="zyx")), values)
    values[8, 39, 47] += 1
    array(tmp_path / "b.zarr", values, 2)
    source = opened(tmp_path / "b.zarr", axes="zyx")
    np.testing.assert_array_equal(source.read(0, 0, Box((0, 0, 0), (8, 40, 48))), values[:8])
    with pytest.raises(InputError, match=r"reach 9007199254740993: beyond 2\^53"):
        source.read(0, 0, Box((8, 0, 0), (9, 40, 48)))


@pytest.mark.parametrize("dtype", ["complex64", "bool", "datetime64[s]", "S4", "U4", [("a", "i4"), ("b", "f4")]])
def test_other_dtypes_are_refused_by_name(tmp_path, dtype):
    zarr.create_array(tmp_path / "a.zarr", shape=(8, 8), chunks=(8, 8), dtype=np.dtype(dtype), zarr_format=2)
    refused(tmp_path / "a.zarr", "pixels are", "expected integers or floats")


@pytest.mark.parametrize("endian", ["little", "big"])
def test_byte_orders_and_half_precision(tmp_path, endian):
    values = (STACK / 64).astype(np.float16)
    codec = zarr.codecs.BytesCodec(endian=endian)
    path = array(tmp_path / "a.zarr", values, serializer=codec, filters=zarr.codecs.TransposeCodec(order=(2, 0, 1)))
    read = whole(opened(path, axes="zyx"))
    assert read.dtype == np.float16
    np.testing.assert_array_equal(read, values)
