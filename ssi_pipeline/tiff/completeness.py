"""Check that all planes stated in the metadata of a TIFF exist."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tifffile

from ssi_pipeline.errors import InputError
from ssi_pipeline.tiff.directories import Directories, read_directories

_AGAIN = "copy the file again (or, if its acquisition was stopped early, save the existing planes as a new file)"

_CHECKED_PAGES = 10_000
_SEPARATE = 2


def promised_planes(tif: tifffile.TiffFile) -> int | None:
    """Return the number of planes of the first image by OME, ImageJ or tifffile metadata; None if unknown."""
    with contextlib.suppress(Exception):  # damaged metadata: tifffile reports them later
        if tif.is_ome:
            return _by_ome(tif.ome_metadata or "")
        if tif.is_imagej:
            return _by_imagej(tif)
        if tif.is_shaped:
            return _by_shape(tif.pages.first)
    return None


def _by_ome(xml: str) -> int | None:
    pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")
    if pixels is None:
        return None
    channel = pixels.find("{*}Channel")
    samples = int(channel.get("SamplesPerPixel", 1)) if channel is not None else 1
    return math.prod(int(pixels.get(f"Size{axis}", 1)) for axis in "ZCT") // max(1, samples)


def _by_imagej(tif: tifffile.TiffFile) -> int:
    info, page = tif.imagej_metadata or {}, tif.pages.first
    channels = int(info.get("channels", 1))
    if channels > 1 and channels in (page.shaped[0], page.shaped[4]):
        channels = 1  # channels are samples of one plane
    product = int(info.get("frames", 1)) * int(info.get("slices", 1)) * channels
    return max(product, int(info.get("images", 1)))


def _by_shape(page: Any) -> int | None:
    text = page.shaped_description or ""
    shape = json.loads(text)["shape"] if text.startswith("{") else None
    return math.prod(shape) // max(1, math.prod(page.shape)) if shape else None


def series_planes(series: tifffile.TiffPageSeries) -> int:
    """Return the number of pages that the shape of a series needs."""
    return math.prod(series.get_shape(False)) // max(1, math.prod(series.keyframe.shape))


def refuse_damage(tif: tifffile.TiffFile | None, directories: Directories, where: str) -> None:
    """Refuse a file whose directory chain or page pixels extend beyond its end.

    Raises
    ------
    InputError
        States the expected and the existing number of planes.
    """
    if not directories.problem:
        return
    promised = promised_planes(tif) if tif is not None else None
    there = directories.complete
    if tif is not None:
        there = max(there, _by_bytes(tif.pages.first, directories))
    if promised is None or promised <= there:
        counted = f"found {there} complete plane(s)"
    else:
        counted = f"expected {promised} planes, found {there}"
    raise InputError(f"{where} is truncated or damaged: {counted} ({directories.problem}); copy the file again")


def _by_bytes(page: Any, directories: Directories) -> int:
    """Return the number of contiguous planes if all further directories come after them."""
    with contextlib.suppress(Exception):
        if page.is_contiguous and page.nbytes:
            end = min(directories.size, directories.second or directories.size)
            planes = max(0, end - page.dataoffsets[0]) // page.nbytes
            return int(planes) if planes > 1 or directories.pages == 1 else 0
    return 0


def refuse_missing_planes(tif: tifffile.TiffFile, series: Any, directories: Directories, where: str) -> None:
    """Refuse an image with missing planes.

    Raises
    ------
    InputError
        States the expected and the existing number.
    """
    pages = directories.pages
    if series.kind == "ome":
        wanted, there = len(series), sum(series[i] is not None for i in range(len(series)))
    elif series.is_multifile:
        return
    else:
        # ImageJ and tifffile metadata may state more planes than tifffile's series has
        wanted = max(series_planes(series), _stated_planes(tif, series) or 0)
        before = _pages_before(series)
        virtual = series.dataoffset is not None and pages < wanted and not before
        there = _by_bytes(series.keyframe, directories) if virtual else pages - before
    if there < wanted:
        raise InputError(f"{where}: expected {wanted} planes, found {there}: {_AGAIN}")


def _stated_planes(tif: tifffile.TiffFile, series: Any) -> int | None:
    """Return the number of planes of an image by the metadata of ImageJ or tifffile; None if unknown."""
    if _pages_before(series):  # a further image: only tifffile describes each
        with contextlib.suppress(Exception):
            return _by_shape(series.keyframe) if series.kind == "shaped" else None
        return None
    return promised_planes(tif) if series.kind in ("imagej", "shaped") or tif.is_imagej else None


def _pages_before(series: Any) -> int:
    """Return the number of pages before the first one of an image."""
    index = series.keyframe.index
    return index if isinstance(index, int) else 0


def refuse_other_layout(series: Any, directories: Directories, where: str) -> None:
    """Refuse an image whose pages differ in size or type; tifffile assumes that all are like the first.

    Raises
    ------
    InputError
        A page differs from the first; names it.
    """
    first, own = series[0], series.keyframe.parent.filehandle.path
    if series.kind in ("shaped", "imagej") and first is not None and isinstance(first.index, int):
        indices = range(first.index, min(first.index + series_planes(series), directories.pages))
        _refuse_mixed([directories.layouts[i] for i in indices], where)
    if series.kind != "ome":
        return  # other series are assembled from their actual pages
    layouts = {own: directories.layouts}
    found: dict[str, list[int]] = {}
    for i in range(len(series)):
        page = series[i]
        if page is None or not isinstance(page.index, int):
            continue
        file = page.parent.filehandle.path
        if file not in layouts:
            layouts[file] = read_directories(Path(file)).layouts
        key, reference = page.keyframe, series.keyframe
        same = (key.shape, key.dtype, key.compression) == (reference.shape, reference.dtype, reference.compression)
        if not same:
            raise InputError(
                f"{where}: plane {i} ({Path(file).name}) is {key.shape} {key.dtype}, the first {reference.shape} "
                f"{reference.dtype}: it is not a plane of this image"
            )
        found.setdefault(file, []).append(layouts[file][page.index])
    for numbers in found.values():
        _refuse_mixed(numbers, where)


def _refuse_mixed(layouts: list[int], where: str) -> None:
    other = next((i for i, layout in enumerate(layouts) if layout != layouts[0]), None)
    if other is not None:
        raise InputError(
            f"{where}: page {other} differs from the first in size, depth or compression, "
            "but the metadata call them planes of one image: save the image again"
        )


def refuse_short_page(page: Any, where: str) -> None:
    """Refuse pages with too few strips, tiles or bytes for their width and height.

    Raises
    ------
    InputError
        Width, height or the strip lists are wrong or incomplete.
    """
    counts, samples = page.databytecounts, page.samplesperpixel if page.planarconfig == _SEPARATE else 1
    height, width = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    if page.imagedepth == 1 and height > 0 and width > 0 and not page.is_stk and not page.is_lsm:
        needed = -(-page.imagelength // height) * -(-page.imagewidth // width) * samples
        if min(len(counts), len(page.dataoffsets)) < needed:
            raise InputError(
                f"{where}: its first page has {len(counts)} strips or tiles; {page.imagewidth} x {page.imagelength} "
                f"pixels need {needed}: its directory is damaged; copy the file again"
            )
    plain = page.compression == 1 and page.bitspersample in (8, 16, 32, 64) and 0 not in counts and not page.is_tiled
    if plain and not page.is_subsampled and sum(counts) < page.nbytes:
        raise InputError(
            f"{where}: its first page holds {sum(counts)} bytes of pixels, but {page.imagewidth} x {page.imagelength} "
            f"pixels need {page.nbytes}: its directory is damaged; copy the file again"
        )


def refuse_level_outside(series: Any, where: str) -> None:
    """Refuse a resolution level (in SubIFDs, outside the directory chain) with pixels beyond the end of the file.

    Raises
    ------
    InputError
        A page is missing or outside; names it.
    """
    step = max(1, len(series) // _CHECKED_PAGES)
    for number in range(0, len(series), step):
        page = series[number]
        if page is None:
            raise InputError(f"{where}: page {number} of this resolution level is missing: {_AGAIN}")
        size = page.parent.filehandle.size
        if any(n and a + n > size for a, n in zip(page.dataoffsets, page.databytecounts, strict=False)):
            raise InputError(
                f"{where}: page {number} of this resolution level lies beyond the end of the file: {_AGAIN}"
            )
