"""Parts of a run for job arrays: ranges of tiles, each with its own lock and ledger.

Parts write no common file: concurrent appends from several machines lose lines on network file systems.
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
"""Most parts. SLURM's limit for an array is 4 million, that of most sites 1001."""


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """Part ``number`` (from 1) of ``count``."""

    count: int
    number: int

    def __str__(self) -> str:
        """Return the name for messages."""
        return f"part {self.number} of {self.count}"

    @property
    def option(self) -> str:
        """Value of the command-line option."""
        return f"{self.number}/{self.count}"

    @property
    def name(self) -> str:
        """Name in file names."""
        return f"part-{self.number}-of-{self.count}"

    def tiles(self, n_tiles: int) -> range:
        """Return its range of tiles; ranges are consecutive, and their lengths differ by at most 1."""
        return range((self.number - 1) * n_tiles // self.count, self.number * n_tiles // self.count)


def parse_part(text: str) -> Part:
    """Read k/n.

    Raises
    ------
    ConfigError
        The text is not k/n with k from 1 to n.
    """
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    if match is None or not 1 <= int(match[1]) <= int(match[2]) <= MOST_PARTS:
        raise ConfigError(
            f"--part is {text[:40]!r}, expected k/n with k from 1 to n, for instance --part 3/8 for the third of "
            f"eight, and n of at most {MOST_PARTS}"
        )
    return Part(int(match[2]), int(match[1]))


def part_lock(paths: StatePaths, part: Part) -> Path:
    """Return the lock of a part."""
    return paths.root / f"lock-{part.name}"


def part_ledger(paths: StatePaths, part: Part) -> Path:
    """Return the ledger of a part; it is merged into the run's own and then removed."""
    return paths.root / f"ledger-{part.name}.jsonl"


def part_log(paths: StatePaths, part: Part) -> Path:
    """Return the log of a part."""
    return paths.root / f"run-{part.name}.log"


def part_progress(paths: StatePaths, part: Part) -> Path:
    """Return the last progress snapshot of a part."""
    return paths.root / f"progress-{part.name}.json"


def part_calls(paths: StatePaths, part: Part) -> Path:
    """Return the calls on a part."""
    return paths.root / f"calls-{part.name}.jsonl"


def parts_with_ledger(paths: StatePaths) -> list[Part]:
    """Return the parts whose ledger is not merged yet."""
    return _found(paths, "ledger-{}.jsonl")


def parts_with_lock(paths: StatePaths) -> list[Part]:
    """Return the parts that are running or were killed."""
    return _found(paths, "lock-{}")


def working_parts(paths: StatePaths) -> list[tuple[Part, Held]]:
    """Return the likely running parts and their holders, without waiting."""
    looked = [(part, look_at_lock(part_lock(paths, part))) for part in parts_with_lock(paths)]
    return [(part, held) for part, held in looked if held is not None]


def ledger_paths(paths: StatePaths) -> list[Path]:
    """Return all ledgers of a run in order of evaluation: its own, then those of parts."""
    return [paths.ledger, *(part_ledger(paths, part) for part in parts_with_ledger(paths))]


def _found(paths: StatePaths, pattern: str) -> list[Part]:
    wanted = re.compile(re.escape(pattern).replace(re.escape("{}"), _NAME.pattern))
    names = [file.name for file in paths.root.glob(pattern.format("part-*-of-*"))]
    matches = [match for name in names if (match := wanted.fullmatch(name))]
    return sorted(Part(int(match[2]), int(match[1])) for match in matches)


def save_count(paths: StatePaths, count: int) -> None:
    """Save the number of parts of a run."""
    if read_count(paths) != count:
        write_text(_count_file(paths), f"{count}\n")


def read_count(paths: StatePaths) -> int | None:
    """Return the last number of parts of a run, or None if unknown."""
    try:
        count = int(_count_file(paths).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return count if 1 <= count <= MOST_PARTS else None


def _count_file(paths: StatePaths) -> Path:
    return paths.root / "parts"
