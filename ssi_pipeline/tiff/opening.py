"""Open a TIFF and check that all stated data exist, before reading pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tifffile

from ssi_pipeline.errors import InputError
from ssi_pipeline.tiff.completeness import (
    refuse_damage,
    refuse_missing_planes,
    refuse_other_layout,
    refuse_short_page,
)
from ssi_pipeline.tiff.directories import Directories, read_directories
from ssi_pipeline.tiff.foreign import likely_kind, read_head, refuse_foreign
from ssi_pipeline.tiff.left_out import describe_left_out, describe_page, describe_records, describe_sparse
from ssi_pipeline.tiff.ome_set import COMPANION, find_members, member_error, read_companion, read_names
from ssi_pipeline.tiff.records import means_missing, tifffile_records
from ssi_pipeline.tiff.scenes import choose, refuse_several, refuse_unnumbered

_FOREIGN_SERIES = ("generic", "uniform")
"""Series kinds that tifffile falls back to if it cannot use the OME-XML of a file."""


@dataclass(frozen=True, slots=True)
class OpenTiff:
    """A validated TIFF.

    ``tif``: open file, closed by the caller. ``members``: the other files of an OME-TIFF set.
    ``directories``: of the open file. ``records``: log messages of tifffile. ``chosen``: the image that was asked for.
    """

    tif: tifffile.TiffFile
    path: Path
    members: tuple[Path, ...]
    directories: Directories
    records: tuple[str, ...]
    chosen: int | None = None

    @property
    def scene(self) -> int:
        """Number of the image to read."""
        return self.chosen or 0

    @property
    def image(self) -> tifffile.TiffPageSeries:
        """The image to read."""
        return self.tif.series[self.scene]

    def notes(self) -> list[str]:
        """Return warnings about the readable file.

        Raises
        ------
        InputError
            The first strip has too few bytes for its width and height.
        """
        try:
            return [
                *describe_left_out(self.tif, self.directories, self.path, self.chosen),
                *describe_sparse(self.directories, self.path),
                *describe_page(self.image.keyframe, self.path),
                *describe_records(list(self.records), self.path),
            ]
        except InputError:
            raise
        except Exception as error:  # as on opening: a page of another image
            return [f"other pages of {self.path.name} cannot be read: {type(error).__name__}: {error}"]


def open_tiff(path: Path, where: str, scene: int | None = None) -> OpenTiff:
    """Open an image of a TIFF, or of the TIFF files that a ``.companion.ome`` file names.

    Parameters
    ----------
    path
        The file.
    where
        Description for messages: ``input /data/a.tif``.
    scene
        Which image of a file with several; None: its only one of full size.

    Raises
    ------
    InputError
        It is not a TIFF, is truncated, lacks stated planes, contains several images of full size of which none was
        chosen, or belongs to a set of files without being its master.
    """
    if path.name.lower().endswith(COMPANION):
        return _open_companion(path, where, scene)
    refuse_foreign(path, where)
    directories = read_directories(path)
    with tifffile_records() as records:
        tif = _open(path, directories, where)
        try:
            refuse_damage(tif, directories, where)
            names = read_names(tif.ome_metadata, path.name, where) if tif.is_ome and tif.ome_metadata else None
            if names is None or names.metadata_file is None:
                members = find_members(path.parent, names, where) if names is not None else []
                return _checked(tif, path, members, directories, records, where, scene)
        except BaseException:
            tif.close()
            raise
        tif.close()
    companion = path.parent / names.metadata_file
    if names.metadata_file.lower().endswith(COMPANION) and companion.is_file():
        return _open_companion(companion, f"{where} (of the set {companion.name})", scene)
    raise member_error(names, path.parent, where)


def _open_companion(path: Path, where: str, scene: int | None) -> OpenTiff:
    kind = likely_kind(read_head(path, where))
    if kind is not None and not kind.startswith("OME-XML"):
        raise InputError(f"{where} is not OME-XML, but {kind}")
    xml = read_companion(path, where)
    names = read_names(xml, path.name, where)
    if names.metadata_file is not None or not names.members:
        raise InputError(f"{where} names no TIFF files of planes (TiffData with UUID and FileName)")
    members = find_members(path.parent, names, where)
    directories = read_directories(members[0])
    with tifffile_records() as records:
        tif = _open(members[0], directories, where, xml)
        try:
            return _checked(tif, path, members, directories, records, where, scene)
        except BaseException:
            tif.close()
            raise


def _open(path: Path, directories: Directories, where: str, xml: str | None = None) -> tifffile.TiffFile:
    try:
        tif = tifffile.TiffFile(path, omexml=xml)
    except PermissionError:
        raise
    except Exception as error:  # tifffile raises its own types, struct.error, ValueError ... for broken headers
        refuse_damage(None, directories, where)
        raise InputError(f"{where} is not a readable TIFF: {type(error).__name__}: {error}: copy it again") from error
    if not directories.pages:
        tif.close()
        refuse_damage(None, directories, where)
        raise InputError(f"{where} contains no image")
    return tif


def _checked(
    tif: tifffile.TiffFile,
    path: Path,
    members: Sequence[Path],
    directories: Directories,
    records: list[str],
    where: str,
    scene: int | None,
) -> OpenTiff:
    try:
        _refuse_incomplete(tif, directories, records, where, scene)
        if scene is None:
            refuse_several(tif.series, where)
    except InputError:
        raise
    except Exception as error:  # as above, for broken directories; a number may be a text or a list
        raise InputError(f"{where} is not a readable TIFF: {type(error).__name__}: {error}: copy it again") from error
    return OpenTiff(tif, path, tuple(members), directories, tuple(records), scene)


def _refuse_incomplete(
    tif: tifffile.TiffFile, directories: Directories, records: list[str], where: str, scene: int | None
) -> None:
    series = choose(tif.series, scene, where) if tif.series else None
    if series is None or series.keyframe is None:
        raise InputError(f"{where} contains no image{_because(records)}")
    for level in series.levels:
        if not all(isinstance(n, int) and n >= 0 for n in level.get_shape(False)):
            raise InputError(f"{where} states the shape {level.get_shape(False)}: it is damaged; copy the file again")
    if tif.is_ome and series.kind in _FOREIGN_SERIES:
        raise InputError(f"{where}: its OME-XML does not match its pages{_because(records)}: save it again as OME-TIFF")
    refuse_unnumbered(tif, where)
    refuse_short_page(series.keyframe, where)
    refuse_missing_planes(tif, series, directories, where)
    refuse_other_layout(series, directories, where)
    missing = [record for record in records if means_missing(record)]
    if missing:
        raise InputError(f"{where} is damaged: {'; '.join(dict.fromkeys(missing[:2]))}: copy the file again")


def _because(records: Sequence[str]) -> str:
    return f" ({'; '.join(dict.fromkeys(records[:2]))})" if records else ""
