"""Solvers in 3D: on small stacks with truth whose voxels are no cubes, or on one stack with its PSF.

Without ``--image`` the stacks are simulated (`_stack_scenes.py`) and classical solvers know their noise; with it, and
for a network, a run's calibration estimates the noise. The weight, or the number of iterations, is chosen as by a run,
without the truth. "cubes": the voxel size is withheld from the solver. dB: PSNR after the gain and offset that are
best. chi2 and whiteness: of the residual, 1 and 0 for noise alone. CPU seconds include the choice and the calibration.
Solver ``ssi`` is what a run does: where total variation predicts hidden pixels better its estimate is taken; with
"alone" the network's, with "linear" the solution that is kept where every training failed.

    python benchmarks/stacks.py --seeds 0,1
    python benchmarks/stacks.py --shape 24,80,80 --contents membranes --optics "light sheet" --solvers tv_cg,ssi:alone
    python benchmarks/stacks.py --image data.tif --psf kernel.tif --truth actual.tif --solvers richardson_lucy
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from _stack_scenes import CONTENTS, DARK, OPTICS, READ_NOISE, SHAPE, stacks
from numpy.typing import NDArray

from ssi_pipeline.benchmark.methods import configuration, measurement
from ssi_pipeline.geometry.halo import network_stride
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.classical.observation import observe
from ssi_pipeline.inversion.classical.registry import CLASSICAL
from ssi_pipeline.inversion.classical.tuning import tune
from ssi_pipeline.inversion.linear.prior_weight import with_own_weight
from ssi_pipeline.inversion.measurement import Measurement, to_tensor
from ssi_pipeline.inversion.problem import Problem, build_problem
from ssi_pipeline.inversion.solve import Solution, solve, solver_of
from ssi_pipeline.inversion.solver import AS_CONFIGURED
from ssi_pipeline.inversion.tile import make_tile_tensors
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.physics.psf_loader import load_psf
from ssi_pipeline.quality.residual import chi_squared, whiteness

Volume = NDArray[np.floating[Any]]

IN_3D: dict[str, Any] = {
    "input": {"path": "a", "axes": "zyx"},
    "output": {"path": "b"},
    "psf": {"kind": "identity"},
    "tiling": {"dimensions": 3},
}

SOLVERS = (*CLASSICAL, *(f"{name}:cubes" for name in CLASSICAL), "ssi", "ssi:alone", "ssi:linear")

HEADINGS = ["stack", "solver", "weight or iterations", "dB", "chi2", "whiteness", "CPU s"]


def decibel(found: Volume, truth: Volume) -> float:
    """Return the PSNR after the gain and offset that are best."""
    gain, offset = np.polyfit(found.ravel(), truth.ravel(), 1)
    return float(10 * np.log10(np.ptp(truth) ** 2 / np.mean((gain * found + offset - truth) ** 2)))


def known_noise(image: Volume) -> ChannelCalibration:
    """Return the calibration of a simulated stack."""
    low, high = np.percentile(image, [1, 99.8])
    noise = {"noise_sigma": READ_NOISE, "noise_alpha": 1.0, "impulse_share": 0.0, "wiener_weight": 0.01}
    return ChannelCalibration(float(low), float(high - low), minimum=float(image.min()), dark=DARK, floor=DARK, **noise)


def linear_solution(problem: Problem, posed: Measurement) -> Solution:
    """Return the solution that a run keeps where every training failed."""
    own, tile = with_own_weight(problem, make_tile_tensors(problem, posed, 0), posed)
    return solver_of("wiener")(own, tile, 0, AS_CONFIGURED)


def solved(
    name: str, how: str, problem: Problem, posed: Measurement, inside: tuple[Any, ...]
) -> tuple[Volume, list[str]]:
    """Choose the parameter of a solver, unless the calibration has it; return the estimate, raw units, and cells."""
    image, observed = (to_tensor(a, 3) for a in (problem.calibration.normalised(posed.y), posed.observed))
    given = observe(problem, image, observed)
    if problem.config.method.network:
        found = linear_solution(problem, posed) if how == "linear" else solve(problem, posed, 0)
        what, x = f"{found.method}, {found.steps} steps", to_tensor(problem.calibration.normalised(found.estimate), 3)
    else:
        chosen = problem.calibration.weights.get(name) or tune(problem, name, [posed]).weight
        what, x = f"{chosen:.3g}", CLASSICAL[name].solve(problem, given, chosen)
    forward = problem.forward
    level, known = forward(x), forward.crop(given.known).numpy()
    residual = ((forward.crop(given.repaired) - level) / forward.sensor.variance(level).sqrt()).numpy()
    estimate = x.numpy()[inside] * problem.calibration.scale + problem.calibration.offset
    scores = chi_squared(residual, known), whiteness(residual, known)
    return estimate, [what, *(f"{score:.2f}" for score in scores)]


def of_truth(image: Volume, truth: Volume, psf: Psf, calibration: ChannelCalibration) -> list[str]:
    """Return chi2 and whiteness of what the truth itself leaves: blurred in a circle, with the best gain and offset."""
    kernel = np.zeros(image.shape)
    around = ((np.arange(k) - k // 2) % n for n, k in zip(image.shape, psf.values.shape, strict=True))
    np.add.at(kernel, np.ix_(*around), psf.values)
    level = np.fft.ifftn(np.fft.fftn(truth) * np.fft.fftn(kernel)).real
    level = np.polyval(np.polyfit(level.ravel(), image.ravel(), 1), level)
    normal, predicted = (torch.from_numpy(calibration.normalised(a.astype(np.float32))) for a in (image, level))
    residual = ((normal - predicted) / calibration.sensor.variance(predicted).sqrt()).numpy()
    known = np.ones(residual.shape, bool)
    return [f"{chi_squared(residual, known):.2f}", f"{whiteness(residual, known):.2f}"]


def rows_of(title: str, image: Volume, truth: Volume | None, psf: Psf, asked: argparse.Namespace) -> list[list[str]]:
    """Return the rows of a stack, one for each solver."""
    rows: list[list[str]] = []
    for name in asked.solvers:
        solver, _, how = name.partition(":")
        used = dataclasses.replace(psf, voxel_size_um=None) if how == "cubes" else psf
        config = configuration(solver, ("training.select=network",) if how == "alone" else (), base=IN_3D)
        network = config.method.network
        posed, inside = measurement(image, psf.radius, network_stride(config.network.levels) if network else 1)
        started = time.process_time()
        calibration = calibrate([posed], used, config) if asked.image or network else known_noise(image)
        estimate, cells = solved(solver, how, build_problem(used, calibration, config, "cpu"), posed, inside)
        cells.append(f"{time.process_time() - started:.1f}")
        cells.insert(1, "" if truth is None else f"{decibel(estimate, truth):.2f}")
        if asked.image and truth is not None and not rows:
            rows.append(_line([title, "the truth, blurred", "", "", *of_truth(image, truth, psf, calibration), ""]))
        rows.append(_line([title, name, *cells]))
        if asked.output:
            asked.output.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(asked.output / f"{title}-{name}.tif".replace(", ", "-"), estimate.astype(np.float32))
    return rows


def _line(row: list[str]) -> list[str]:
    print("| " + " | ".join(row) + " |", flush=True)
    return row


def names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a function that splits a text at its commas and refuses a name that is not known."""

    def split(text: str) -> list[str]:
        found = text.split(",")
        if unknown := [name for name in found if name not in known]:
            raise argparse.ArgumentTypeError(f"expected {', '.join(known)}, found {', '.join(unknown)}")
        return found

    return split


