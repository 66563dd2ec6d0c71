"""TIFF files from practice: truncated, in sets, with extra content. Each is read correctly or refused."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import Any

import builders
import numpy as np
import pytest
import tifffile

from ssi_pipeline.cli import main
from ssi_pipeline.errors import CorruptDataError, InputError
from ssi_pipeline.geometry import Box
from ssi_pipeline.physics.psf_file import read_psf_file
from ssi_pipeline.storage.inputs.identity import identity
from ssi_pipeline.storage.inputs.images import list_images
from ssi_pipeline.storage.inputs.source import clear_sources, open_source
from ssi_pipeline.storage.inputs.source_protocol import SourceSpec
from ssi_pipeline.tiff.directories import read_directories

RNG = np.random.default_rng(5)
STACK = RNG.integers(0, 4000, (9, 40, 48)).astype(np.uint16)
WHOLE = Box((0, 0, 0), STACK.shape)
GREY: dict[str, Any] = {"photometric": "minisblack"}


@pytest.fixture(autouse=True)
def _fresh():
    clear_sources()
    yield
    clear_sources()


def opened(path: Path, **options: Any) -> Any:
    return open_source(SourceSpec(str(path), **options))


def refused(path: Path, *says: str, **options: Any) -> None:
    """Refused when it is opened, or when the client asks for the notes; never a part of it read."""
    with pytest.raises(InputError) as caught:
        _ = opened(path, **options).notes
    for part in (path.name, *says):
        assert part in str(caught.value)


def read_all(source: Any) -> np.ndarray:
    return np.asarray(source.read(0, 0, Box((0, 0, 0), source.volume.shape[2:])))


def pages(path: Path, stack: np.ndarray = STACK, **first: Any) -> Path:
    """One page after the other, each with its directory behind it, as acquisition software writes."""
    with tifffile.TiffWriter(path) as tif:
        for i, plane in enumerate(stack):
            tif.write(plane, contiguous=False, metadata=None, software=False, **GREY, **(first if i == 0 else {}))
    return path


def imagej(path: Path) -> Path:
    tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "ZYX"})
    return path


def ome(path: Path, stack: np.ndarray = STACK, axes: str = "ZYX", **options: Any) -> Path:
    tifffile.imwrite(path, stack, ome=True, metadata={"axes": axes}, **{**GREY, **options})
    return path


def series_file(path: Path, *stacks: np.ndarray, **options: Any) -> Path:
    """Write several images into one file; of an OME-TIFF, voxel sizes and channels of their own."""
    with tifffile.TiffWriter(path, ome=path.name.endswith(".ome.tif")) as tif:
        for i, stack in enumerate(stacks):
            size = {"PhysicalSizeX": 0.1 * (i + 1), "PhysicalSizeY": 0.2, "PhysicalSizeZ": 0.5}
            named = {"axes": "ZYX", "Channel": {"Name": [f"channel of {i}"]}, **size}
            tif.write(stack, contiguous=False, metadata=named, **options, **GREY)
    return path


WRITERS: dict[str, Any] = {
    "imagej": imagej,
    "ome": ome,
    "ome compressed": lambda path: ome(path, compression="zlib", tile=(16, 16)),
    "plain": pages,
    "tifffile": lambda path: tifffile.imwrite(path, STACK, metadata={"axes": "ZYX"}, **GREY),
    "big": lambda path: tifffile.imwrite(path, STACK, metadata={"axes": "ZYX"}, bigtiff=True, byteorder=">", **GREY),
    "strips": lambda path: tifffile.imwrite(path, STACK, rowsperstrip=7, compression="zlib", **GREY),
}

# --- cut short ----------------------------------------------------------------------------------


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_cut_anywhere_is_refused(tmp_path, writer):
    path = tmp_path / "a.tif"
    WRITERS[writer](path)
    np.testing.assert_array_equal(read_all(opened(path, axes="zyx")), STACK)
    content = path.read_bytes()
    whole = len(content)
    for end in (0, 3, 6, 9, 14, 100, whole // 10, whole // 2, int(whole * 0.9), int(whole * 0.97)):
        cut = tmp_path / f"cut{end}.tif"
        cut.write_bytes(content[:end])
        refused(cut, "again", axes="zyx")


def test_the_planes_that_are_there_are_counted(tmp_path):
    content = imagej(tmp_path / "a.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        start, plane = tif.pages[0].dataoffsets[0], STACK[0].nbytes
    (tmp_path / "b.tif").write_bytes(content[: start + 6 * plane + 100])
    refused(tmp_path / "b.tif", "expected 9 planes, found 6", "copy the file again")
    ome(tmp_path / "c.ome.tif")
    content = (tmp_path / "c.ome.tif").read_bytes().replace(b'SizeZ="9"', b'SizeZ="8"')
    (tmp_path / "c.ome.tif").write_bytes(content.replace(b'SizeT="1"', b'SizeT="2"'))
    refused(tmp_path / "c.ome.tif", "expected 16 planes, found 9", axes="tzyx")


@pytest.mark.parametrize(
    ("description", "says"),
    [
        ("ImageJ=1.53\nimages=30\nslices=9\n", "expected 30 planes, found 9"),
        ("ImageJ=1.53\nimages=9\nslices=30\n", "expected 30 planes, found 9"),
        ("ImageJ=1.53\nimages=-9\nchannels=x\nslices=3\n", "ImageJ series metadata invalid"),
    ],
)
def test_imagej_metadata_that_promise_more_are_refused(tmp_path, description, says):
    refused(pages(tmp_path / "a.tif", description=description), says, axes="zyx")


def test_a_circle_of_directories_is_no_hang(tmp_path):
    path = pages(tmp_path / "a.tif", np.repeat(STACK, 20, axis=0))
    with tifffile.TiffFile(path) as tif:
        back = tif.pages[120].offset
        last = tif.pages[150].offset
    content = bytearray(path.read_bytes())
    tags = struct.unpack_from("<H", content, last)[0]
    struct.pack_into("<I", content, last + 2 + 12 * tags, back)
    path.write_bytes(content)
    refused(path, "circle", axes="zyx")


def test_pixels_behind_the_end_of_the_file_are_refused(tmp_path):
    path = pages(tmp_path / "a.tif")
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages[4].tags["StripOffsets"].overwrite(path.stat().st_size - 10)
    refused(path, "8 complete plane", "page 4", axes="zyx")


@pytest.mark.parametrize(
    ("tag", "kind", "count", "value"),
    [
        ("ImageLength", 12, 1, 9),  # a float
        ("ImageLength", 2, 4, 0x41414141),  # a text
        ("BitsPerSample", 3, 1, 13),
        ("SampleFormat", 3, 1, 77),
        ("ImageWidth", 4, 1, 2**31),
        ("ImageLength", 4, 1, 0),
        ("StripByteCounts", 4, 1, 50),
    ],
)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_directory_with_nonsense_in_it_is_refused(tmp_path, tag, kind, count, value, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0].astype(np.int16), compression=compression, metadata=None, **GREY)
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[0].tags[tag].offset
    content = bytearray(path.read_bytes())
    struct.pack_into("<HII", content, offset + 2, kind, count, value)
    path.write_bytes(content)
    if tag == "StripByteCounts" and compression:
        with pytest.raises(CorruptDataError):  # cannot be told before it is decoded
            read_all(opened(path))
    else:
        refused(path)


def test_a_file_of_many_pages_is_walked_in_seconds(tmp_path):
    """100,000 directories made by hand; the times are far above what is measured (1.3 s, open 5 s)."""
    many, plane = 100_000, struct.pack("<64H", *range(64))
    path = tmp_path / "many.tif"
    tags = [(256, 4, 8), (257, 4, 8), (258, 3, 16), (259, 3, 1), (262, 3, 1), (277, 3, 1), (278, 4, 8), (279, 4, 128)]
    size = 2 + 12 * (len(tags) + 1) + 4
    with path.open("wb") as file:
        file.write(struct.pack("<2sHI", b"II", 42, 8 + len(plane)) + plane)
        for i in range(many):
            entries = sorted([*tags, (273, 4, 8)])
            following = 8 + len(plane) + (i + 1) * size if i < many - 1 else 0
            body = b"".join(struct.pack("<HHII", code, kind, 1, value) for code, kind, value in entries)
            file.write(struct.pack("<H", len(entries)) + body + struct.pack("<I", following))
    start = time.process_time()
    found = read_directories(path)
    assert (found.pages, found.complete, found.problem) == (many, many, "")
    assert time.process_time() - start < 20


# --- what is left out is said -------------------------------------------------------------------


def said(source: Any, *says: str) -> None:
    notes = " ".join(source.notes)
    for part in says:
        assert part in notes


def test_nothing_is_said_of_a_plain_file(tmp_path):
    for writer, write in WRITERS.items():
        path = tmp_path / f"{writer}.tif"
        write(path)
        assert opened(path, axes="zyx").notes == (), writer


def test_a_stack_whose_planes_are_called_channels_is_said(tmp_path):
    """As ImageJ files are that tifffile writes without axes."""
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, STACK, imagej=True)
    source = opened(path)
    assert source.volume.axes == "cyx"
    (note,) = source.notes
    assert "9 channels of a single plane" in note
    told = note.rpartition("input.axes: ")[2]
    assert told == "zyx"
    right = opened(path, axes=told)
    assert right.notes == ()
    assert np.array_equal(read_all(right), STACK)
    tifffile.imwrite(path, STACK[:7], imagej=True)
    assert opened(path).notes == ()
    tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "CYX", "Channel": {"Name": [f"b{i}" for i in range(9)]}})
    assert opened(path).notes == ()


def test_a_second_image_is_said_with_the_option_that_takes_it(tmp_path):
    path = series_file(tmp_path / "a.ome.tif", STACK, STACK[:4] + 1)
    source = opened(path)
    said(source, "first image of a.ome.tif is read (9 x 40 x 48 zyx", "skipped: series 1 (4 x 40 x 48 zyx", "scene")
    np.testing.assert_array_equal(read_all(source), STACK)
    second = opened(path, scene=1)
    assert second.notes == ()
    np.testing.assert_array_equal(read_all(second), STACK[:4] + 1)


@pytest.mark.parametrize("ending", [".ome.tif", ".tif"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_of_images_of_the_same_size_one_is_chosen(tmp_path, ending, compression):
    path = series_file(tmp_path / f"a{ending}", STACK, STACK[::-1], STACK[:, :30] + 1, compression=compression)
    refused(path, "2 images of full size", "input.scene", "2: ", 'input.images: "*"', "9 x 30 x 48 zyx")
    refused(path, "has no scene 3", "0: ", "2: ", scene=3)
    for scene, values in enumerate((STACK, STACK[::-1], STACK[:, :30] + 1)):
        source = opened(path, scene=scene)
        np.testing.assert_array_equal(read_all(source), values)
        assert source.notes == ()
        if ending == ".ome.tif":
            assert source.volume.voxel_size_um == (0.5, 0.2, 0.1 * (scene + 1))
            assert source.volume.channel_names == (f"channel of {scene}",)
    assert identity(SourceSpec(str(path), scene=0)) != identity(SourceSpec(str(path), scene=1))


@pytest.mark.parametrize("ending", [".ome.tif", ".tif"])
def test_images_of_a_file_that_was_cut_are_refused(tmp_path, ending):
    path = series_file(tmp_path / f"a{ending}", STACK, STACK[::-1])
    content = path.read_bytes()
    for share in (0.3, 0.6, 0.99):
        (tmp_path / f"{share}{ending}").write_bytes(content[: int(len(content) * share)])
        for scene in (0, 1):
            refused(tmp_path / f"{share}{ending}", "again", scene=scene)


def test_ome_xml_of_other_images_than_the_file_has_is_refused(tmp_path):
    """tifffile leaves out what it cannot read: the second image would be taken for the first."""
    path = series_file(tmp_path / "a.ome.tif", STACK, STACK[:4])
    content = path.read_bytes()
    path.write_bytes(
        content.replace(b'SizeX="48" SizeY="40" SizeC="1" SizeZ="9"', b'SizeX="40" SizeY="48" SizeC="1" SizeZ="9"', 1)
    )
    assert path.read_bytes() != content
    refused(path, "describes 2 images with pixels, and 1 can be read")
    refused(path, "describes 2 images with pixels", scene=0)


@pytest.mark.parametrize("axis", ["Z", "T", "C"])
def test_pages_beyond_the_metadata_of_ome_are_said(tmp_path, axis):
    path = ome(tmp_path / "a.ome.tif", axes=f"{axis}YX")
    path.write_bytes(path.read_bytes().replace(f'Size{axis}="9"'.encode(), f'Size{axis}="5"'.encode()))
    source = opened(path)
    assert max(source.volume.shape[:3]) == 5
    said(source, "9 pages, of which 4", "are skipped")


def test_pages_beyond_the_metadata_of_imagej_are_said(tmp_path):
    one_by_one = pages(tmp_path / "a.tif", description="ImageJ=1.53\nimages=5\nslices=5\n")
    content = imagej(tmp_path / "b.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(content.replace(b"images=9", b"images=5").replace(b"slices=9", b"slices=5"))
    for path in (one_by_one, tmp_path / "b.tif"):
        source = opened(path)
        assert source.volume.shape[2] == 5
        said(source, "9 pages, of which 4")


def test_sparse_tiles_and_inverted_grey_are_said(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], photometric="miniswhite")
    said(opened(tmp_path / "a.tif"), "0 is white")
    tiles = iter([np.ones((16, 16), np.uint8), None, None, np.ones((16, 16), np.uint8)])
    tifffile.imwrite(
        tmp_path / "b.tif", tiles, shape=(32, 32), dtype=np.uint8, tile=(16, 16), compression="zlib", **GREY
    )
    source = opened(tmp_path / "b.tif")
    said(source, "2 of 4 strips or tiles", "missing")
    assert read_all(source).sum() == 512


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_width_that_does_not_fit_the_bytes_is_said(tmp_path, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0], compression=compression, metadata=None, **GREY)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages[0].tags["ImageWidth"].overwrite(40)
    said(opened(path), "holds 3840 bytes", "need 3200")


def test_plan_run_and_report_say_it(tmp_path, capsys):
    path = ome(tmp_path / "a.ome.tif", axes="TYX")
    path.write_bytes(path.read_bytes().replace(b'SizeT="9"', b'SizeT="2"'))
    config = builders.make_run(tmp_path, None, input={"path": "a.ome.tif"}, psf={"kind": "identity"})
    for command in ("plan", "run"):
        assert main([command, str(config)]) == 0
        printed = capsys.readouterr()
        assert "note" in printed.out + printed.err
        assert "9 pages, of which 7" in printed.out + printed.err
    assert main(["report", str(config)]) == 0
    assert "9 pages, of which 7" in (tmp_path / "out.zarr.run" / "report.html").read_text()


# --- sets of files ------------------------------------------------------------------------------

HEAD = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{}">'


def tiff_data(number: int, plane: int = 0) -> str:
    return (
        f'<TiffData FirstZ="{number}" IFD="{plane}" PlaneCount="1">'
        f'<UUID FileName="z{number}.ome.tif">urn:uuid:{number}</UUID></TiffData>'
    )


def image_xml(uuid: str, planes: int) -> str:
    sizes = f'SizeX="48" SizeY="40" SizeZ="{planes}" SizeC="1" SizeT="1" PhysicalSizeX="0.1" PhysicalSizeY="0.2"'
    pixels = f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" {sizes} PhysicalSizeZ="0.5">'
    data = "".join(tiff_data(i) for i in range(planes))
    channel = '<Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
    return f'{HEAD.format(uuid)}<Image ID="Image:0">{pixels}{channel}{data}</Pixels></Image></OME>'


def member_xml(number: int, master: str) -> str:
    return f'{HEAD.format(number)}<BinaryOnly MetadataFile="{master}" UUID="urn:uuid:m"/></OME>'


def write_set(folder: Path, planes: int = 5, companion: bool = False) -> Path:
    """One plane a file; the metadata are in the first, or in a companion file."""
    master = "set.companion.ome" if companion else "z0.ome.tif"
    for i in range(planes):
        xml = image_xml("0", planes) if i == 0 and not companion else member_xml(i, master)
        tifffile.imwrite(folder / f"z{i}.ome.tif", STACK[i], description=xml, metadata=None, **GREY)
    if companion:
        (folder / master).write_text(image_xml("m", planes))
    return folder / master


@pytest.mark.parametrize("companion", [False, True])
def test_a_set_is_read_whole(tmp_path, companion):
    master = write_set(tmp_path, companion=companion)
    for path in (master, tmp_path / "z3.ome.tif") if companion else (master,):
        source = opened(path)
        assert source.volume.shape == (1, 1, 5, 40, 48)
        assert source.volume.voxel_size_um == (0.5, 0.2, 0.1)
        np.testing.assert_array_equal(read_all(source), STACK[:5])
        assert source.notes == ()
        assert "members" in source.stamp()["metadata"]


def test_each_image_of_a_set_may_have_a_file_of_its_own(tmp_path):
    images = "".join(
        f'<Image ID="Image:{i}" Name="well {i}"><Pixels ID="Pixels:{i}" DimensionOrder="XYZCT" Type="uint16"'
        f' SizeX="48" SizeY="40" SizeZ="1" SizeC="1" SizeT="1"><Channel ID="Channel:{i}:0" SamplesPerPixel="1"/>'
        f'<TiffData IFD="0" PlaneCount="1"><UUID FileName="z{i}.ome.tif">urn:uuid:{i}</UUID></TiffData></Pixels>'
        "</Image>"
        for i in range(3)
    )
    for i in range(3):
        xml = f"{HEAD.format(i)}{images}</OME>"
        tifffile.imwrite(tmp_path / f"z{i}.ome.tif", STACK[i], description=xml, metadata=None, **GREY)
    titles = [image.title.split(" (")[0] for image in list_images(tmp_path / "z1.ome.tif").images]
    assert titles == ["well 0", "well 1", "well 2"]
    for i in range(3):
        source = opened(tmp_path / "z1.ome.tif", scene=i)
        np.testing.assert_array_equal(read_all(source)[0], STACK[i])
        assert set(source.files()) == {tmp_path / "z1.ome.tif", tmp_path / f"z{i}.ome.tif"}
    (tmp_path / "z2.ome.tif").unlink()
    clear_sources()
    refused(tmp_path / "z1.ome.tif", "z2.ome.tif", scene=0)


def test_a_file_of_a_set_that_is_not_its_master_is_refused(tmp_path):
    master = write_set(tmp_path)
    refused(tmp_path / "z3.ome.tif", "master file z0.ome.tif", str(master))
    master.unlink()
    refused(tmp_path / "z3.ome.tif", "master file z0.ome.tif", "copy the whole set")
    (tmp_path / "c").mkdir()
    write_set(tmp_path / "c", companion=True).unlink()
    refused(tmp_path / "c" / "z3.ome.tif", "set.companion.ome", "copy the whole set")


@pytest.mark.parametrize("companion", [False, True])
def test_a_set_that_is_not_whole_is_refused(tmp_path, companion):
    master = write_set(tmp_path, companion=companion)
    content = (tmp_path / "z3.ome.tif").read_bytes()
    for end in (0, 5, len(content) // 2, len(content) - 1000):
        (tmp_path / "z3.ome.tif").write_bytes(content[:end])
        clear_sources()
        refused(master, "z3.ome.tif", "again")
    (tmp_path / "z3.ome.tif").unlink()
    (tmp_path / "z2.ome.tif").unlink()
    clear_sources()
    refused(master, "2 are missing", "z2.ome.tif, z3.ome.tif")


def test_planes_of_another_size_or_depth_are_refused(tmp_path):
    """tifffile looks at the first page and takes the others for the same."""
    master = write_set(tmp_path)
    for other in (STACK[3, :30], STACK[3].astype(np.uint8), STACK[3].astype(np.int16)):
        tifffile.imwrite(tmp_path / "z3.ome.tif", other, description=member_xml(3, "z0.ome.tif"), metadata=None, **GREY)
        clear_sources()
        refused(master, "plane 3 (z3.ome.tif)", "not a plane of this image")
    with tifffile.TiffFile(ome(tmp_path / "good.ome.tif")) as good, tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        for i, plane in enumerate(STACK):
            part = plane[:20] if i == 6 else plane
            description = None if i else good.ome_metadata
            tif.write(part, contiguous=False, metadata=None, description=description, **GREY)
    refused(tmp_path / "a.ome.tif", "page 6 differs from the first in size")


def test_a_companion_that_is_none_is_refused(tmp_path):
    for content, says in [
        (b"", "an empty file"),
        (image_xml("m", 3).encode()[:-50], "truncated"),
        (image_xml("m", 3).replace("<Pixels", "<Pixels<").encode(), "OME-XML cannot be read"),
        (HEAD.format("m").encode() + b"</OME>", "names no TIFF files"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ]:
        (tmp_path / "a.companion.ome").write_bytes(content)
        clear_sources()
        refused(tmp_path / "a.companion.ome", says)


def test_a_renamed_file_is_read_by_its_own_identity(tmp_path):
    write_set(tmp_path, planes=1).rename(tmp_path / "other.ome.tif")
    np.testing.assert_array_equal(read_all(opened(tmp_path / "other.ome.tif")), STACK[:1])


# --- numbers that are no intensities, and axes ----------------------------------------------------


def test_palettes_masks_and_mosaics_are_refused(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", STACK[0].astype(np.uint8), photometric="palette", colormap=np.zeros((3, 256), np.uint16)
    )
    refused(tmp_path / "a.tif", "colour table (palette)", "convert")
    tifffile.imwrite(tmp_path / "b.tif", STACK[0], photometric=4)
    refused(tmp_path / "b.tif", "mask")
    tifffile.imwrite(tmp_path / "c.tif", STACK[0], photometric="cfa", extratags=[(33421, 3, 2, (2, 2), True)])
    refused(tmp_path / "c.tif", "Bayer")
    tifffile.imwrite(tmp_path / "d.tif", STACK[0] > 2000, **GREY)
    refused(tmp_path / "d.tif", "bool")
    tifffile.imwrite(tmp_path / "e.tif", STACK[0].astype(np.complex64), **GREY)
    refused(tmp_path / "e.tif", "complex64")


def test_three_planes_are_what_the_user_says(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[:3], photometric="rgb", planarconfig="separate")
    refused(path, "colour samples", "axes: zyx")
    np.testing.assert_array_equal(read_all(opened(path, axes="zyx")), STACK[:3])
    channels = opened(path, axes="cyx")
    assert channels.volume.shape == (1, 3, 1, 40, 48)
    np.testing.assert_array_equal(channels.read(0, 2, Box((0, 3, 5), (1, 30, 9)))[0], STACK[2, 3:30, 5:9])
    refused(path, "samples of a pixel x", "cyx", axes="xyz")


@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib"}, {"tile": (16, 32)}, {"compression": "zlib", "tile": (16, 16)}]
)
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_samples_are_channels_where_the_user_says_so(tmp_path, options, planar):
    path, contig = tmp_path / "a.tif", planar == "contig"
    values = np.moveaxis(STACK[:3], 0, -1) if contig else STACK[:3]
    tifffile.imwrite(path, values, photometric="rgb", planarconfig=planar, **options)
    source = opened(path, axes="yxc" if contig else "cyx")
    for c in range(3):
        np.testing.assert_array_equal(source.read(0, c, Box((0, 7, 9), (1, 37, 41)))[0], STACK[c, 7:37, 9:41])


def test_stacks_of_colour_pictures_are_channels_where_the_user_says_so(tmp_path):
    values = np.moveaxis(STACK.reshape(3, 3, 40, 48), 1, -1)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
    tifffile.imwrite(tmp_path / "b.ome.tif", values, photometric="rgb", metadata={"axes": "ZYXS"})
    tifffile.imwrite(tmp_path / "c.tif", values.astype(np.uint8), imagej=True, metadata={"axes": "ZYXS"})
    for name in ("a.tif", "b.ome.tif", "c.tif"):
        refused(tmp_path / name, "e.g. axes: zyxc")
        source = opened(tmp_path / name, axes="zyxc")
        assert source.volume.shape == (1, 3, 3, 40, 48)
        wanted = values[1:, 3:30, 5:, 1].astype(source.volume.dtype)
        np.testing.assert_array_equal(source.read(0, 1, Box((1, 3, 5), (3, 30, 48))), wanted)


@pytest.mark.parametrize("axes", ["zyx", "xyz", "yxz", "zxy", "yxc", "xyc", "txy", "cyx"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_axes_in_any_order_are_read_as_said(tmp_path, axes, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, compression=compression, rowsperstrip=7, **GREY)
    source = opened(path, axes=axes)
    wanted = STACK.transpose([axes.index(a) for a in "tczyx" if a in axes]).reshape(source.volume.shape)
    box = Box((0, 2, 3), (wanted.shape[2], wanted.shape[3] - 1, wanted.shape[4] - 2))
    t, c = wanted.shape[0] - 1, wanted.shape[1] - 1
    np.testing.assert_array_equal(source.read(t, c, box), wanted[t, c][box.slices])


def test_a_run_of_a_transposed_image(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, metadata=None, **GREY)
    config = builders.make_run(tmp_path, None, input={"path": "a.tif", "axes": "xzy"}, psf={"kind": "identity"})
    written = builders.level(builders.complete(config))
    np.testing.assert_array_equal(written.reshape(40, 48, 9), STACK.transpose(1, 2, 0))


def test_frames_whose_strips_lie_otherwise_than_those_of_the_first_page(tmp_path):
    """tifffile answers for the first page of a series whether strips follow each other."""
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        for plane in STACK[:3]:
            tif.write(plane, contiguous=False, metadata=None, rowsperstrip=20, **GREY)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        first, second = tif.pages[1].dataoffsets
        tif.pages[1].tags["StripOffsets"].overwrite((second, first))
    swapped = np.concatenate([STACK[1, 20:], STACK[1, :20]])
    np.testing.assert_array_equal(read_all(opened(path, axes="zyx"))[1], swapped)


# --- integers, codecs, what is no TIFF ------------------------------------------------------------


def test_integers_that_lose_digits_are_said_or_refused(tmp_path, capsys):
    for name, offset, status, says in [
        ("small", 0, 0, ""),
        ("large", 2**30, 0, "beyond 16777216"),
        ("huge", 2**60, 2, "beyond 2^53"),
    ]:
        folder = tmp_path / name
        folder.mkdir()
        tifffile.imwrite(folder / "a.tif", STACK.astype(np.int64) + offset, metadata={"axes": "ZYX"}, **GREY)
        config = builders.make_run(folder, None, input={"path": "a.tif"}, psf={"kind": "identity"})
        assert main(["plan", str(config)]) == status
        said = capsys.readouterr()
        assert says in said.out + said.err
        assert says or "note" not in said.out


@pytest.mark.parametrize(
    ("code", "name"), [(5, "LZW"), (7, "JPEG"), (50000, "ZSTD"), (34712, "JPEG2000"), (50002, "JPEGXL")]
)
def test_codecs_that_are_not_installed_are_named(tmp_path, monkeypatch, code, name):
    """Without imagecodecs, whether it is installed here or not; the PSF reader says the same."""
    monkeypatch.setattr(tifffile.TIFF.DECOMPRESSORS, "_codecs", {1: lambda data, **_: data})
    monkeypatch.setattr(tifffile.tifffile, "imagecodecs", None)
    monkeypatch.setitem(__import__("sys").modules, "tifffile._imagecodecs", None)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0], metadata=None, **GREY)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages[0].tags["Compression"].overwrite(code)
    refused(path, f"compressed with {name}", "pip install imagecodecs")
    with pytest.raises(InputError, match=f"compressed with {name}.*pip install imagecodecs"):
        read_psf_file(path)


def test_deflate_needs_no_further_package(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], compression="zlib", predictor=True, **GREY)
    np.testing.assert_array_equal(read_all(opened(tmp_path / "a.tif"))[0], STACK[0])
    np.testing.assert_array_equal(read_psf_file(tmp_path / "a.tif")[0], STACK[0])


FOREIGN = [
    (b"", "an empty file"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
    (b"/annex/objects/SHA256E-s1--0.tif\n", "git annex get"),
    (b"\n <!DOCTYPE html><html><body>Please log in</body></html>", "a web page"),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML text"),
    (b"\x1f\x8b\x08\0" + bytes(50), "gunzip"),
    (b"PK\x03\x04" + bytes(50), "unzip"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (bytes(5000), "filled with zeros"),
    (b"II\x2a", "not a readable TIFF"),
    (b"II\x2b\0\x04\0\0\0" + bytes(100), "not a readable TIFF"),
    (b"no tiff at all, but text", "not a readable TIFF"),
]


@pytest.mark.parametrize(("content", "says"), FOREIGN)
def test_what_is_no_tiff_is_named_as_image_and_as_psf(tmp_path, content, says):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    refused(path, says)
    with pytest.raises(InputError, match=says):
        read_psf_file(path)
    if content:
        path.rename(tmp_path / "a.npy")
        with pytest.raises(InputError):
            read_psf_file(tmp_path / "a.npy")


def test_a_pipe_is_no_hang(tmp_path):
    os.mkfifo(tmp_path / "a.tif")
    refused(tmp_path / "a.tif", "is not a regular file")


# --- PSF files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("writer", ["imagej", "ome", "plain", "big"])
def test_a_psf_cut_short_is_refused(tmp_path, writer):
    path = tmp_path / "psf.tif"
    WRITERS[writer](path)
    assert read_psf_file(path)[0].shape == STACK.shape
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(InputError, match=r"psf.tif.*again"):
            read_psf_file(path)


def test_a_psf_of_several_images_or_colours_is_refused(tmp_path):
    path = tmp_path / "psf.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(STACK, **GREY)
        tif.write(STACK[:4], **GREY)
    with pytest.raises(InputError, match=r"2 images.*python -c"):
        read_psf_file(path)
    tifffile.imwrite(path, STACK[0].astype(np.uint8), photometric="palette", colormap=np.zeros((3, 256), np.uint16))
    with pytest.raises(InputError, match="palette"):
        read_psf_file(path)
    with pytest.raises(InputError, match=r"4 more pages"):
        read_psf_file(pages(path, description="ImageJ=1.53\nimages=5\nslices=5\n"))


def test_an_npy_whose_header_and_size_differ_is_refused(tmp_path):
    path = tmp_path / "psf.npy"
    np.save(path, STACK)
    content = path.read_bytes()
    for changed, says in [
        (content[: len(content) // 2], "cut short"),
        (content + bytes(8), "damaged"),
        (content.replace(b"(9, 40, 48)", b"(3, 40, 48)"), "damaged"),
        (content.replace(b"(9, 40, 48)", b"(9, 4e9,48)"), "cannot be read"),
        (content[:7], "cannot be read"),
        (content.replace(b"(9, 40, 48), }", b"(9**9, 9), }  ")[:200], "cannot be read"),
    ]:
        path.write_bytes(changed)
        with pytest.raises(InputError, match=says):
            read_psf_file(path)


def test_a_pyramid_in_pages_with_a_label_beside_it(tmp_path):
    path, image = tmp_path / "a.tif", np.arange(128 * 128, dtype=np.uint16).reshape(128, 128)
    with tifffile.TiffWriter(path) as tif:
        tif.write(image, tile=(32, 32), metadata=None, **GREY)
        tif.write(image[::2, ::2], tile=(32, 32), subfiletype=1, metadata=None, **GREY)
        tif.write(image[:20, :30], metadata=None, **GREY)
    source = opened(path, level=1)
    np.testing.assert_array_equal(read_all(source)[0], image[::2, ::2])
    said(source, "skipped: series 1 (20 x 30 yx")


def test_files_of_other_formats_are_named(tmp_path):
    for name, content, says in [
        ("a.lsm.bak", b"ZISRAWFILE", "Zeiss CZI"),
        ("a.czi", b"version https://git-lfs", "git lfs pull"),
        ("a.tif.gz", b"\x1f\x8b", "gunzip"),
    ]:
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, "expected OME-Zarr, a zarr array, TIFF", says)


# --- pyramids ---------------------------------------------------------------------------------------


def test_a_level_whose_pixels_are_cut_off_is_refused(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(STACK, subifds=1, tile=(16, 16), metadata={"axes": "ZYX"}, **GREY)
        tif.write(STACK[:, ::2, ::2], subfiletype=1, tile=(16, 16), **GREY)
    np.testing.assert_array_equal(read_all(opened(path, level=1)), STACK[:, ::2, ::2])
    assert opened(path).notes == ()
    with tifffile.TiffFile(path, mode="r+b") as tif:
        page = tif.series[0].levels[1][0]
        offsets = list(page.dataoffsets)
        offsets[-1] = path.stat().st_size + 100
        page.aspage().tags["TileOffsets"].overwrite(offsets)
    clear_sources()
    np.testing.assert_array_equal(read_all(opened(path)), STACK)
    refused(path, "page 0 of this resolution level", level=1)


def test_damage_after_the_opening_fails_the_tile(tmp_path):
    path = ome(tmp_path / "a.ome.tif", compression="zlib")
    source = opened(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(CorruptDataError, match=r"page \d of"):
        read_all(source)
