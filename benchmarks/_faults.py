"""What all faults share: one case, the image of a run that nobody disturbs, and the account of what a fault cost."""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import _inject
import yaml
from kill import TILES, hashes, ledger_of, output_of, solved, write_case
from s3_server import BUCKET, S3

from ssi_pipeline.config import load_config
from ssi_pipeline.config.url import Place
from ssi_pipeline.run import verify
from ssi_pipeline.storage.state.ledger import read_records

SSI = (sys.executable, "-m", "ssi_pipeline.cli")
SHARD = {"z": 1, "y": 48, "x": 80}
"""One block for each tile, so that a harmed one is told from its neighbours."""

_PATIENCE_S = 300.0
_KILLED = 128 + signal.SIGKILL


@dataclass(frozen=True)
class Call:
    """One `ssi run` as a process, and the file of its words."""

    process: subprocess.Popen[bytes]
    words: Path

    def end(self, seconds: float = _PATIENCE_S) -> int:
        """Return its exit status, as a shell has it."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"no end after {seconds:.0f} s: {self.text()}") from None
        return status if status >= 0 else 128 - status

    def kill(self) -> None:
        """SIGKILL to the client, and some moments for its workers to see that it is gone."""
        self.process.kill()
        self.process.wait()
        time.sleep(0.5)

    def text(self) -> str:
        """Return what it said."""
        return self.words.read_text(errors="replace")

    def wait_for(self, condition: Callable[[], bool], seconds: float = _PATIENCE_S) -> None:
        """Wait until something is so, while the client lives."""
        until = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None or time.monotonic() > until:
                self.process.kill()
                raise RuntimeError(f"what was waited for has not come: {self.text()}")
            time.sleep(0.05)


@dataclass(frozen=True)
class Case:
    """A volume of 24 tiles and its configuration, in a folder of its own."""

    config: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def output(self) -> Place:
        """The image: a folder, or a URL."""
        return output_of(self.config)

    @property
    def state(self) -> Path:
        """Ledger, scratch, logs."""
        return ledger_of(self.config).parent

    def start(
        self, *options: str, program: tuple[str, ...] = SSI, environment: dict[str, str] | None = None, **inject: Any
    ) -> Call:
        """Start `ssi run` as a shell does; ``inject``: see _inject.py."""
        folder = self.config.parent.with_name(f"{self.config.parent.name}-words")  # not on a disk that is made full
        folder.mkdir(exist_ok=True)
        words = folder / f"{next(self._numbers)}.txt"
        variables = {**os.environ, **(environment or {}), **(_inject.environment(**inject) if inject else {})}
        command = [*program, "run", *options, str(self.config)]
        with words.open("wb") as log:
            process = subprocess.Popen(command, env=variables, stdout=log, stderr=log, start_new_session=True)
        _started.append(process)
        return Call(process, words)

    def change(self, **executor: Any) -> None:
        """Change the configuration's section of the executor."""
        document = yaml.safe_load(self.config.read_text())
        document["executor"].update(executor)
        self.config.write_text(yaml.safe_dump(document))

    def done(self) -> int:
        """Count the tiles that are recorded."""
        return len(solved(self.config))

    def begun(self) -> int:
        """Count how often a tile was begun, by the workers' logs."""
        texts = (path.read_text(errors="replace") for path in (self.state / "logs").glob("*.log"))
        return sum(len(re.findall(r" solve/\d+ .*\| started$", text, re.MULTILINE)) for text in texts)

    def indices(self, kind: str, status: str) -> list[int]:
        """Return the indices of the records of one kind and status, in the order of writing."""
        return [r.index for r in read_records(ledger_of(self.config)) if (r.kind, r.status) == (kind, status)]


@dataclass(frozen=True)
class Undisturbed:
    """A run without any fault: digests of its files, seconds, bytes in its folder before and after."""

    image: dict[str, str]
    seconds: float
    before: int
    after: int


