"""A folder of files, one per plane, channel or time point, given by a pattern: ``scan_T{t}_C{c}_Z{z}.tif``."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config.fingerprint import short_digest
from ssi_pipeline.errors import CorruptDataError, InputError, RunChangedError
from ssi_pipeline.geometry import Box, Volume
from ssi_pipeline.geometry.volume import AXES
from ssi_pipeline.storage.inputs.source_protocol import Source, SourceSpec
from ssi_pipeline.storage.outputs.image_metadata import ImageMetadata

PLACE = re.compile(r"\{([^{}]*)\}")
"""A placeholder in a pattern; its group is the letter."""

_LETTERS = "tcz"
_MOST_OPENED = 1000
"""Files whose shape is compared before a run; of more, these many, evenly spread."""

_MOST_NAMES = 3
_MOST_OPEN = 16
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """The files of a pattern.

    ``values``: by letter, in order. ``members``: files by their values, in the order of ``letters``.
    """

    letters: str
    values: dict[str, list[str]]
    members: dict[Key, Path]


def list_members(pattern: Path) -> tuple[str, dict[Key, Path]]:
    """Return the letters of a pattern, and the files that match it by their values.

    Raises
    ------
    InputError
        A placeholder is unknown, or two files have the same place.
    """
    where = f"input {pattern}"
    places = PLACE.findall(str(pattern))
    unknown = [place for place in places if place not in tuple(_LETTERS)]
    if unknown:
        raise InputError(f"{where}: found {{{unknown[0]}}}, expected {{t}}, {{c}} or {{z}} in the name of the file")
    letters = "".join(letter for letter in _LETTERS if letter in places)
    members: dict[Key, Path] = {}
    for path, key in _matches(pattern, letters):
        if members.setdefault(key, path) != path:
            raise InputError(f"{where}: {members[key].name} and {path.name} have the same place; remove one of them")
    return letters, members


def times_of(letters: str, key: Key) -> tuple[int, Key]:
    """Return the number of a file's time point, and its other values."""
    at = letters.index("t")
    return int(key[at]), key[:at] + key[at + 1 :]


def find_members(pattern: Path, frames: int | None = None) -> Found:
    """Return the files that match a pattern, as a complete grid.

    ``frames``: of the first time points alone; None: of all.

    Raises
    ------
    InputError
        A placeholder is unknown, nothing matches, files are missing, or two have the same place.
    """
    where, (letters, members) = f"input {pattern}", list_members(pattern)
    if frames is not None:
        first = sorted({times_of(letters, key)[0] for key in members})[:frames]
        members = {key: path for key, path in members.items() if times_of(letters, key)[0] in first}
    if not members:
        raise InputError(f"{where}: no file matches{_example(pattern)}")
    values = {letter: _sorted({key[i] for key in members}) for i, letter in enumerate(letters)}
    _refuse_missing(values, members, where)
    return Found(letters, values, members)


def _matches(pattern: Path, letters: str) -> Iterable[tuple[Path, Key]]:
    """Yield the files of a pattern with their values; equal numbers of different width are the same value."""
    parts = pattern.parts
    first = next(i for i, part in enumerate(parts) if PLACE.search(part))
    root, tail = Path(*parts[:first]), "/".join(parts[first:])
    seen: set[str] = set()

    def group(place: re.Match[str]) -> str:
        """Return the expression of a placeholder; a letter that comes again has to have the same value."""
        letter = place.group(1)
        if letter in seen:
            return f"(?P={letter})"
        seen.add(letter)
        return f"(?P<{letter}>{'[^/_.]+?' if letter == 'c' else '[0-9]+'})"

    pieces = re.split(r"(\{[^{}]*\})", tail)
    expression = re.compile("".join(PLACE.sub(group, p) if PLACE.fullmatch(p) else re.escape(p) for p in pieces))
    glob = "".join("*" if PLACE.fullmatch(p) else re.sub(r"([\[\]*?])", r"[\1]", p) for p in pieces)
    for path in sorted(root.glob(glob)):
        match = expression.fullmatch(path.relative_to(root).as_posix())
        if match:
            yield path, tuple(_plain(match.group(letter)) for letter in letters)


def _plain(value: str) -> str:
    return str(int(value)) if value.isdigit() else value


def _sorted(values: set[str]) -> list[str]:
    return sorted(values, key=lambda v: (not v.isdigit(), int(v) if v.isdigit() else 0, v))


def _refuse_missing(values: dict[str, list[str]], members: dict[Key, Path], where: str) -> None:
    lacking = [key for key in itertools.product(*values.values()) if key not in members]
    if lacking:
        names = [", ".join(f"{a} {v}" for a, v in zip(values, key, strict=True)) for key in lacking[:_MOST_NAMES]]
        raise InputError(
            f"{where}: {len(lacking)} of {len(lacking) + len(members)} files are missing, for instance for "
            f"{'; '.join(names)}. Copy them, or use a pattern that leaves their place out"
        )
    for letter in "tz":
        numbers = [int(v) for v in values.get(letter, ())]
        steps = set(np.diff(numbers).tolist())
        if len(steps) > 1:
            gap = next(a for a, b in itertools.pairwise(numbers) if b - a > min(steps))
            raise InputError(
                f"{where}: the numbers of {letter} go from {numbers[0]} to {numbers[-1]} with a gap after {gap}: "
                "a file is missing, or the planes are not equally spaced. Copy it, or renumber the files"
            )


def _example(pattern: Path) -> str:
    folder = pattern.parent
    names = sorted(p.name for p in folder.iterdir())[:_MOST_NAMES] if folder.is_dir() else []
    return f"; {folder} has for instance {', '.join(names)}" if names else f"; check the folder {folder}"


