"""Multi-file OME-TIFF: a master and its members, or a companion file and members."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from ssi_pipeline.errors import InputError
from ssi_pipeline.tiff.directories import read_directories
from ssi_pipeline.tiff.foreign import refuse_foreign

COMPANION = ".companion.ome"
_LARGEST_XML = 2**29
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class OmeNames:
    """Files named in an OME-XML document.

    ``metadata_file``: file of the metadata if not this one (BinaryOnly), else None. ``members``: other
    files of planes, in the document's order.
    """

    metadata_file: str | None
    members: tuple[str, ...]


def read_names(xml: str, own: str, where: str) -> OmeNames:
    """Return the files named in the OME-XML of the file ``own``.

    Raises
    ------
    InputError
        The XML cannot be parsed.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise InputError(f"{where}: its OME-XML cannot be read ({error}): copy the file again") from error
    binary_only = root.find("{*}BinaryOnly")
    if binary_only is not None:
        return OmeNames(binary_only.get("MetadataFile", ""), ())
    names: dict[str, None] = {}
    for uuid in root.iterfind(".//{*}TiffData/{*}UUID"):
        name = uuid.get("FileName", "")
        # a renamed file is still identified by its own UUID
        is_own = name.lower() == own.lower() or (uuid.text is not None and uuid.text == root.get("UUID"))
        if name and not is_own:
            names[name] = None
    return OmeNames(None, tuple(names))


def read_companion(path: Path, where: str) -> str:
    """Return the text of a companion file.

    Raises
    ------
    InputError
        It is not a complete OME-XML document.
    """
    if path.stat().st_size > _LARGEST_XML:
        raise InputError(f"{where} has more than {_LARGEST_XML} bytes; expected OME-XML")
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if not text.rstrip().endswith("OME>"):
        raise InputError(f"{where} does not end with </OME>: it is truncated, or not OME-XML")
    return text


def find_members(folder: Path, names: OmeNames, where: str) -> list[Path]:
    """Return the files of planes; tifffile would fill missing ones with zeros.

    Raises
    ------
    InputError
        One is missing, truncated, or not a TIFF.
    """
    files = [folder / name for name in names.members]
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        shown = ", ".join(absent[:_SHOWN]) + (", ..." if len(absent) > _SHOWN else "")
        raise InputError(
            f"{where}: its OME-XML names {len(files)} more file(s) of planes, of which {len(absent)} are missing "
            f"in {folder}: {shown}. Copy them there under these names"
        )
    for file in files:
        refuse_foreign(file, f"{where}: its file of planes {file.name}")
        problem = read_directories(file).problem
        if problem:
            raise InputError(f"{where}: its file of planes {file.name} is truncated: {problem}; copy it again")
    return files


def member_error(names: OmeNames, folder: Path, where: str) -> InputError:
    """Return the error for a file of planes whose metadata are in another file."""
    master = names.metadata_file or "(not named)"
    found = "" if (folder / master).is_file() else f", which is not in {folder}: copy the whole set there"
    return InputError(
        f"{where} contains some planes of an OME-TIFF set; the metadata are in its master file {master}{found}. "
        f"Give the master instead: {folder / master}"
    )
