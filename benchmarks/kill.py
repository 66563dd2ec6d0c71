"""Kill `ssi run` again and again, resume it, and compare the image with one that nobody disturbed.

    python benchmarks/kill.py --count 10     10 SIGKILLs of the client, 10 of workers; writes docs/reliability-kill.md
    python benchmarks/kill.py --short        1 and 1, writes nothing

Clients are killed in turn at random moments from their start on, and soon after they recorded a tile; workers at
random moments while tiles are solved.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import yaml
import zarr
from scipy import ndimage

from ssi_pipeline.config import load_config
from ssi_pipeline.config.url import Place
from ssi_pipeline.run import verify
from ssi_pipeline.storage.state.ledger import read_records
from ssi_pipeline.storage.store import store_of

WORKERS = 2
TILES = 24
STEPS = 40
"""Long enough for a kill to find tiles under way, short enough to kill often."""


@dataclass(frozen=True)
class Kill:
    """One kill: who, how long after the client's start, and what it cost.

    ``done``: tiles recorded at that moment. ``unrecorded``: tiles whose estimate was stored, not yet recorded.
    """

    victim: str
    seconds: float
    done: int
    unrecorded: int


@dataclass(frozen=True)
class Finished:
    """A run that was killed and resumed until it was complete.

    ``again``: tiles that the ledger has as solved more than once. ``lost``: batches that workers took with them.
    ``batch``: the most tiles that may have travelled together, half a second of the fastest of them.
    """

    kills: list[Kill]
    calls: int
    again: int
    lost: int
    same: bool
    sound: bool
    batch: int = 1

    @property
    def unrecorded(self) -> int:
        """Tiles whose estimate was stored when the client died before it could record them."""
        return sum(kill.unrecorded for kill in self.kills if kill.victim == "client")


def write_case(folder: Path, **training: object) -> Path:
    """Write a noisy, blurred volume of 24 tiles and its configuration; returns the configuration."""
    rng = np.random.default_rng(0)
    points = np.zeros((2, 96, 480))
    points[tuple(rng.integers(0, n, 400) for n in points.shape)] = rng.uniform(500, 4000, 400)
    image = rng.poisson(ndimage.gaussian_filter(points, (0, 1.3, 1.3)) * 12 + 100).astype(np.uint16)
    names = ("z", "y", "x")
    zarr.create_array(folder / "in.zarr", data=image, chunks=(1, 48, 80), dimension_names=names)
    document = {
        "input": {"path": "in.zarr"},
        "output": {"path": "out.zarr"},
        "psf": {"kind": "gaussian", "fwhm_px": {"y": 3, "x": 3}},
        "tiling": {"core": {"y": 48, "x": 80}},
        "network": {"width": 4, "levels": 2},
        "training": {"steps": STEPS, "patch": 32, "batch": 1, "attempts": 1, **training},
        "executor": {"kind": "dask", "workers": WORKERS, "memory_gib": 2, "device": "cpu"},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def start(config: Path) -> subprocess.Popen[bytes]:
    """Start `ssi run` as a shell would: a process group of its own, words to a file."""
    log = (config.parent / "words.txt").open("ab")
    with log:
        command = [sys.executable, "-m", "ssi_pipeline.cli", "run", str(config)]
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def ledger_of(config: Path) -> Path:
    """Return where the ledger of the case is."""
    return config.parent / "out.zarr.run" / "ledger.jsonl"


def solved(config: Path) -> Counter[int]:
    """Return how often each tile is recorded as solved."""
    records = read_records(ledger_of(config))
    return Counter(r.index for r in records if r.kind == "solve" and r.status == "done")


def unrecorded(config: Path) -> int:
    """Count the tiles in scratch that the ledger does not know."""
    known = solved(config)
    stored = ledger_of(config).parent.glob("scratch*.zarr/[0-9]*.0.0.0.0")
    return sum(int(p.name.split(".")[0]) not in known for p in stored)


def worker_processes(client: int) -> list[psutil.Process]:
    """Return the processes of a client that run tiles."""
    children = psutil.Process(client).children(recursive=True)
    return [child for child in children if _is_copy(child) or "spawn_main" in _command_of(child)]


def _is_copy(process: psutil.Process) -> bool:
    """Return whether the process has the command of its parent, the process of which workers are copies."""
    try:
        parent = process.parent()
    except psutil.Error:
        return False
    return "forkserver" in _command_of(process) and parent is not None and "forkserver" in _command_of(parent)


def _command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def output_of(config: Path) -> Place:
    """Return where the image of the case is: a folder, or a URL."""
    return load_config(config).output.path


def hashes(output: Place) -> dict[str, str]:
    """Return a digest of every file of every resolution level."""
    store = store_of(output)
    names = sorted(entry.key for entry in store.list() if entry.key[0].isdigit())
    return {name: hashlib.sha256(store.read(name)).hexdigest() for name in names}


def undisturbed(config: Path) -> tuple[dict[str, str], float]:
    """Run to the end; returns the digests of the image and the seconds that it took."""
    began = time.monotonic()
    if start(config).wait() != 0:
        raise SystemExit((config.parent / "words.txt").read_text())
    return hashes(output_of(config)), time.monotonic() - began


def forget(config: Path) -> None:
    """Remove the output and its state."""
    output = output_of(config)
    if isinstance(output, Path):
        shutil.rmtree(output, ignore_errors=True)
    for entry in list(store_of(output).list()):
        store_of(output).delete(entry.key)
    shutil.rmtree(ledger_of(config).parent, ignore_errors=True)


def kill_clients(config: Path, expected: dict[str, str], seconds: float, count: int, rng: random.Random) -> Finished:
    """Kill up to ``count`` clients of one run, each at a random moment; then let the last one end."""
    kills: list[Kill] = []
    calls = 0
    while True:
        calls += 1
        client = start(config)
        if len(kills) == count:
            break
        began, known = time.monotonic(), len(solved(config))
        if len(kills) % 2:
            ended = _ends_within(client, rng.uniform(0.1 * seconds, seconds))
        else:
            while client.poll() is None and len(solved(config)) <= known:
                time.sleep(0.02)
            ended = _ends_within(client, rng.uniform(0, 2))
        if ended:
            break
        client.kill()
        client.wait()
        time.sleep(0.3)  # workers end as soon as they see that their client is gone
        kills.append(Kill("client", time.monotonic() - began, len(solved(config)), unrecorded(config)))
    return _finish(config, client, expected, kills, calls)


def kill_workers(config: Path, expected: dict[str, str], count: int, rng: random.Random) -> Finished:
    """Kill up to ``count`` workers of one client, one after the other, while it solves tiles."""
    client, began = start(config), time.monotonic()
    kills: list[Kill] = []
    while len(kills) < count and client.poll() is None and len(solved(config)) < TILES - WORKERS:
        workers = worker_processes(client.pid)
        if solved(config) and len(workers) == WORKERS:
            time.sleep(rng.uniform(0, 2))
            known = len(solved(config))
            if client.poll() is None and known < TILES:
                rng.choice(workers).kill()
                kills.append(Kill("worker", time.monotonic() - began, known, unrecorded(config)))
            while client.poll() is None and len(solved(config)) < min(known + 4, TILES):
                time.sleep(0.1)  # some tiles between two kills, as many as tell that all is well again
        time.sleep(0.05)
    return _finish(config, client, expected, kills, 1)


def _ends_within(client: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        client.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _finish(
    config: Path, client: subprocess.Popen[bytes], expected: dict[str, str], kills: list[Kill], calls: int
) -> Finished:
    status = client.wait()
    output, state = output_of(config), ledger_of(config).parent
    partial = list(config.parent.rglob("*.partial"))
    lost = (state / "run.log").read_text().count(" lost (")
    again = sum(solved(config).values()) - TILES
    sound = status == 0 and not partial and verify(load_config(config)).good
    fastest = min((r.seconds for r in read_records(ledger_of(config)) if r.kind == "solve" and r.seconds), default=1.0)
    return Finished(kills, calls, again, lost, hashes(output) == expected, sound, max(1, int(0.5 / fastest)))


def allowed(finished: Finished) -> int:
    """Return the most tiles that may have been solved in vain: those that each kill found under way."""
    return finished.batch * sum(WORKERS if kill.victim == "client" else 1 for kill in finished.kills)


def spent(finished: Finished) -> int:
    """Return the solved tiles whose result was not used: recorded twice, or stored and never recorded."""
    return finished.again + finished.unrecorded


def measure(count: int, say: bool = True) -> list[Finished]:
    """Kill ``count`` clients and ``count`` workers; returns the runs that it took."""
    rng = random.Random(time.time_ns())
    runs = []
    with tempfile.TemporaryDirectory(prefix="ssi-kill-") as name:
        config = write_case(Path(name))
        expected, seconds = undisturbed(config)
        for victim in ("client", "worker"):
            left = count
            while left > 0:
                forget(config)
                if victim == "client":
                    run = kill_clients(config, expected, seconds, left, rng)
                else:
                    run = kill_workers(config, expected, left, rng)
                left -= len(run.kills)
                runs.append(run)
                if say:
                    print(run, flush=True)
    return runs


def report(runs: list[Finished], command: str) -> str:
    """Return the table of docs/reliability-kill.md."""
    rows = []
    for number, run in enumerate(runs, 1):
        good = "equal" if run.same and run.sound else "DIFFERENT"
        for kill in run.kills:
            cells = (number, kill.victim, f"{kill.seconds:.1f}", f"{kill.done} of {TILES}", kill.unrecorded, good)
            rows.append("| " + " | ".join(map(str, cells)) + " |")
    counts = Counter(kill.victim for run in runs for kill in run.kills)
    good_runs = sum(run.same and run.sound for run in runs)
    lines = [
        "# Killed at random moments and resumed",
        "",
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, "
        f"`{command}`. A volume of {TILES} tiles on {WORKERS} dask workers; SIGKILL at random moments; the same",
        "command again until the run is complete; then every file of every level is compared with that of an",
        "undisturbed run, `ssi verify` reads all of it, and no partly written file may be left.",
        "",
        f"- {counts['client']} clients and {counts['worker']} workers killed in {len(runs)} runs",
        f"- runs byte-identical to the undisturbed one, and sound: {good_runs} of {len(runs)}",
        f"- tiles recorded as solved that were solved again: {sum(run.again for run in runs)}",
        f"- tiles stored but not yet recorded when the client died, solved again: {sum(r.unrecorded for r in runs)}",
        f"- batches lost with a worker and repeated: {sum(run.lost for run in runs)}",
        "",
        "A kill may lose the running batch of each worker, which is one tile, or half a second",
        "of shorter tiles.",
        "",
        "| run | killed | s after start | tiles recorded | stored, not recorded | image afterwards |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Run the benchmark; returns 1 where anything was lost that should not be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10, help="kills of clients, and of workers")
    parser.add_argument("--short", action="store_true", help="one kill of each, nothing is written")
    options = parser.parse_args()
    runs = measure(1 if options.short else options.count)
    text = report(runs, shlex.join(["python", *sys.argv]))
    print(text)
    if not options.short:
        (Path(__file__).parents[1] / "docs" / "reliability-kill.md").write_text(text)
    return 0 if all(run.same and run.sound and spent(run) <= allowed(run) for run in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
