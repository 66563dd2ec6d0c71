"""A part of a run: a range of its tiles, with a lock and a ledger of its own in the state folder.

Parts share nothing that two of them write: appending to one file from several machines loses lines on network
file systems.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ssi_pipeline.errors import ConfigError
from ssi_pipeline.storage.atomic import write_text
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.lock import Held, look_at_lock

_NAME = re.compile(r"part-(\d{1,9})-of-(\d{1,9})")

MOST_PARTS = 1_000_000
"""SLURM's own limit for an array is 4 million, and that of most sites is 1001."""


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """Part ``number`` (from 1) of ``count``."""

    count: int
    number: int

    def __str__(self) -> str:
        """Return its name in messages."""
        return f"part {self.number} of {self.count}"

    @property
    def option(self) -> str:
        """What the command line calls it."""
        return f"{self.number}/{self.count}"

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"part-{self.number}-of-{self.count}"

    def tiles(self, n_tiles: int) -> range:
        """Return its tiles; the ranges of all parts follow one another, and their lengths differ by 1 at most."""
        return range((self.number - 1) * n_tiles // self.count, self.number * n_tiles // self.count)


def parse_part(text: str) -> Part:
    """Read k/n.

    Raises
    ------
    ConfigError
        It is something else, or k is not from 1 to n.
    """
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    if match is None or not 1 <= int(match[1]) <= int(match[2]) <= MOST_PARTS:
        raise ConfigError(
            f"--part is {text[:40]!r}, expected k/n with k from 1 to n, for instance --part 3/8 for the third of "
            f"eight, and n of at most {MOST_PARTS}"
        )
    return Part(int(match[2]), int(match[1]))


def part_lock(paths: StatePaths, part: Part) -> Path:
    """Return the lock that a part holds while it works."""
    return paths.root / f"lock-{part.name}"


def part_ledger(paths: StatePaths, part: Part) -> Path:
    """Return the ledger of a part; it is merged into the run's own and then removed."""
    return paths.root / f"ledger-{part.name}.jsonl"


def part_log(paths: StatePaths, part: Part) -> Path:
    """Return the plain lines about a part's progress."""
    return paths.root / f"run-{part.name}.log"


def part_progress(paths: StatePaths, part: Part) -> Path:
    """Return a working part's last words on rate and time left."""
    return paths.root / f"progress-{part.name}.json"


def parts_with_ledger(paths: StatePaths) -> list[Part]:
    """Return the parts whose ledger is not merged yet."""
    return _found(paths, "ledger-{}.jsonl")


def parts_with_lock(paths: StatePaths) -> list[Part]:
    """Return the parts that work, or were killed."""
    return _found(paths, "lock-{}")


def working_parts(paths: StatePaths) -> list[tuple[Part, Held]]:
    """Return the parts that seem to work, and who does, at once."""
    looked = [(part, look_at_lock(part_lock(paths, part))) for part in parts_with_lock(paths)]
    return [(part, held) for part, held in looked if held is not None]


def ledger_paths(paths: StatePaths) -> list[Path]:
    """Return all ledgers of a run in the order in which they count: its own, then those of parts."""
    return [paths.ledger, *(part_ledger(paths, part) for part in parts_with_ledger(paths))]


def _found(paths: StatePaths, pattern: str) -> list[Part]:
    wanted = re.compile(re.escape(pattern).replace(re.escape("{}"), _NAME.pattern))
    names = [file.name for file in paths.root.glob(pattern.format("part-*-of-*"))]
    matches = [match for name in names if (match := wanted.fullmatch(name))]
    return sorted(Part(int(match[2]), int(match[1])) for match in matches)


def save_count(paths: StatePaths, count: int) -> None:
    """Remember into how many parts a run is cut, also when nothing of them is left."""
    if read_count(paths) != count:
        write_text(_count_file(paths), f"{count}\n")


def read_count(paths: StatePaths) -> int | None:
    """Return into how many parts a run was last cut, None where it never was, or the file does not say any more."""
    try:
        count = int(_count_file(paths).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return count if 1 <= count <= MOST_PARTS else None


def _count_file(paths: StatePaths) -> Path:
    return paths.root / "parts"
