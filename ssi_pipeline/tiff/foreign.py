"""Detection of files of another format than their name suggests."""

from __future__ import annotations

import stat
from pathlib import Path

from ssi_pipeline.errors import InputError

_HEAD = 1024
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_COPY = "copy or download it again"

_STARTS = (
    (b"version https://git-lfs", "a Git LFS pointer in place of the data: fetch the data with `git lfs pull`"),
    (b"/annex/objects/", "a git-annex pointer in place of the data: fetch the data with `git annex get`"),
    (b"\x1f\x8b", "a gzip file: unpack it with `gunzip`"),
    (b"BZh", "a bzip2 file: unpack it with `bunzip2`"),
    (b"\xfd7zXZ", "an xz file: unpack it with `unxz`"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file: unpack it with `unzstd`"),
    (b"PK\x03\x04", "a zip file: unpack it with `unzip`"),
    (b"\x89PNG", "a PNG picture: convert it to TIFF"),
    (b"\xff\xd8\xff", "a JPEG picture: use the original image of the microscope"),
    (b"\x89HDF", "an HDF5 file (Imaris, BigDataViewer ...): convert it to OME-TIFF or OME-Zarr"),
    (b"CDF", "a NetCDF file: convert it to OME-TIFF or OME-Zarr"),
    (b"\x93NUMPY", "a numpy array: give it the ending .npy"),
    (b"ZISRAWFILE", "a Zeiss CZI file: give it the ending .czi"),
    (b"\xda\xce\xbe\x0a", "a Nikon ND2 file: give it the ending .nd2"),
    (b"\xd0\xcf\x11\xe0", "an OLE file (Olympus OIB, ZVI ...): convert it to OME-TIFF, for instance with bfconvert"),
)
"""First bytes of a file, its format, and advice."""


def likely_kind(head: bytes) -> str | None:
    """Describe a file by its first bytes, with advice; None if it may be a TIFF or is unknown."""
    if not head:
        return f"an empty file (0 bytes): copy or acquisition did not finish; {_COPY}"
    if head.startswith(_TIFF):
        return None
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page (HTML), for instance a login page of the server: download it again"
    if text.startswith(b"<?xml") and b"<ome" in text:
        return "OME-XML without pixels: give a .companion.ome file or one of its TIFF files"
    if text.startswith((b"<?xml", b"<error")):
        return "an XML text, for instance an error message of the server: download it again"
    if len(head) >= 4 and not any(head):
        return f"filled with zeros from its first byte on, as after an interrupted copy: {_COPY}"
    return None


def read_head(path: Path, where: str) -> bytes:
    """Return the first bytes of a regular file.

    Raises
    ------
    InputError
        It is a pipe or a device, where reading may block forever.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{where} is not a regular file; expected a file on disk")
    with path.open("rb") as file:
        return file.read(_HEAD)


def refuse_foreign(path: Path, where: str) -> None:
    """Refuse a file that is not a TIFF, with the likely cause.

    Raises
    ------
    InputError
        The file is empty, a pointer, an archive, a web page, or of another format.
    """
    head = read_head(path, where)
    kind = likely_kind(head)
    if kind is not None:
        raise InputError(f"{where} is not a readable TIFF, but {kind}")
    if not head.startswith(_TIFF):
        raise InputError(
            f"{where} is not a readable TIFF: it starts with the bytes {head[:4].hex(' ')}; "
            "expected 49 49 or 4d 4d and the number 42 or 43. Copy it again, or convert it to OME-TIFF"
        )
