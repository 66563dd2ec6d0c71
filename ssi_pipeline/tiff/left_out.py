"""Warnings about skipped or unusual contents of a TIFF."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import tifffile

from ssi_pipeline.errors import InputError
from ssi_pipeline.tiff.completeness import series_planes
from ssi_pipeline.tiff.directories import Directories

_SHOWN = 4
_RECORDS = 3
_WHITE_IS_ZERO = 0
_LARGEST = 2**26


def describe_left_out(tif: tifffile.TiffFile, directories: Directories, path: Path, chosen: int | None) -> list[str]:
    """Return notes on other images of the file, unless one was chosen, and on pages outside its metadata."""
    notes = []
    others = [(i, s) for i, s in enumerate(tif.series) if i and not s.keyframe.is_reduced]
    if others and chosen is None:
        shown = "; ".join(f"series {i} ({describe_series(s)})" for i, s in others[:_SHOWN])
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        notes.append(
            f"the first image of {path.name} is read ({describe_series(tif.series[0])}); skipped: {shown}{more}. "
            f"To read another, set input.scene, for instance to {others[0][0]}"
        )
    unused = directories.pages - _used_pages(tif)
    if unused > 0:
        notes.append(
            f"{path.name} has {directories.pages} pages, of which {unused} belong to no image in its metadata "
            f"and are skipped (an image of {describe_series(tif.series[chosen or 0])} is read)"
        )
    return notes


def describe_sparse(directories: Directories, path: Path) -> list[str]:
    """Return a note if strips or tiles are missing, as in sparse files."""
    if not directories.absent:
        return []
    return [
        f"{directories.absent} of {directories.segments} strips or tiles of {path.name} are missing (0 bytes) "
        "and read as the no-data value"
    ]


def describe_page(page: Any, path: Path) -> list[str]:
    """Return notes on how the pixels of the first page are stored.

    Raises
    ------
    InputError
        It has too few bytes for its width and height.
    """
    notes = []
    if page.photometric == _WHITE_IS_ZERO:
        notes.append(
            f"{path.name} has an inverted look-up table (0 is white); its values are read unchanged: "
            "if bright objects have low values, invert the image first"
        )
    stored = _stored_bytes(page)
    needed = page.nbytes
    if stored is not None and stored < needed:
        raise InputError(
            f"the first strip of {path} is {needed - stored} bytes too short for its width and height: "
            "its directory is damaged; copy the file again"
        )
    if stored is not None and stored > needed:
        notes.append(
            f"the first page of {path.name} holds {stored} bytes of pixels where its width and height need {needed}: "
            "they may be wrong"
        )
    return notes


def describe_records(records: list[str], path: Path) -> list[str]:
    """Return tifffile's log messages as notes, without duplicates."""
    distinct = list(dict.fromkeys(records))
    more = f" (and {len(distinct) - _RECORDS} more)" if len(distinct) > _RECORDS else ""
    return [f"tifffile on {path.name}: {'; '.join(distinct[:_RECORDS])}{more}"] if distinct else []


def describe_series(series: Any) -> str:
    """Return shape, axes and dtype of an image in a TIFF."""
    return f"{' x '.join(map(str, series.shape))} {series.axes.lower()}, {series.dtype}"


def extract_command(path: Path, index: int) -> str:
    """Return a command that saves one image of a TIFF as a separate file."""
    target = f"{path.name.split('.')[0]}-series{index}.tif"
    return (
        f'python -c "import tifffile; s = tifffile.TiffFile({str(path)!r}).series[{index}]; '
        f"tifffile.imwrite({target!r}, s.asarray(), photometric='minisblack', metadata={{'axes': s.axes}})\""
    )


def _used_pages(tif: tifffile.TiffFile) -> int:
    used: set[int] = set()
    own = tif.filehandle.path  # a set may open this file twice
    for series in (level for first in tif.series for level in first.levels):
        first = series[0]
        if series.kind in ("shaped", "imagej", "uniform", "stk"):
            # these pages are always contiguous and may not be loaded
            if first is not None and isinstance(first.index, int):
                used.update(range(first.index, first.index + series_planes(series)))
            continue
        for i in range(len(series)):
            page = series[i]
            if page is not None and isinstance(page.index, int) and page.parent.filehandle.path == own:
                used.add(page.index)
    return len(used)


def _stored_bytes(page: Any) -> int | None:
    """Return the stored bytes of a page: all if uncompressed, else extrapolated from the first strip or tile."""
    if page.is_tiled or not page.databytecounts:
        return None
    if page.compression == 1:
        return int(sum(page.databytecounts)) if page.bitspersample in (8, 16, 32, 64) else None
    if page.databytecounts[0] > _LARGEST or page.bitspersample not in (8, 16, 32, 64):
        return None
    with contextlib.suppress(Exception):  # damaged strips are reported by the affected tiles
        decompress: Any = tifffile.TIFF.DECOMPRESSORS[page.compression]
        file = page.parent.filehandle
        file.seek(page.dataoffsets[0])
        found = len(decompress(file.read(page.databytecounts[0])))
        rows = min(page.rowsperstrip, page.imagelength)
        expected = page.nbytes // page.imagelength * rows
        return int(page.nbytes + found - expected)
    return None