@dataclass
class Bench:
    """Where the faults are tried. ``few``: as often as in the short form. ``s3``: where outputs are; None: a disk."""

    folder: Path
    few: bool
    rng: random.Random
    s3: S3 | None = None
    _undisturbed: dict[str, Undisturbed] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def times(self, few: int, many: int) -> range:
        """Count the injections of the short and of the long form."""
        return range(few if self.few else many)

    def new_folder(self) -> Path:
        """Make a folder for a case."""
        folder = self.folder / f"case-{next(self._numbers)}"
        folder.mkdir()
        return folder

    def case(self, solver: str = "wiener", folder: Path | None = None, **executor: Any) -> Case:
        """Write the case anew; ``wiener``: tiles of a tenth of a second, ``ssi``: of a second of training."""
        folder = folder or self.new_folder()
        config = write_case(folder)
        document = yaml.safe_load(config.read_text())
        document["solver"] = solver
        document["output"] = {"path": "out.zarr", "shard": SHARD, "chunk": SHARD}
        if self.s3 is not None:
            document["output"] |= {"path": f"s3://{BUCKET}/{folder.name}/out.zarr", "state": "out.zarr.run"}
            document["storage"] = {"endpoint": self.s3.endpoint}
        document["tiling"]["blend"] = 4  # tiles go through scratch, and blocks wait for several of them
        document["executor"].update(executor)
        config.write_text(yaml.safe_dump(document))
        return Case(config)

    def undisturbed(self, solver: str = "wiener") -> Undisturbed:
        """Return what a run without any fault makes, and takes."""
        if solver not in self._undisturbed:
            case, began = self.case(solver), time.monotonic()
            before = used_bytes(case.config.parent)
            call = case.start()
            if call.end() != 0:
                raise RuntimeError(f"a run without any fault failed: {call.text()}")
            seconds, after = time.monotonic() - began, used_bytes(case.config.parent)
            self._undisturbed[solver] = Undisturbed(hashes(case.output), seconds, before, after)
        return self._undisturbed[solver]

    def expected(self, solver: str = "wiener") -> dict[str, str]:
        """Return the digests of the image that an undisturbed run makes."""
        return self.undisturbed(solver).image


def used_bytes(folder: Path) -> int:
    """Return what the files below a folder take on a tmpfs, which counts in pages."""
    sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return sum(-(-size // mmap.PAGESIZE) * mmap.PAGESIZE for size in sizes)


@dataclass
class Tally:
    """What a fault came to. ``wrong``: expectations that were not met."""

    times: int = 0
    ends: list[int] = field(default_factory=list)
    images: int = 0
    equal: int = 0
    lost: int = 0
    again: int = 0
    wrong: list[str] = field(default_factory=list)

    def expect(self, met: bool, what: str) -> None:
        """Note an expectation that was not met."""
        if not met:
            self.wrong.append(what)

    def ended(self, call: Call, status: int | tuple[int, ...], *phrases: str) -> None:
        """Wait for the end of a call, which should have a status (or one of several) and say some words."""
        found = call.end()
        self.ends.append(found)
        expected = status if isinstance(status, tuple) else (status,)
        self.expect(found in expected, f"status {found}, expected {status}: {call.text()[-2000:]}")
        for phrase in phrases:
            self.expect(phrase in call.text(), f"{phrase!r} not said: {call.text()[-2000:]}")

    def killed(self, call: Call) -> None:
        """Kill a client."""
        call.kill()
        self.times += 1
        self.ends.append(_KILLED)

    def judge(self, case: Case, expected: dict[str, str], destroyed: bool = False) -> None:
        """Compare the image with the undisturbed one, read all of it back, count what was done twice.

        ``destroyed``: the fault took recorded results away, so that tiles had to be solved once more.
        """
        self.images += 1
        self.equal += hashes(case.output) == expected
        found = verify(load_config(case.config))
        partial = list(case.config.parent.rglob("*.partial"))
        twice = sum(solved(case.config).values()) - TILES
        self.lost += len(found.problems) + found.missing + len(partial) + (0 if destroyed else twice)
        self.again += max(case.begun() - TILES, twice)


@dataclass(frozen=True)
class Fault:
    """One kind of fault. ``missing``: tells why it cannot be injected here, None where it can.

    ``short``: belongs to the short form; the others take long, or have tests of their own.
    """

    name: str
    words: str
    inject: Callable[[Bench, Tally], None]
    missing: Callable[[], str | None] = lambda: None
    short: bool = True


_started: list[subprocess.Popen[bytes]] = []


def end_processes() -> None:
    """End what was started here and is left, with the workers: a client's are of its process group."""
    for process in _started:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    _started.clear()
