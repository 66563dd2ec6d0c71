"""The OME-XML of an input: that of an OME-TIFF, or the file that bioformats2raw writes beside its images."""

from __future__ import annotations

from pathlib import Path

from ssi_pipeline.config.url import Place, Url
from ssi_pipeline.redact import redact
from ssi_pipeline.storage.inputs.source import is_tiff
from ssi_pipeline.storage.store import store_of
from ssi_pipeline.words import size_of

FOLDER, FILE = "OME", "METADATA.ome.xml"
"""Where readers of bioformats2raw's layout expect it, in the collection."""

_LARGEST = 2**25
_DECLARATIONS = ("<!DOCTYPE", "<!ENTITY")
"""Not part of OME-XML: through entities, the parser of a reader could be made to open other files."""


def read_ome_xml(place: Place) -> tuple[bytes | None, str]:
    """Return the OME-XML of an image, as it is but for credentials, and why it is not kept; it is not parsed.

    Raises
    ------
    InputError, OSError
        The input cannot be read.
    """
    found = _of_tiff(place) if isinstance(place, Path) and is_tiff(place) and place.is_file() else _beside(place)
    if found is None:
        return None, ""
    if len(found) > _LARGEST:
        return None, f"the OME-XML of {place} is not kept: it has more than {size_of(_LARGEST)}"
    try:
        text = found.decode()
    except UnicodeDecodeError:
        return None, f"the OME-XML of {place} is not kept: it is not in UTF-8"
    if any(word in text for word in _DECLARATIONS):
        return None, f"the OME-XML of {place} is not kept: it declares entities, which may name other files"
    return redact(text).encode(), ""


def _of_tiff(path: Path) -> bytes | None:
    from ssi_pipeline.tiff.opening import open_tiff

    with open_tiff(path, f"input {path}", scene=0).tif as tif:
        return (tif.ome_metadata or "").encode(errors="replace") if tif.is_ome else None


def _beside(place: Place) -> bytes | None:
    """Return the file in a collection, or in the one that an image is in; what is too large is not read whole."""
    if isinstance(place, Path) and not place.is_dir():
        return None
    for folder in (place, place.parent) if isinstance(place, Url) or place.name else (place,):
        store = store_of(folder / FOLDER)
        if (found := store.look(FILE)) is not None:
            return b"?" * (_LARGEST + 1) if found.size > _LARGEST else store.read(FILE)
    return None
