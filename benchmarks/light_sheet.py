"""A light-sheet volume as large as its workers may be: time, memory of each process, quality against the truth.

The volume (`_light_sheet_scene.py`) is written block by block, and solved by `ssi run` with two workers of 2 GB each.
The PSF of the run is by ranges of depth, each with the Gaussian of its middle; `--single`: one for all. dB: PSNR after
the best gain and offset, over the whole volume, its first and its last planes. Memory: the peak resident set of a
process by the system's count (Linux).

    python benchmarks/light_sheet.py                                   # 2 GB
    python benchmarks/light_sheet.py --megabytes 500 --solver richardson_lucy
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
import zarr
from _common import say
from _light_sheet_scene import VOXEL_UM, Made, Shape, fwhm_at, make

from ssi_pipeline.config import load_config
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.ledger import records_of

GIGABYTE = 1e9
PEAK = 700.0
"""Range of the truth for the PSNR, photons: nuclei have 100 to 250, filaments and beads up to a few times as many."""

_PARTS = 8
"""Ranges of depth with a PSF each."""


def shape_of(megabytes: float) -> tuple[Shape, Shape]:
    """Return shape and block of a volume of uint16: planes up to 512, and as large as the size asks for."""
    planes = int(np.clip(64 * round(megabytes / 4 / 64), 64, 512)) if megabytes >= 8 else 24
    side = 16 * round(np.sqrt(megabytes * 1e6 / 2 / planes) / 16)
    return (planes, side, side), (min(planes, 64), min(side, 256), min(side, 256))


def document(made: Made, folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Return the configuration of the run."""
    planes = made.image.shape[0]
    edges = np.linspace(0, planes, (1 if asked.single else min(_PARTS, planes // 8)) + 1).astype(int).tolist()
    parts = [
        {"z": [a, b], "psf": {"kind": "gaussian", "fwhm_px": dict(zip("zyx", widths.tolist(), strict=True))}}
        for a, b in pairwise(edges)
        for widths in [fwhm_at((a + b - 1) / 2, planes)]
    ]
    return {
        "input": {"path": str(folder / "image.zarr"), "voxel_size_um": dict(zip("zyx", VOXEL_UM, strict=True))},
        "output": {"path": str(folder / "out.zarr"), "pyramid": False, "dtype": "float32"},
        "psf": parts[0]["psf"] if asked.single else {"kind": "varying", "by": parts},
        "solver": asked.solver,
        "tiling": {"dimensions": 3},
        "quality": {"extended": False},
        "executor": {"kind": "dask", "workers": 2, "memory_gib": asked.gigabytes * GIGABYTE / 2**30, "device": "cpu"},
    }


def watched(file: Path) -> tuple[float, int, list[int]]:
    """Run `ssi run` on a file; return seconds, and peaks of resident sets, MB: the command's, its other processes'."""
    started, peaks = time.perf_counter(), dict[int, int]()
    command = [sys.executable, "-m", "ssi_pipeline.cli", "run", str(file)]
    process = psutil.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in (process, *process.children(recursive=True)):
                peaks[each.pid] = max(peaks.get(each.pid, 0), _peak(each.pid))
        time.sleep(1)
    if process.returncode:
        raise SystemExit(f"the run ended with status {process.returncode}")
    own = peaks.pop(process.pid)
    return time.perf_counter() - started, own, sorted(peaks.values(), reverse=True)


def _peak(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((round(1.024e-3 * int(line.split()[1])) for line in lines if line.startswith("VmHWM")), 0)


class Score:
    """PSNR in dB after the best gain and offset, block by block."""

    def __init__(self) -> None:
        self._sums = np.zeros(6)

    def add(self, found: Any, truth: Any) -> None:
        """Count a block."""
        x, y = (np.asarray(a, np.float64).ravel() for a in (found, truth))
        self._sums += [x.size, x.sum(), y.sum(), x @ x, x @ y, y @ y]

    @property
    def decibel(self) -> float:
        """The PSNR."""
        n, x, y, xx, xy, yy = self._sums
        left = (yy - y * y / n) - (xy - x * y / n) ** 2 / (xx - x * x / n)
        return float(10 * np.log10(PEAK**2 * n / left))


def scored(made: Made, found: Any) -> dict[str, list[float]]:
    """Return dB of image and estimate: of the whole volume and, where it has several, of first and last blocks in z."""
    first, last = made.blocks()[0][0], made.blocks()[-1][0]
    names = ("whole", "first planes", "last planes") if first != last else ("whole",)
    scores = {name: [Score(), Score()] for name in names}
    for box in made.blocks():
        truth = made.truth[box]
        where = ["whole", *(["first planes"] * (box[0] == first)), *(["last planes"] * (box[0] == last))]
        for which, array in enumerate((made.image, found)):
            block = array[box]
            for name in set(where) & scores.keys():
                scores[name][which].add(block, truth)
    return {name: [round(score.decibel, 2) for score in pair] for name, pair in scores.items()}


def measure(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Make the volume, unless it is there, run and score it."""
    shape, block = shape_of(asked.megabytes)
    started = time.perf_counter()
    if (folder / "made").is_file():
        made = Made(*(zarr.open_array(folder / f"{name}.zarr", mode="r") for name in ("image", "truth")), block)
    else:
        made = make(folder, shape, block, asked.seed)
        (folder / "made").touch()
    say(f"{shape}, {2 * np.prod(shape) / GIGABYTE:.2f} GB, made in {time.perf_counter() - started:.0f} s")
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(document(made, folder, asked)))
    seconds, own, others = watched(file)
    records = list(records_of(StatePaths(load_config(file).state_path).ledger, "solve"))
    seams = np.asarray(zarr.open_array(folder / "out.zarr" / "quality" / "seam", mode="r")[...])
    return {
        "shape": list(shape),
        "gigabytes": round(2 * float(np.prod(shape)) / GIGABYTE, 3),
        "solver": asked.solver,
        "psf": "single" if asked.single else "by depth",
        "seconds": round(seconds),
        "tiles": len(records),
        "seconds_in_tiles": round(sum(r.seconds for r in records)),
        "peak_mb_of_client_and_scheduler": own,
        "peak_mb_of_workers_and_their_origin": others,
        "median_and_largest_seam": [round(float(f(seams)), 4) for f in (np.nanmedian, np.nanmax)],
        "input_and_estimate_db": scored(made, zarr.open_array(folder / "out.zarr" / "0", mode="r")),
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Print and return what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=2000, help="of the image")
    parser.add_argument("--gigabytes", type=float, default=2.0, help="of memory for each worker")
    parser.add_argument("--solver", default="wiener")
    parser.add_argument("--single", action="store_true", help="one PSF, of the middle plane")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep the volume here, and take it up if it is there")
    parser.add_argument("--short", action="store_true", help="less than a megabyte")
    asked = parser.parse_args(arguments)
    if asked.short:
        asked.megabytes = 0.3
    with tempfile.TemporaryDirectory(prefix="ssi-light-sheet-") as name:
        folder = asked.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        found = measure(folder, asked)
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
