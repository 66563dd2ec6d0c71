"""Kill `ssi run` in each of its phases, resume it, and compare the image with one of an undisturbed run.

    python benchmarks/kill_phases.py --count 200     200 SIGKILLs; writes docs/reliability-kill-phases.md
    python benchmarks/kill_phases.py --short         one kill in each phase, writes nothing

A client is killed (with its workers, one process group) up to a quarter of a second after the first sign of a phase.
The same command resumes, is killed in the next phase, and so on; the last call of a chain must end with 0, the image be
equal to the byte, `ssi verify` good, and no partly written file left.
"""

from __future__ import annotations

import argparse
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import yaml
import zarr
from kill import forget, hashes, ledger_of, start, undisturbed
from scipy import ndimage

from ssi_pipeline.config import load_config
from ssi_pipeline.run import verify

_AFTER_S = 0.25
"""Longest time between the sign of a phase and the kill: most phases of the small case are over by then."""

_PATIENCE_S = 60.0
_EXECUTORS: tuple[dict[str, object], ...] = (
    {"kind": "serial", "device": "cpu"},
    {"kind": "dask", "workers": 2, "memory_gib": 2, "device": "cpu"},
)


@dataclass(frozen=True)
class Chain:
    """One run: the phases in which it was killed, and whether it came to the same end."""

    executor: str
    phases: list[str]
    status: int
    same: bool
    sound: bool

    @property
    def good(self) -> bool:
        """Whether nothing was lost."""
        return self.status == 0 and self.same and self.sound


def write_case(folder: Path, executor: dict[str, object]) -> Path:
    """Write a volume of 16 tiles with a pyramid and an uncertainty map; returns its configuration."""
    rng = np.random.default_rng(0)
    points = np.zeros((2, 96, 512))
    points[tuple(rng.integers(0, n, 200) for n in points.shape)] = rng.uniform(500, 4000, 200)
    image = rng.poisson(ndimage.gaussian_filter(points, (0, 1.3, 1.3)) * 12 + 100).astype(np.uint16)
    zarr.create_array(folder / "in.zarr", data=image, chunks=(1, 48, 64), dimension_names=("z", "y", "x"))
    document = {
        "input": {"path": "in.zarr"},
        "output": {"path": "out.zarr", "uncertainty": 2},
        "psf": {"kind": "gaussian", "fwhm_px": {"y": 3, "x": 3}},
        "tiling": {"core": {"y": 48, "x": 128}},
        "solver": "wiener",
        "executor": executor,
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def _recorded(kind: str) -> Callable[[Path], bool]:
    needle = f'"{kind}"'.encode()

    def sign(config: Path) -> bool:
        """Tell whether a task of the kind is recorded."""
        path = ledger_of(config)
        return path.exists() and needle in path.read_bytes()

    return sign


def _state(pattern: str) -> Callable[[Path], bool]:
    return lambda config: any((config.parent / "out.zarr.run").glob(pattern))


PHASES: dict[str, Callable[[Path], bool]] = {
    "imports": lambda _: True,
    "state folder": _state("*"),
    "output": lambda config: (config.parent / "out.zarr").exists(),
    "ledger": _state("ledger.jsonl"),
    "calibration": _recorded("calibrate"),
    "tiles": _recorded("solve"),
    "blocks": _recorded("stitch"),
    "pyramid": _recorded("pyramid"),
    "metrics": lambda config: (config.parent / "out.zarr" / "quality").exists(),
    "complete": lambda config: b'"complete"' in _attributes(config),
}
"""Phases of a run in their order, each with the sign on disk that it has begun."""


def _attributes(config: Path) -> bytes:
    path = config.parent / "out.zarr" / "zarr.json"
    return path.read_bytes() if path.exists() else b""


def kill_in(config: Path, phase: str, rng: random.Random) -> bool:
    """Start a client and kill it with its workers in a phase; returns False where it ended before."""
    client = start(config)
    until = time.monotonic() + _PATIENCE_S
    if phase == "imports":
        time.sleep(rng.uniform(0, 2))
    while client.poll() is None and not PHASES[phase](config) and time.monotonic() < until:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, _AFTER_S))
    ended = client.poll() is not None
    _kill_group(client)
    return not ended


def _kill_group(client: subprocess.Popen[bytes]) -> None:
    for process in [*_children(client.pid), client]:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    client.wait()


def _children(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def chain(config: Path, executor: str, expected: dict[str, str], rng: random.Random, most: int) -> Chain:
    """Kill one run in up to ``most`` phases, each chosen with a chance of two thirds; then finish it."""
    forget(config)
    killed: list[str] = []
    for phase in PHASES:
        if len(killed) < most and rng.random() < 2 / 3 and kill_in(config, phase, rng):
            killed.append(phase)
    status = start(config).wait()
    output, state = config.parent / "out.zarr", config.parent / "out.zarr.run"
    partial = [p for folder in (output, state) for p in folder.rglob("*.partial")]
    beside = list(config.parent.glob(".*partial*"))
    sound = not partial and not beside and status == 0 and verify(load_config(config)).good
    return Chain(executor, killed, status, hashes(output) == expected, sound)


def measure(count: int, rng: random.Random) -> list[Chain]:
    """Kill ``count`` times in all, half of them with each executor."""
    chains: list[Chain] = []
    for number, executor in enumerate(_EXECUTORS):
        with tempfile.TemporaryDirectory(prefix="ssi-kill-") as name:
            config = write_case(Path(name), executor)
            expected, _ = undisturbed(config)
            left = count // 2 + (count % 2 if number else 0)
            while left > 0:
                chains.append(chain(config, str(executor["kind"]), expected, rng, left))
                left -= len(chains[-1].phases)
                print(chains[-1], flush=True)
                if not chains[-1].good:
                    print((config.parent / "words.txt").read_text()[-3000:], flush=True)
    return chains


def report(chains: list[Chain], command: str, seed: int) -> str:
    """Return the table of docs/reliability-kill-phases.md."""
    counts = Counter((phase, c.executor) for c in chains for phase in c.phases)
    rows = [f"| {phase} | {counts[phase, 'serial']} | {counts[phase, 'dask']} |" for phase in PHASES]
    good = sum(c.good for c in chains)
    return "\n".join(
        [
            "# Killed in every phase and resumed",
            "",
            f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, `{command}`, seed {seed}.",
            "SIGKILL of the client and its workers within a quarter of a second after the first sign of a phase; the",
            "same command resumes.",
            "",
            f"- {sum(counts.values())} kills in {len(chains)} runs",
            f"- runs that ended with 0, byte-identical to the undisturbed one, and sound: {good} of {len(chains)}",
            "",
            "| killed in | serial | dask, 2 workers |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def main() -> int:
    """Run the benchmark; returns 1 where a run did not come to the same end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="kills in all")
    parser.add_argument("--seed", type=int, default=None, help="of the moments; random where it is left out")
    parser.add_argument("--short", action="store_true", help="six kills, nothing is written")
    options = parser.parse_args()
    seed = time.time_ns() % 2**32 if options.seed is None else options.seed
    chains = measure(6 if options.short else options.count, random.Random(seed))
    text = report(chains, shlex.join(["python", *sys.argv]), seed)
    print(text)
    if not options.short:
        (Path(__file__).parents[1] / "docs" / "reliability-kill-phases.md").write_text(text)
    return 0 if all(c.good for c in chains) else 1


if __name__ == "__main__":
    sys.exit(main())
