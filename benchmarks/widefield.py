"""The loss of every solver on unseen pixels of a real widefield stack, which has no truth.

The stack is one tile, posed as workflows/widefield-stack.yaml says: a computed PSF, 3D. Before anything else pixels are
drawn from the seed, the same for all solvers, that nobody sees: they count as not observed and have the mean of their
neighbours, in the calibration too. (The held-out pixels V of a tile will not do: weights, the end of a training and
falling back are decided by V.) The loss is the mean of (mu(g x) - y)^2 over them in normalised units squared,
impulses left out; below it, what no estimate can predict, is the noise. chi2 and whiteness are those of the residual
that a run's report shows: 1 and 0 for noise alone.

    python benchmarks/widefield.py --stack dapi_widefield.tif --seeds 0,1,2 --output build/widefield
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
import yaml
from _common import SHORT_TRAINING, Row, begin, plain_parser, say

from ssi_pipeline.benchmark.methods import METHODS, configuration, measurement
from ssi_pipeline.benchmark.tables import Sheet
from ssi_pipeline.config import MaskingConfig, RunConfig
from ssi_pipeline.geometry.halo import network_stride
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.masking import generator, hide
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.problem import Problem, build_problem
from ssi_pipeline.inversion.solve import solve
from ssi_pipeline.physics import Psf, load_psf

ROOT = Path(__file__).parents[1]
STACK = ROOT.parent / "shared" / "data" / "dapi_widefield.tif"
WORKFLOW = ROOT / "workflows" / "widefield-stack.yaml"
SOLVERS = ("wiener", "wiener_likelihood", "richardson_lucy", "tv", "tv_cg", "ssi")
OURS = "ssi"

_SHARE = 0.05
"""Of the pixels that judge: as many as a tile holds out for itself, so their neighbours remain."""

_STREAM = 23
"""Of the random numbers that draw them: the solvers' own have other streams."""


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


def configured(name: str, changes: Sequence[str]) -> RunConfig:
    """Return the workflow's configuration for a row, named as in the benchmark."""
    method = METHODS[name]
    return configuration(method.solver or name, (*changes, *method.changes), yaml.safe_load(WORKFLOW.read_text()))


def draw_judges(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Draw the pixels z y x (bool) that are kept from every solver."""
    return np.random.default_rng((seed, _STREAM)).random(shape) < _SHARE


def without(stack: np.ndarray, judges: np.ndarray) -> np.ndarray:
    """Return the stack, float32, with the mean of its neighbours in place of each pixel that nobody is to see."""
    image = torch.from_numpy(stack.astype(np.float32))
    return hide(image, torch.from_numpy(judges), MaskingConfig(replacement="neighbours"), generator(0)).numpy()


def posed_without(stack: np.ndarray, judges: np.ndarray, psf: Psf, config: RunConfig) -> tuple[Measurement, Any]:
    """Return what a solver is given, padded, and where in it the stack is."""
    posed, inside = measurement(without(stack, judges), psf.radius, network_stride(config.network.levels))
    posed.observed[inside] &= ~judges
    return posed, inside


def judged(stack: np.ndarray, judges: np.ndarray, inside: Any, estimate: np.ndarray, problem: Problem) -> float:
    """Return the mean squared error of the predicted reports at the judges that are no impulses."""
    calibration, forward = problem.calibration, problem.forward
    y, there = np.zeros(estimate.shape, np.float32), np.zeros(estimate.shape, bool)
    normal = calibration.normalised(stack.astype(np.float32))
    y[inside] = normal
    there[inside] = judges & ~problem.linear.impulses.find(torch.from_numpy(normal)).numpy()
    predicted = forward(torch.from_numpy(calibration.normalised(estimate)))
    error = predicted - forward.crop(torch.from_numpy(y))
    return float(error[forward.crop(torch.from_numpy(there))].double().square().mean())


def make_row(stack: np.ndarray, config: RunConfig, seed: int) -> Row:
    """Calibrate and solve; return the losses, scores of the residual, seconds, and the ratio of the light."""
    voxel = config.input.voxel_size_um
    psf = load_psf(config.psf_of(0), (voxel["z"], voxel["y"], voxel["x"]), 3)
    judges = draw_judges(stack.shape, seed)
    posed, inside = posed_without(stack, judges, psf, config)
    started = time.process_time()
    calibration = calibrate([posed], psf, config)
    found = solve(build_problem(psf, calibration, config, "cpu"), posed, seed)
    seconds = time.process_time() - started
    return {
        "loss": judged(stack, judges, inside, found.estimate, build_problem(psf, calibration, config, "cpu")),
        "heldout": found.heldout_after,
        "chi2": found.scores.get("chi2"),
        "whiteness": found.scores.get("whiteness"),
        "noise": calibration.noise.variance(float(np.mean((stack - calibration.offset) / calibration.scale))),
        "flux_ratio": float(found.estimate[inside].sum(dtype=np.float64) / stack.sum(dtype=np.float64)),
        "seconds": seconds,
        "used": found.method,
        "weight": calibration.weight,
        "likeliest_weight": calibration.wiener_weight,
        "steps": found.steps,
        "trainings": found.attempts,
        "note": found.note,
    }


def sheet(rows: Sequence[Row]) -> Sheet:
    """Return means over the seeds; losses also over the best classical solver's, seed by seed."""
    classical: dict[int, float] = {}
    for row in (r for r in rows if r["solver"] != OURS):
        classical[row["seed"]] = min(row["loss"], classical.get(row["seed"], np.inf))
    lines, means = [], []
    for solver in dict.fromkeys(row["solver"] for row in rows):
        own = [row for row in rows if row["solver"] == solver]
        ratios = [row["loss"] / classical[row["seed"]] for row in own if row["seed"] in classical]
        means.append(float(np.mean([row["loss"] for row in own])))
        over = f"{np.mean(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f})" if ratios else "-"
        flux, seconds = (float(np.mean([row[key] for row in own])) for key in ("flux_ratio", "seconds"))
        residual = [
            ", ".join(f"{row[key]:.2f}" for row in own if row[key] is not None) for key in ("chi2", "whiteness")
        ]
        notes = "; ".join(dict.fromkeys(row["note"] for row in own if row["note"]))
        cells = [f"{1e3 * means[-1]:.4f}", over, *residual, f"{flux:.4f}", f"{seconds:.1f}", notes or "-"]
        lines.append([solver, *cells])
    headings = ["loss on unseen pixels x 1000", "over the best classical", "chi2", "whiteness", "flux ratio", "CPU s"]
    headings = ["solver", *headings, "note"]
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
    changes = (*SHORT_TRAINING, "training.patch={z: 20, y: 32, x: 32}")
    with begin("widefield", options, {"crop": "14,24,24"}, changes) as study:
        stack = read(options)
        if options.steps is not None:
            options.changes = [*options.changes, f"training.steps={options.steps}"]
        setup = {"stack": hashlib.sha256(stack.tobytes()).hexdigest()[:16], "changes": options.changes, "share": _SHARE}
        rows = []
        for seed in map(int, options.seeds.split(",")):
            for solver in options.solvers.split(","):
                config = configured(solver, options.changes)

                def make(config: RunConfig = config, seed: int = seed) -> Row:
                    return make_row(stack, config, seed)

                row = study.row(f"{solver}.{seed}", setup, make, config)
                rows.append({"solver": solver, "seed": seed, **row})
                say(f"{solver}, seed {seed}: {1e3 * row['loss']:.4f}e-3, {row['seconds']:.1f} s CPU {row['note']}")
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