def shape_of(text: str) -> tuple[int, int, int]:
    """Return a shape z y x that is written as three numbers."""
    z, y, x = map(int, text.split(","))
    return z, y, x


def main(arguments: Sequence[str] | None = None) -> list[list[str]]:
    """Print the table, and return its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="beads by Richardson-Lucy alone")
    parser.add_argument("--seeds", default="0", help="of simulated stacks, separated by commas")
    parser.add_argument("--shape", type=shape_of, default=SHAPE, help="of simulated stacks: planes,rows,columns")
    parser.add_argument("--contents", type=names([*CONTENTS]), help="of simulated stacks, separated by commas")
    parser.add_argument("--optics", type=names([*OPTICS]), default=[*OPTICS], help="the same")
    parser.add_argument("--solvers", type=names(SOLVERS), default=["tv_cg:cubes", "tv_cg", "richardson_lucy"])
    parser.add_argument("--image", type=Path, help="TIFF, z y x")
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--psf", type=Path, help="of the image, TIFF of the same voxels, its peak in the middle")
    parser.add_argument("--output", type=Path, help="folder for the estimates")
    asked = parser.parse_args(arguments)
    if asked.short:
        asked.contents, asked.solvers = ["beads"], ["richardson_lucy"]
    print("| " + " | ".join(HEADINGS) + " |\n|" + "---|" * len(HEADINGS))
    if asked.image:
        document = {**IN_3D, "psf": {"kind": "file", "path": str(asked.psf), "center": "peak"}}
        psf = load_psf(configuration("tv_cg", base=document).psf[0], None, 3)
        assert psf is not None
        truth = None if asked.truth is None else np.asarray(tifffile.imread(asked.truth), np.float64)
        return rows_of(asked.image.stem, np.asarray(tifffile.imread(asked.image), np.float32), truth, psf, asked)
    made = stacks([int(seed) for seed in asked.seeds.split(",")], asked.contents, asked.optics, asked.shape)
    return [row for title, s in made for row in rows_of(title, s.image, s.truth, s.psf, asked)]


if __name__ == "__main__":
    main()
