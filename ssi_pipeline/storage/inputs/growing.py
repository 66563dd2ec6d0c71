"""What is on disk of a time-lapse that is still being written: its time points, with the state of their files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ssi_pipeline.config import InputConfig
from ssi_pipeline.config.url import Url
from ssi_pipeline.errors import InputError, RunChangedError
from ssi_pipeline.geometry import Volume
from ssi_pipeline.storage.inputs.plane_folder import PLACE, Key, list_members, times_of
from ssi_pipeline.storage.inputs.source import has_image_ending, open_source, spec_of
from ssi_pipeline.storage.inputs.zarr_source import ZarrSource

AHEAD = 64
"""Most time points looked at beyond those that are known: bounds the calls of a look on an array of known length."""

_MOST_NAMES = 3
Mark = tuple[tuple[str, int, int], ...]
"""Name, size and mtime in ns of each file of a time point: equal while nothing is written."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One time point on disk.

    ``number``: in the names of its files, or its index. ``group``: equal for time points that lie in the same files.
    ``lacking``: files that are missing; ``example``: one of them. ``whole``: no further time point can be added to its
    files.
    """

    number: int
    group: int
    mark: Mark
    lacking: int
    example: str = ""
    whole: bool = True

    @property
    def begun(self) -> bool:
        """Whether a file of it exists."""
        return bool(self.mark)


class Growing(Protocol):
    """A time-lapse that is being written."""

    needs_all: bool
    """Whether a missing file means that the time point is incomplete; zarr leaves out chunks of its fill value."""

    def look(self, first: int) -> list[Frame]:
        """Return the time points from the index ``first`` on, consecutive, at most ``AHEAD``.

        Raises
        ------
        RunChangedError
            It has changed along another axis.
        InputError, OSError
            It cannot be read now, or does not exist yet.
        """


def growing_input(section: InputConfig, volume: Volume | None) -> Growing:
    """Return the time-lapse of the section ``input``; it need not exist yet.

    ``volume``: of an earlier call on the same run.

    Raises
    ------
    InputError
        It is of a kind that cannot grow.
    """
    where = f"input {section.path}"
    if isinstance(section.path, Url):
        raise InputError(f"{where} is a URL: --follow reads files. Expected a zarr folder, or files by pattern")
    path = Path(section.path)
    if "{" in str(path):
        if "t" not in PLACE.findall(str(path)):
            raise InputError(f"{where} has no {{t}}: --follow expects files that are numbered by time point")
        return GrowingFolder(path)
    if path.is_file() or has_image_ending(path):
        raise InputError(
            f"{where} is a single file, which is complete only as a whole: --follow expects a zarr folder that grows "
            "along t, or a folder that fills, by pattern: scan_T{t}_Z{z}.tif"
        )
    return GrowingZarr(section, volume)


class GrowingFolder:
    """Files by pattern, of which more and more exist."""

    needs_all = True

    def __init__(self, pattern: Path) -> None:
        self._pattern = pattern

    def look(self, first: int) -> list[Frame]:
        """Return the time points from ``first`` on; see ``Growing.look``. Their numbers are consecutive."""
        letters, members = list_members(self._pattern)
        by_number: dict[int, dict[Key, Path]] = {}
        for key, path in members.items():
            number, rest = times_of(letters, key)
            by_number.setdefault(number, {})[rest] = path
        if not by_number:
            raise InputError(f"no file matches {self._pattern} yet")
        start = min(by_number)
        # before a run its time points may all be incomplete; then the first one decides
        wanted = set(by_number[start]) if first else {rest for found in by_number.values() for rest in found}
        last = min(max(by_number), start + first + AHEAD)
        others = letters.replace("t", "")
        return [self._frame(n, by_number.get(n, {}), wanted, others) for n in range(start + first, last + 1)]

    def _frame(self, number: int, found: dict[Key, Path], wanted: set[Key], letters: str) -> Frame:
        if more := sorted(set(found) - wanted):
            raise RunChangedError(
                f"{found[more[0]]} has a place that the first time point lacks: expected an input that grows along t "
                "alone. Remove it, or start over with `ssi run --new`"
            )
        lacking = sorted(wanted - set(found))
        named = (f"{letter} {value}" for letter, value in zip(letters, lacking[0], strict=True)) if lacking else ()
        example = f"{self._pattern.name} with {', '.join([f't {number}', *named])}"
        return Frame(number, number, mark_of(found[rest] for rest in sorted(found)), len(lacking), example)


class GrowingZarr:
    """A zarr image whose length along t grows, or is known, and whose chunks appear."""

    needs_all = False

    def __init__(self, section: InputConfig, volume: Volume | None) -> None:
        self._spec, self._known = spec_of(section), volume

    def look(self, first: int) -> list[Frame]:
        """Return the time points from ``first`` on; see ``Growing.look``."""
        source = open_source(self._spec)
        if not isinstance(source, ZarrSource) or "t" not in source.volume.axes:
            raise RunChangedError(
                f"input {self._spec.path} has the axes {source.volume.axes}: --follow expects an image with t"
            )
        self._refuse_other_shape(source.volume, first)
        length, step = source.volume.shape[0], source.frames_per_file
        frames: list[Frame] = []
        for t in range(first, min(length, first + AHEAD)):
            if t % step == 0 or not frames:
                files = [Path(str(file)) for file in source.files_at(t)]
                mark = mark_of(files)
                there = {name for name, _, _ in mark}
                missing = [str(file) for file in files if str(file) not in there]
            whole = (t // step + 1) * step <= length
            frames.append(Frame(t, t // step, mark, len(missing), next(iter(missing), ""), whole))
        return frames

    def _refuse_other_shape(self, volume: Volume, first: int) -> None:
        """Refuse an image of another shape than before, but for its growth along t."""
        known = self._known or volume
        same = replace(volume, shape=known.shape)
        if same != known or volume.shape[1:] != known.shape[1:] or volume.shape[0] < max(first, known.shape[0]):
            raise RunChangedError(
                f"input {self._spec.path} has t c z y x {volume.shape} of {volume.dtype}, and had {known.shape} of "
                f"{known.dtype}: expected growth along t alone. Restore it, or start over with `ssi run --new`"
            )
        self._known = volume


def mark_of(files: Iterable[Path]) -> Mark:
    """Return path, size and mtime of those files that exist."""
    found = []
    for path in files:
        try:
            stat = os.stat(path)
        except FileNotFoundError:
            continue
        found.append((str(path), stat.st_size, stat.st_mtime_ns))
    return tuple(found)
