"""Start two clients at one output at the same moment, again and again, and see that one works and no more.

    python benchmarks/two_clients.py              100 starts, shared by all combinations
    python benchmarks/two_clients.py --short      one start of a few of them

Combinations of {one state folder, two} and {whole runs, parts of one run, parts of other numbers, the finish, --new,
the resume of a run that was killed}. Of each start: one client works (or both, where they are parts of one run), the
other is refused with the stable exit status 2 and a reason (or waited while the first was setting up, and worked when
that one had ended: when each of them worked is recorded), and what is made is complete, verified and equal to the
byte to what one undisturbed client makes. The clients are processes that have imported everything and wait for the
same file to appear; each batch of tiles takes 0.3 s, so that they meet.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import yaml
import zarr
from _two_clients import Arguments, Combination, at_once, combinations, judge
from kill import hashes
from scipy import ndimage

from ssi_pipeline.cli import main
from ssi_pipeline.config import load_config
from ssi_pipeline.executors import serial
from ssi_pipeline.exit_status import ExitStatus
from ssi_pipeline.results.status import read_status
from ssi_pipeline.run import verify

BATCH_S = 0.3


@dataclass
class Tally:
    """Results of the starts of one combination."""

    starts: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Case:
    """A volume of eight tiles, with a configuration for each of two state folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rng = np.random.default_rng(0)
        image = rng.poisson(ndimage.gaussian_filter(rng.uniform(0, 3000, (2, 64, 128)), (0, 1, 1))).astype(np.uint16)
        zarr.create_array(folder / "in.zarr", data=image, chunks=(1, 32, 32), dimension_names=("z", "y", "x"))
        self.configs = [self._write(number) for number in (0, 1)]
        self.output = folder / "out.zarr"

    def _write(self, number: int) -> Path:
        document = {
            "input": {"path": "in.zarr"},
            "output": {"path": "out.zarr", "state": f"state-{number}"},
            "psf": {"kind": "gaussian", "fwhm_px": {"y": 2, "x": 2}},
            "solver": "wiener",
            "tiling": {"core": {"y": 64, "x": 32}, "blend": 4},
            "quality": {"extended": False},
            "executor": {"kind": "serial", "device": "cpu"},
        }
        path = self.folder / f"run-{number}.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def clear(self) -> None:
        """Remove everything but the input and the configurations."""
        kept = {"in.zarr", *(path.name for path in self.configs)}
        for path in self.folder.iterdir():
            if path.name not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def prepare(self, before: str) -> None:
        """Bring about what is there before the two start."""
        if before == "half":
            process, _ = self.start(0, (), "before")
            (self.folder / "go").touch()
            until = time.monotonic() + 100
            ledger = self.folder / "state-0" / "ledger.jsonl"
            while time.monotonic() < until and not (ledger.is_file() and ledger.read_bytes().count(b'"solve"') >= 2):
                time.sleep(0.02)
            process.kill()
            process.join()
        elif before != "nothing":
            done = {"complete": [()], "one part": [("--part", "1/2")]}
            for options in done.get(before, [("--part", "1/2"), ("--part", "2/2")]):
                self.do(0, options)
        (self.folder / "go").unlink(missing_ok=True)

    def start(self, number: int, options: Arguments, name: str) -> tuple[multiprocessing.process.BaseProcess, Path]:
        """Start a client, which waits for the file ``go``; returns it and where its words go."""
        words = self.folder / f"{name}.words"
        arguments = ["run", str(self.configs[number]), *options]
        process = _CONTEXT.Process(target=_client, args=(arguments, str(words), str(self.folder / "go")))
        process.start()
        return process, words

    def do(self, number: int, options: Arguments) -> None:
        """Run a client to its end; it must end well."""
        process, words = self.start(number, options, "alone")
        (self.folder / "go").touch()
        process.join()
        if process.exitcode != ExitStatus.COMPLETE:
            raise SystemExit(f"ssi run {' '.join(options)} alone: {process.exitcode}\n{words.read_text()}")

    def complete(self) -> list[str]:
        """Complete the run whose output is there; returns what is wrong with it."""
        token = zarr.open_group(self.output, mode="r").attrs["ssi_pipeline"]["token"]  # type: ignore[index, call-overload]
        (number,) = (n for n in (0, 1) if f'"{token}"' in _text(self.folder / f"state-{n}" / "ssi-state.json"))
        for options in ((), ("--finish",)):
            self.do(number, options)
        config = load_config(self.configs[number])
        status, found = read_status(config), verify(config)
        litter = [p.name for p in self.folder.iterdir() if p.name.startswith(".")]
        partial = [str(p) for p in self.folder.rglob("*.partial")]
        return [
            *([] if status.finished and status.tiles_done == status.tiles else ["not complete"]),
            *([] if found.good else ["not verified"]),
            *(f"left behind: {name}" for name in [*litter, *partial]),
        ]


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def _client(arguments: list[str], words: str, go: str) -> None:
    """Be a client: imported and ready, waiting for ``go``."""
    real: Callable[..., object] = serial.execute

    def slowly(spec: object, jobs: Sequence[object]) -> object:
        """Take a while for each batch."""
        began = time.monotonic()
        time.sleep(BATCH_S)
        records = real(spec, jobs[:1])  # one tile a batch, so that a kill finds some done and some to do
        with open(f"{words}.spans", "a") as spans:
            spans.write(f"{began} {time.monotonic()}\n")
        return records

    serial.execute = slowly  # type: ignore[assignment]
    with open(words, "w", buffering=1) as stream:
        sys.stdout = sys.stderr = stream
        while not Path(go).exists():
            time.sleep(0.001)
        sys.exit(main(arguments))