class FolderSource:
    """Files of equal shape as one image; each may be of any format that can be read.

    Parameters
    ----------
    spec
        Its path has placeholders; its axes and voxel size are those of one file. The distance of planes in z, if they
        are files of their own, is ``voxel_size_um: {z: ...}``.
    open_file
        Opens one file.
    """

    def __init__(self, spec: SourceSpec, open_file: Callable[[SourceSpec], Source]) -> None:
        self._spec, self._pattern = spec, Path(str(spec.path))
        self._open = functools.lru_cache(maxsize=_MOST_OPEN)(open_file)
        self._found = find_members(self._pattern, spec.frames)
        if spec.frames is not None and (there := len(self._found.values["t"])) < spec.frames:
            raise RunChangedError(
                f"input {self._pattern} has {there} time points: expected the {spec.frames} that it had. Restore the "
                "files, or start over with `ssi run --new`"
            )
        first = self._member(next(iter(self._found.members)))
        self._one = first.volume
        self.volume, self.metadata = self._describe(first)

    def _member(self, key: Key) -> Source:
        # the z of the user's voxel size is of the whole image
        spec = replace(self._spec, path=str(self._found.members[key]), voxel_size_um=None, frames=None)
        return self._open(spec)

    def _describe(self, first: Source) -> tuple[Volume, ImageMetadata]:
        letters, where = self._found.letters, f"input {self._pattern}"
        own = dict(zip("tczyx", first.volume.shape, strict=True))
        both = [a for a in letters if own[a] > 1]
        if both:
            raise InputError(
                f"{where}: each file has {own[both[0]]} of {both[0]}, and {{{both[0]}}} numbers the files; remove the "
                "placeholder, or name the axes of one file with input.axes"
            )
        shape = tuple(len(self._found.values[a]) if a in letters else own[a] for a in AXES)
        axes = "".join(a for a in AXES if a in letters or a in first.volume.axes)
        inner = first.metadata.only("".join(a for a in first.volume.axes if a not in letters))
        if "c" in letters:
            labels = self._found.values["c"]
            named = not any(label.isdigit() for label in labels)
            inner = replace(inner, omero={"channels": [{"label": label} for label in labels]} if named else {})
        metadata = inner.with_voxel_size(self._spec.voxel_size_um)
        names = metadata.channel_names
        t, c, z, y, x = shape
        size = metadata.voxel_size_um(axes)
        return Volume(axes, (t, c, z, y, x), first.volume.dtype, size, names if len(names) == c else ()), metadata

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the first file, after comparing the shapes of the files.

        Raises
        ------
        InputError
            A file is damaged, or has another shape or type of pixels.
        """
        keys = list(self._found.members)
        step = max(1, len(keys) // _MOST_OPENED)
        for key in keys[::step]:
            self._same(key, InputError)
        rest = f"; {len(keys[::step])} of {len(keys)} files were opened before the run" if step > 1 else ""
        if self._spec.frames is not None:  # there will be more
            return self._member(keys[0]).notes
        return (*self._member(keys[0]).notes, f"{len(keys)} files of {self._pattern.name} are read as one image{rest}")

    def _same(self, key: Key, kind: type[InputError] | type[CorruptDataError]) -> Source:
        member = self._member(key)
        found, one = member.volume, self._one
        if (found.shape, found.dtype) != (one.shape, one.dtype):
            raise kind(
                f"{self._found.members[key]} has t c z y x {found.shape} of {found.dtype}, and the first file "
                f"{one.shape} of {one.dtype}; expected equal files"
            )
        return member

    def read(self, t: int, c: int, box: Box) -> NDArray[Any]:
        """Return the pixels of a box (z y x positions in the image), axes z y x, native dtype.

        Raises
        ------
        ValueError
            The box is not inside the image.
        CorruptDataError
            A file is missing, damaged or of another shape; names it.
        """
        many = dict(zip(AXES, self.volume.shape, strict=True))
        if not (0 <= t < many["t"] and 0 <= c < many["c"] and 0 <= box.start[0] < box.stop[0] <= many["z"]):
            raise ValueError(f"t {t}, c {c}, z {box.start[0]} to {box.stop[0]} is not inside {self.volume.shape}")
        letters = self._found.letters
        if "z" not in letters:
            return self._read_one({"t": t, "c": c}, box)
        flat = Box((0, *box.start[1:]), (1, *box.stop[1:]))
        planes = [self._read_one({"t": t, "c": c, "z": z}, flat) for z in range(box.start[0], box.stop[0])]
        return np.concatenate(planes)

    def _read_one(self, at: dict[str, int], box: Box) -> NDArray[Any]:
        letters, values = self._found.letters, self._found.values
        key = tuple(values[a][at[a]] for a in letters)
        try:
            member = self._same(key, CorruptDataError)
        except InputError as error:
            raise CorruptDataError(f"{self._found.members[key]} cannot be read: {error}") from error
        return member.read(0 if "t" in letters else at["t"], 0 if "c" in letters else at["c"], box)

    def stamp(self) -> dict[str, Any]:
        """Return the number of files, and a digest of their names and sizes."""
        lines = [f"{path.name} {path.stat().st_size}" for path in self._found.members.values()]
        digest = short_digest("\n".join(lines).encode())
        return {"bytes": sum(int(line.rsplit(" ", 1)[1]) for line in lines), "metadata": {"files": digest}}

    def files(self) -> list[Path]:
        """Return the files, in the order of their names."""
        return list(self._found.members.values())
