"""Files of microscopes, .npy and files by pattern, read through the real libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from builders import complete, level, make_run
from microscope_files import write_czi, write_lif, write_nd2

from ssi_pipeline.cli import main
from ssi_pipeline.errors import CorruptDataError, InputError
from ssi_pipeline.geometry import Box
from ssi_pipeline.storage.inputs.identity import identity
from ssi_pipeline.storage.inputs.images import list_images
from ssi_pipeline.storage.inputs.source import clear_sources, open_source
from ssi_pipeline.storage.inputs.source_protocol import Source, SourceSpec

pytest.importorskip("nd2", reason="the extra `formats` is not installed")

FULL = np.random.default_rng(3).integers(0, 60000, (2, 3, 4, 40, 48), dtype=np.uint16)  # t c z y x
BOX = Box((1, 5, 7), (3, 33, 40))
NAMES = ["DAPI", "GFP", "far red"]
SCENES = {
    "nd2": ["well 0", "well 1"],
    "lif": ["one (t 2 z 4 y 40 x 48)", "two (t 2 z 4 c 3 y 40 x 48)"],
    "czi": ["scene 0", "scene 1"],
}


@pytest.fixture(autouse=True)
def _fresh():
    clear_sources()
    yield
    clear_sources()


def opened(path: Path, **options: Any) -> Source:
    return open_source(SourceSpec(str(path), **options))


def refused(path: Path, *says: str, **options: Any) -> None:
    with pytest.raises(InputError) as caught:
        opened(path, **options)
    for part in says:
        assert part in str(caught.value)


def agrees(source: Source, pixels: np.ndarray = FULL) -> None:
    """The source has the shape of ``pixels`` (t c z y x), and every box of it its values."""
    assert source.volume.shape == pixels.shape
    z, y, x = BOX.slices
    for t, c in np.ndindex(pixels.shape[:2]):
        np.testing.assert_array_equal(source.read(t, c, BOX), pixels[t, c, z, y, x])


def write_all(folder: Path) -> None:
    write_nd2(folder / "a.nd2", np.ascontiguousarray(FULL.swapaxes(1, 2)), NAMES)
    write_lif(folder / "a.lif", {"one": FULL})
    write_czi(folder / "a.czi", FULL, NAMES)


@pytest.mark.parametrize("name", ["a.nd2", "a.lif", "a.czi"])
def test_pixels_and_metadata(tmp_path, name):
    write_all(tmp_path)
    source = opened(tmp_path / name)
    agrees(source)
    assert source.volume.axes == "tczyx"
    assert source.volume.voxel_size_um == {"a.lif": (0.4, 0.1, 0.1)}.get(name, (0.3, 0.1, 0.1))
    assert source.volume.channel_names == (() if name == "a.lif" else tuple(NAMES))
    step = {"a.nd2": 2.0, "a.lif": 5.0}.get(name)
    assert source.metadata.scale.get("t") == step
    with pytest.raises(ValueError, match="not inside the image"):
        source.read(2, 0, BOX)


@pytest.mark.parametrize("compression", [5, 6])
def test_a_czi_compressed_with_zstandard(tmp_path, compression):
    write_czi(tmp_path / "a.czi", FULL, NAMES, compression)
    agrees(opened(tmp_path / "a.czi"))


def test_tiles_of_a_czi(tmp_path):
    write_czi(tmp_path / "a.czi", FULL, NAMES, tile=16)
    agrees(opened(tmp_path / "a.czi"))
    write_czi(tmp_path / "b.czi", FULL, NAMES, tile=20, overlap=6)
    refused(tmp_path / "b.czi", "mosaic of 3 tiles that overlap", "stitch")


@pytest.mark.parametrize("kind", ["nd2", "lif", "czi"])
def test_one_of_several_scenes_is_chosen(tmp_path, kind, capsys):
    path = tmp_path / f"a.{kind}"
    if kind == "nd2":
        write_nd2(path, np.ascontiguousarray(FULL.swapaxes(1, 2)), NAMES, positions=2)
    elif kind == "lif":
        write_lif(path, {"one": FULL[:, :1], "two": FULL})
    else:
        write_czi(path, FULL, NAMES, scenes=2)
    refused(path, "has 2 scenes", "input.scene", "1: ")
    refused(path, "has no scene 2", scene=2)
    agrees(opened(path, scene=1))
    found = list_images(path)
    assert [(i.name, i.scene) for i in found.images] == [("0", 0), ("1", 1)]
    assert [i.title for i in found.images] == SCENES[kind]
    assert identity(SourceSpec(str(path), scene=0)) != identity(SourceSpec(str(path), scene=1))
    assert main(["info", str(path), "--scene", "1"]) == 0
    assert "tczyx 2 x 3 x 4 x 40 x 48 uint16" in capsys.readouterr().out


def test_an_unfinished_acquisition_is_refused(tmp_path):
    """The libraries return zeros for lost frames, or leave them out."""
    write_nd2(tmp_path / "a.nd2", np.ascontiguousarray(FULL.swapaxes(1, 2)), NAMES, lost=(7,))
    refused(tmp_path / "a.nd2", "has 7 of 8 frames", "did not finish")
    write_lif(tmp_path / "a.lif", {"one": FULL}, cut=True)
    refused(tmp_path / "a.lif", "ends before the pixels")
    write_czi(tmp_path / "a.czi", FULL, NAMES, lost=1)
    refused(tmp_path / "a.czi", "has 23 of 24 planes")
    write_czi(tmp_path / "b.czi", FULL, NAMES, pending=True)
    refused(tmp_path / "b.czi", "was not closed")
    write_all(tmp_path)
    for name, says in (("a.nd2", "not a readable Nikon ND2"), ("a.czi", "not a readable Zeiss CZI")):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        refused(tmp_path / name, says, "copy it again")
    (tmp_path / "c.czi").write_bytes(b"version https://git-lfs")
    refused(tmp_path / "c.czi", "git lfs pull")


def test_a_run_of_an_nd2_equals_the_run_of_its_pixels(tmp_path):
    pixels = FULL[:1, :1, :1, :32, :32].copy()
    write_nd2(tmp_path / "a.nd2", np.ascontiguousarray(pixels.swapaxes(1, 2)), NAMES[:1])
    (tmp_path / "zarr").mkdir()
    ours = make_run(tmp_path, None, input={"path": "a.nd2"}, solver="wiener")
    theirs = make_run(tmp_path / "zarr", pixels[0, 0, 0], axes="yx", solver="wiener")
    np.testing.assert_array_equal(level(complete(ours)), level(complete(theirs)))


def test_without_the_readers_the_extra_is_named(tmp_path):
    write_all(tmp_path)
    code = (
        "import sys\nfor name in ('nd2', 'czifile', 'liffile'): sys.modules[name] = None\n"
        "from ssi_pipeline.cli import main\nsys.exit(max(main(['info', f]) for f in sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *(str(p) for p in sorted(tmp_path.iterdir()))], capture_output=True, text=True
    )
    assert done.returncode == 2
    for name in ("nd2", "czifile", "liffile"):
        assert f"pip install {name}, or '.[formats]' in a clone of ssi_pipeline" in done.stderr


# --- .npy -------------------------------------------------------------------------------------------


def test_npy(tmp_path):
    np.save(tmp_path / "a.npy", FULL)
    agrees(opened(tmp_path / "a.npy"))
    np.save(tmp_path / "b.npy", np.asfortranarray(FULL[0, 0]).astype(">u2"))
    refused(tmp_path / "b.npy", "Set input.axes")
    agrees(opened(tmp_path / "b.npy", axes="zyx"), FULL[:1, :1])
    (tmp_path / "c.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-100])
    refused(tmp_path / "c.npy", "not a readable .npy")
    np.save(tmp_path / "d.npy", np.array([{}]), allow_pickle=True)
    refused(tmp_path / "d.npy", "d.npy")


# --- files by pattern -------------------------------------------------------------------------------


def write_planes(folder: Path, suffix: str = "tif") -> Path:
    for t, c, z in np.ndindex(FULL.shape[:3]):
        path = folder / f"T{t + 1:03}" / f"scan_C{NAMES[c].replace(' ', '-')}_Z{z}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        if suffix == "npy":
            np.save(path, FULL[t, c, z])
        else:
            tifffile.imwrite(path, FULL[t, c, z], resolution=(1e5, 1e5), resolutionunit="CENTIMETER")
    return folder / "T{t}" / ("scan_C{c}_Z{z}." + suffix)


@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_a_folder_of_planes(tmp_path, suffix):
    source = opened(write_planes(tmp_path, suffix), voxel_size_um=(0.3, 0.1, 0.1))
    agrees(source)
    assert source.volume.axes == "tczyx"
    assert source.volume.voxel_size_um == (0.3, 0.1, 0.1)
    assert source.volume.channel_names == ("DAPI", "GFP", "far-red")
    assert "24 files" in source.notes[-1]
    assert len(source.files()) == 24


def test_a_folder_of_stacks(tmp_path):
    for t in range(2):
        tifffile.imwrite(
            tmp_path / f"{t}.tif", FULL[t, 0], imagej=True, metadata={"axes": "ZYX", "spacing": 0.4, "unit": "um"}
        )
    source = opened(tmp_path / "{t}.tif")
    agrees(source, FULL[:, :1])
    assert source.volume.axes == "tzyx"
    refused(tmp_path / "{z}.tif", "each file has 4 of z")


def test_a_folder_with_missing_or_odd_files_is_refused(tmp_path):
    pattern = write_planes(tmp_path)
    lost = tmp_path / "T002" / "scan_CGFP_Z2.tif"
    data = lost.read_bytes()
    lost.unlink()
    refused(pattern, "1 of 24 files are missing", "t 2, c GFP, z 2")
    lost.write_bytes(data[:500])
    source = opened(pattern)
    with pytest.raises(InputError, match=r"scan_CGFP_Z2\.tif"):
        assert source.notes
    with pytest.raises(CorruptDataError, match=r"scan_CGFP_Z2\.tif"):
        source.read(1, 1, BOX)
    tifffile.imwrite(lost, FULL[1, 1, 2, :20])
    clear_sources()
    with pytest.raises(CorruptDataError, match="expected equal files"):
        opened(pattern).read(1, 1, BOX)
    lost.write_bytes(data)
    (tmp_path / "T2").mkdir()
    (tmp_path / "T2" / "scan_CGFP_Z2.tif").write_bytes(data)
    refused(pattern, "have the same place")
    refused(tmp_path / "T{t}" / "nothing_{z}.tif", "no file matches")
    refused(tmp_path / "T{q}" / "scan_{z}.tif", "expected {t}, {c} or {z}")


def test_a_gap_in_the_numbers_is_refused(tmp_path):
    for t in (0, 1, 3, 4):
        tifffile.imwrite(tmp_path / f"{t}.tif", FULL[0, 0, 0])
    refused(tmp_path / "{t}.tif", "a gap after 1")
    (tmp_path / "1.tif").unlink()
    (tmp_path / "4.tif").rename(tmp_path / "6.tif")
    agrees_shape = opened(tmp_path / "{t}.tif").volume.shape
    assert agrees_shape == (3, 1, 1, 40, 48)


def test_a_run_of_a_folder_of_planes(tmp_path):
    """Killed mounts, stamps and the check for a changed input see the folder that the files lie in."""
    for t in range(2):
        np.save(tmp_path / f"T{t}.npy", FULL[t, 0, 0, :32, :32])
    (tmp_path / "zarr").mkdir()
    ours = make_run(tmp_path, None, input={"path": "T{t}.npy"}, solver="identity")
    theirs = make_run(tmp_path / "zarr", FULL[:, 0, 0, :32, :32], axes="tyx", solver="identity")
    np.testing.assert_array_equal(level(complete(ours)), level(complete(theirs)))
    assert main(["verify", str(ours), "--input"]) == 0
    np.save(tmp_path / "T1.npy", FULL[1, 1, 0, :32, :32])
    clear_sources()
    assert main(["verify", str(ours), "--input"]) != 0


# --- ssi import -------------------------------------------------------------------------------------


def test_import_copies_exactly_and_resumes(tmp_path, capsys):
    few = FULL[:1, :2, :3].copy()
    write_nd2(tmp_path / "a.nd2", np.ascontiguousarray(few.swapaxes(1, 2)), NAMES[:2])
    out = tmp_path / "a.zarr"
    command = ["import", str(tmp_path / "a.nd2"), str(out)]
    assert main(command) == 0
    assert "read back and equal" in capsys.readouterr().out
    copied = opened(out)
    agrees(copied, few)
    assert (copied.volume.voxel_size_um, copied.volume.channel_names) == ((0.3, 0.1, 0.1), tuple(NAMES[:2]))
    block = next(path for path in sorted((out / "0").rglob("*")) if path.is_file() and path.name.isdigit())
    block.write_bytes(block.read_bytes()[:-9])
    assert main(command) == 0
    clear_sources()
    agrees(opened(out), few)


def test_import_refuses_what_it_would_change(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.full((4, 40, 48), 1 << 30, np.uint32))
    assert main(["import", str(tmp_path / "a.npy"), str(tmp_path / "a.zarr")]) == 2
    assert "Set input.axes" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "a.npy"), str(tmp_path / "a.zarr"), "--axes", "zyx"]) == 2
    assert "pixels of uint32" in capsys.readouterr().err
    assert not (tmp_path / "a.zarr").exists()
    np.save(tmp_path / "b.npy", np.zeros((40, 48), np.uint16))
    assert main(["import", str(tmp_path / "b.npy"), str(tmp_path / "b.tif")]) == 2
    assert "ends in .zarr" in capsys.readouterr().err
