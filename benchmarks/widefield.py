"""Held-out loss of every solver on a real widefield stack, which has no truth.

The stack is one tile, posed as workflows/widefield-stack.yaml says: a computed PSF, 3D. Each solver is calibrated, and
has to predict pixels V that it never saw: the same V for all, drawn from the seed. The loss is the mean of
(mu(g x) - y)^2 over V in normalised units squared; below it, what no estimate can predict, is the noise.

    python benchmarks/widefield.py --stack dapi_widefield.tif --seeds 0,1,2 --output build/widefield
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
import yaml
from _common import SHORT_TRAINING, Row, begin, plain_parser, say

from ssi_pipeline.benchmark.methods import configuration, measurement
from ssi_pipeline.benchmark.tables import Sheet
from ssi_pipeline.geometry.halo import network_stride
from ssi_pipeline.inversion.calibration import calibrate
from ssi_pipeline.inversion.solve import solve
from ssi_pipeline.physics import load_psf

ROOT = Path(__file__).parents[1]
STACK = ROOT.parent / "shared" / "data" / "dapi_widefield.tif"
WORKFLOW = ROOT / "workflows" / "widefield-stack.yaml"
SOLVERS = ("wiener", "richardson_lucy", "tv", "tv_cg", "ssi")
OURS = "ssi"


def middle(stack: np.ndarray, crop: Sequence[int] | None) -> np.ndarray:
    """Return the middle of a stack, z y x; no more than there is."""
    if crop is None:
        return stack
    sides = [min(n, c) for n, c in zip(stack.shape, crop, strict=True)]
    return stack[tuple(slice((n - s) // 2, (n - s) // 2 + s) for n, s in zip(stack.shape, sides, strict=True))]


def simulated(seed: int = 0) -> np.ndarray:
    """Return a small stack, uint16 z y x, for the short form where no real one is there: blurred dots with noise."""
    rng = np.random.default_rng(seed)
    light = np.zeros((14, 24, 24))
    light[tuple(rng.integers(4, n - 4, 20) for n in light.shape)] = 1
    spectrum = np.fft.fftn(light)
    falls = [np.exp(-20 * np.fft.fftfreq(n) ** 2) for n in light.shape]
    blurred = np.fft.ifftn(spectrum * np.einsum("z,y,x->zyx", *falls)).real
    return rng.poisson(200 + 20000 * np.maximum(blurred, 0)).astype(np.uint16)


def make_row(stack: np.ndarray, solver: str, changes: Sequence[str], seed: int) -> Row:
    """Calibrate and solve; returns held-out losses, seconds, and light of the estimate over light of the stack."""
    config = configuration(solver, changes, yaml.safe_load(WORKFLOW.read_text()))
    voxel = config.input.voxel_size_um
    psf = load_psf(config.psf_of(0), (voxel["z"], voxel["y"], voxel["x"]), 3)
    posed, inside = measurement(stack, psf.radius, network_stride(config.network))
    started = time.process_time()
    calibration = calibrate([posed], psf, config)
    found = solve(posed, psf, calibration, config, seed, "cpu")
    return {
        "heldout": found.heldout_after,
        "heldout_wiener": found.heldout_wiener,
        "noise": calibration.noise.variance(float(np.mean((stack - calibration.offset) / calibration.scale))),
        "flux_ratio": float(found.estimate[inside].sum(dtype=np.float64) / stack.sum(dtype=np.float64)),
        "seconds": time.process_time() - started,
        "used": found.method,
        "knob": calibration.knob,
        "likeliest_weight": calibration.wiener_weight,
        "steps": found.steps,
        "trainings": found.attempts,
        "note": found.note,
    }


def sheet(rows: Sequence[Row]) -> Sheet:
    """Return means over the seeds; losses also over the best classical solver's, seed by seed."""
    classical: dict[int, float] = {}
    for row in (r for r in rows if r["solver"] != OURS):
        classical[row["seed"]] = min(row["heldout"], classical.get(row["seed"], np.inf))
    lines, means = [], []
    for solver in dict.fromkeys(row["solver"] for row in rows):
        own = [row for row in rows if row["solver"] == solver]
        ratios = [row["heldout"] / classical[row["seed"]] for row in own if row["seed"] in classical]
        means.append(float(np.mean([row["heldout"] for row in own])))
        over = f"{np.mean(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f})" if ratios else "-"
        flux, seconds = (float(np.mean([row[key] for row in own])) for key in ("flux_ratio", "seconds"))
        notes = "; ".join(dict.fromkeys(row["note"] for row in own if row["note"]))
        lines.append([solver, f"{1e3 * means[-1]:.4f}", over, f"{flux:.4f}", f"{seconds:.1f}", notes or "-"])
    if starts := [row["heldout_wiener"] for row in rows if row["solver"] == OURS]:
        over = f"{np.mean(starts) / np.mean(list(classical.values())):.4f}" if classical else "-"
        lines.append(
            ["linear, likelihood weight", f"{1e3 * np.mean(starts):.4f}", over, "-", "-", "what ours starts from"]
        )
    headings = ["solver", "held-out loss x 1000", "over the best classical", "flux ratio", "CPU s", "note"]
    best = frozenset({(int(np.argmin(means)), 1)})
    seeds = len({row["seed"] for row in rows})
    noise = 1e3 * float(np.mean([row["noise"] for row in rows]))
    return Sheet(f"Mean over {seeds} sets of pixels; noise {noise:.4f} at the mean level", headings, lines, best)


def main(arguments: Sequence[str] | None = None) -> None:
    options = plain_parser(__doc__)
    options.add_argument("--stack", type=Path, help="TIFF, z y x; by default deconwolf's DAPI stack, where it is there")
    options.add_argument("--crop", help="the middle of it, pixels z,y,x")
    options.add_argument("--solvers", default=",".join(SOLVERS))
    options.add_argument("--seeds", default="0", help="of held-out pixels and training, separated by commas")
    options.add_argument("--steps", type=int, help="of ours, at most; by default the pipeline's")
    options = options.parse_args(arguments)
    changes = (*SHORT_TRAINING, "training.patch={z: 16, y: 20, x: 20}", "classical.tv_iterations=5")
    with begin("widefield", options, {"crop": "14,24,24"}, changes) as study:
        stack = read(options)
        if options.steps is not None:
            options.changes = [*options.changes, f"training.steps={options.steps}"]
        setup = {"stack": hashlib.sha256(stack.tobytes()).hexdigest()[:16], "changes": options.changes}
        rows = []
        for seed in map(int, options.seeds.split(",")):
            for solver in options.solvers.split(","):

                def make(solver: str = solver, seed: int = seed) -> Row:
                    return make_row(stack, solver, options.changes, seed)

                row = study.row(f"{solver}.{seed}", setup, make)
                rows.append({"solver": solver, "seed": seed, **row})
                say(f"{solver}, seed {seed}: {1e3 * row['heldout']:.4f}e-3, {row['seconds']:.1f} s CPU {row['note']}")
        study.finish(f"A widefield stack of {' x '.join(map(str, stack.shape))} voxels", [sheet(rows)])


def read(options: object) -> np.ndarray:
    """Return the stack that was asked for, cut."""
    path = vars(options)["stack"] or STACK
    if path.is_file():
        stack = np.asarray(tifffile.imread(path))
    elif vars(options)["short"]:
        stack = simulated()
    else:
        raise SystemExit(f"{path} is not there: give --stack")
    crop = vars(options)["crop"]
    return middle(stack, [int(n) for n in crop.split(",")] if crop else None)


if __name__ == "__main__":
    main()