_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["two_clients", "torch", "ssi_pipeline.run", "ssi_pipeline.tasks.solve_tile"])


def meet(case: Case, combination: Combination, tally: Tally, expected: dict[str, str]) -> None:
    """Start the two once, and judge."""
    case.clear()
    case.prepare(combination.before)
    clients = [
        case.start(number, options, name)
        for name, (number, options) in (("first", combination.first), ("second", combination.second))
    ]
    time.sleep(0.3)  # both are there and wait
    (case.folder / "go").touch()
    for process, _ in clients:
        process.join()
    (case.folder / "go").unlink()
    tally.starts += 1
    codes = [int(process.exitcode or 0) for process, _ in clients]
    said = [words.read_text() for _, words in clients]
    tally.ends[" ".join(map(str, codes))] += 1
    spans = [_spans(words) for _, words in clients]
    if combination.both or codes != [ExitStatus.COMPLETE, ExitStatus.COMPLETE] or at_once(*spans):
        tally.wrong += judge(combination, codes, said)
    else:
        tally.ends["one after the other"] += 1
    for _, words in clients:
        words.unlink()
    tally.wrong += case.complete()
    if hashes(case.output) != expected:
        tally.wrong.append("other bytes than those of an undisturbed run")


def _spans(words: Path) -> list[tuple[float, float]]:
    """Return when a client worked on its batches."""
    lines = _text(words.with_name(words.name + ".spans")).splitlines()
    return [(float(began), float(ended)) for began, ended in map(str.split, lines)]


def measure(count: int, chosen: Sequence[Combination]) -> dict[str, Tally]:
    """Start two clients ``count`` times, of each combination in turn."""
    tallies = {combination.name: Tally() for combination in chosen}
    with tempfile.TemporaryDirectory(prefix="ssi-two-") as name:
        case = Case(Path(name))
        case.do(0, ())
        expected = hashes(case.output)
        for combination in islice(cycle(chosen), count):
            tally = tallies[combination.name]
            meet(case, combination, tally, expected)
            print(f"{combination.name}: {dict(tally.ends)} {tally.wrong}", flush=True)
    return tallies


def report(tallies: dict[str, Tally]) -> str:
    """Return the table, in markdown."""
    rows = [
        f"| {name} | {tally.starts} | {', '.join(f'{n} x {ends}' for ends, n in tally.ends.items())} | "
        f"{'; '.join(tally.wrong) or 'none'} |"
        for name, tally in tallies.items()
        if tally.starts
    ]
    starts, wrong = (sum(values) for values in zip(*((t.starts, len(t.wrong)) for t in tallies.values()), strict=True))
    return "\n".join(
        [
            f"{time.strftime('%Y-%m-%d')}: {starts} starts of two clients, {wrong} things wrong.",
            "",
            "| combination | starts | exit statuses of the two | wrong |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns 1 where anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="starts in all (default: 100)")
    parser.add_argument("--short", action="store_true", help="one start of each of four combinations")
    options = parser.parse_args(arguments)
    chosen = combinations()
    if options.short:
        wanted = ("parts of one run", "two state folders: whole runs", "two state folders: --new twice")
        chosen = [c for c in chosen if c.name in (*wanted, "one state folder: parts of other numbers")]
    tallies = measure(len(chosen) if options.short else options.count, chosen)
    print(report(tallies))
    return 1 if any(tally.wrong for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(run())
