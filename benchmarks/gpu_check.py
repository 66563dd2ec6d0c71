"""Everything that ten minutes on a GPU can prove: equality with the CPU, waits, speed, memory, runs, tests.

    python benchmarks/gpu_check.py --output gpu_check.json    on a machine with a GPU, as benchmarks/gpu_check.sh does
    python benchmarks/gpu_check.py --short --device cpu       seconds: to see that it runs

Each part runs in a process of its own, and may fail alone. What is found is kept after each part, with the machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _gpu_parts as parts
import numpy as np
import torch
import yaml
import zarr
from _common import say
from _gpu_scene import scene

from ssi_pipeline.storage.atomic import write_json

HERE = Path(__file__)

_LIMIT_S = 150.0
"""Longest time of one part."""

SHORT = ("machine", "waits", "step", "apply", "memory")


def runs(size: parts.Size) -> parts.Found:
    """Return the seconds of whole runs of four tiles, with one and with two processes on the device."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="ssi-gpu-") as folder:
        counts = np.tile(scene(size.side).measurement.y, (1, 2, 2)).astype(np.uint16)
        zarr.save(str(Path(folder, "in.zarr")), counts)
        for processes in (1, 2):
            path = _configuration(Path(folder), size, processes)
            started = time.perf_counter()
            command = [sys.executable, "-m", "ssi_pipeline.cli", "run", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S / 2, check=False)
            row = {"seconds": time.perf_counter() - started, "status": done.returncode}
            found[f"{processes} processes"] = row | ({} if done.returncode == 0 else {"said": done.stderr[-800:]})
    return found


def bench(size: parts.Size) -> parts.Found:
    """Return the document of ``ssi bench``: phases of a tile from file to file, beside their floors."""
    options = ["--size", str(size.side), "--set", f"executor.device={size.device}"]
    command = [sys.executable, "-m", "ssi_pipeline.cli", "bench", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=True)
    found: parts.Found = json.loads(done.stdout)
    return found


def _configuration(folder: Path, size: parts.Size, processes: int) -> Path:
    document = {
        "input": {"path": "in.zarr", "axes": "zyx"},
        "output": {"path": f"out{processes}.zarr"},
        "psf": {"kind": "gaussian", "fwhm_px": {"y": 4.7, "x": 4.7}},
        "tiling": {"core": {"y": size.side, "x": size.side}},
        "training": {"steps": size.steps},
        "executor": {"kind": "dask", "workers": processes, "device": size.device, "memory_gib": 8},
    }
    if size.on_gpu:
        document["executor"]["workers_per_gpu"] = processes
    path = folder / f"run{processes}.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def tests(size: parts.Size) -> parts.Found:  # noqa: ARG001
    """Return the end of what the tests that need a GPU say."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/gpu"]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, check=False)
    return {"status": done.returncode, "said": done.stdout.splitlines()[-6:]}


PARTS = {
    "machine": parts.machine,
    "equal": parts.equal,
    "waits": parts.waits,
    "step": parts.step,
    "apply": parts.application,
    "memory": parts.memory,
    "tile": parts.tile,
    "bench": bench,
    "runs": runs,
    "tests": tests,
}


def check(size: parts.Size, names: Sequence[str], output: Path | None, apart: bool) -> dict[str, Any]:
    """Run the parts one after the other; return what each found, or how it failed."""
    found: dict[str, Any] = {"when": time.strftime("%Y-%m-%d"), "side": size.side, "steps": size.steps}
    for name in names:
        started = time.perf_counter()
        try:
            found[name] = _apart(size, name) if apart else PARTS[name](size)
        except Exception as problem:  # a part may fail alone
            found[name] = {"failed": f"{type(problem).__name__}: {problem}"[-2000:]}
        say(f"{name}, {time.perf_counter() - started:.1f} s: {json.dumps(found[name], default=float)}")
        if output is not None:
            write_json(output, found)
    return found


def _apart(size: parts.Size, name: str) -> parts.Found:
    """Run a part in a process of its own: a context of CUDA that has died takes no other part along."""
    size_of = [f"--device={size.device}", f"--side={size.side}", f"--steps={size.steps}"]
    command = [sys.executable, str(HERE), "--only", name, "--in-process", *size_of]
    with tempfile.TemporaryDirectory(prefix="ssi-gpu-") as folder:
        output = Path(folder, "found.json")
        done = subprocess.run(
            [*command, "--output", str(output)], capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
        if not output.is_file():
            raise RuntimeError(f"exit status {done.returncode}: {done.stderr[-1500:]}")
        part: parts.Found = json.loads(output.read_text())[name]
        return part


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Check the device that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--side", type=int, default=1024, help="pixels along an axis of a tile")
    parser.add_argument("--steps", type=int, default=600, help="steps of a training")
    parser.add_argument("--only", help=f"parts, separated by commas, of {', '.join(PARTS)}")
    parser.add_argument("--output", type=Path, help="file for what was found, JSON")
    parser.add_argument("--in-process", action="store_true", help="all parts in this process")
    parser.add_argument("--short", action="store_true", help="seconds: small and few, to see that it runs")
    options = parser.parse_args(arguments)
    names = options.only.split(",") if options.only else SHORT if options.short else tuple(PARTS)
    if unknown := set(names) - set(PARTS):
        parser.error(f"--only {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    if options.short:
        options.side, options.steps = 64, 8
    torch.set_num_threads(1)
    size = parts.Size(options.device, options.side, options.steps)
    return check(size, names, options.output, apart=not (options.in_process or options.short))


if __name__ == "__main__":
    main()
