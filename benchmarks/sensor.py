"""How well the sensor is estimated from data alone, and what a wrong estimate costs.

Pictures of scikit-image, blurred with the benchmark's PSF, get noise of variance alpha b + sigma^2, with and without
one percent of impulses, in 1024 levels, and are clipped at 0, at 0 and 1, or not at all. Then the benchmark's
degradation is solved with a sensor that is wrong by a factor, and with one that knows no limits.

    python benchmarks/sensor.py --output build/sensor.md
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.signal import convolve
from trials import picture

from ssi_pipeline.benchmark.methods import configuration, measurement
from ssi_pipeline.benchmark.protocol import LEVELS, benchmark_psf, degrade
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.problem import build_problem
from ssi_pipeline.inversion.solve import solve
from ssi_pipeline.physics import Psf
from ssi_pipeline.quality.reference import psnr

ALPHAS, SIGMAS = (0.0, 0.001, 0.01, 0.05), (0.01, 0.03, 0.1, 0.2)
LIMITS = {"none": (-math.inf, math.inf), "low": (0.0, math.inf), "both": (0.0, 1.0)}
FACTORS = (0.5, 0.7, 1.4, 2.0)
FEWEST_CLIPPED = 20
"""Pixels at a limit below which it is neither wrong to find it nor wrong not to."""


def noisy(b: np.ndarray, alpha: float, sigma: float, limits: tuple[float, float], impulses: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    y = b + np.sqrt(alpha * np.maximum(b, 0) + sigma**2) * rng.standard_normal(b.shape)
    y = np.where(rng.random(b.shape) < impulses, rng.random(b.shape), y)
    return np.clip(np.round(y * LEVELS) / LEVELS, *limits)


def accuracy(truth: np.ndarray, psf: Psf) -> Iterator[str]:
    """One row of the table for each sensor: relative errors of s at the median, of sigma, error of alpha, limits."""
    b = convolve(truth, psf.values[0], mode="same")
    for alpha, sigma, (name, limits), share in itertools.product(ALPHAS, SIGMAS, LIMITS.items(), (0.0, 0.01)):
        y = noisy(b, alpha, sigma, limits, share)
        found = calibrate([measurement(y, 0, 1)[0]], psf, configuration("identity"))
        dark = found.offset if found.dark is None else found.dark
        middle = float(np.median(b))
        true = math.sqrt(alpha * middle + sigma**2)
        got = math.sqrt(found.noise_alpha * max(middle - dark, 0) + found.noise_sigma**2)
        at_dark = math.sqrt(alpha * max(dark, 0) + sigma**2)
        wrong = [
            limit
            for limit, has, at in (("low", found.clip_low, limits[0]), ("high", found.clip_high, limits[1]))
            if (has is not None) != bool(np.sum(y == at) >= FEWEST_CLIPPED) and (has is not None or np.sum(y == at))
        ]
        yield (
            f"| {alpha:g} | {sigma:g} | {name} | {share:g} | {100 * (got / true - 1):+.1f} "
            f"| {100 * (found.noise_sigma / at_dark - 1):+.1f} | {found.noise_alpha - alpha:+.4f} "
            f"| {' '.join(wrong) or 'right'} | {found.impulse_share:.4f} |"
        )


def sensors() -> Iterator[tuple[str, list[str]]]:
    """Sensors by name, as changes of the configuration; the benchmark's own has alpha 0.001 and sigma 0.1."""
    alpha, sigma = 0.001 * LEVELS, 0.1 * LEVELS

    def changes(a: float, s: float, *more: str) -> list[str]:
        return [f"sensor.alpha={alpha * a}", f"sensor.sigma={sigma * s}", "sensor.offset=0", *more]

    both = ("sensor.low=0", f"sensor.high={LEVELS}")
    yield "right", changes(1, 1, *both)
    yield "estimated", []
    for factor in FACTORS:
        yield f"sigma x {factor:g}, alpha x {factor:g}", changes(factor, factor, *both)
        yield f"sigma x {factor:g}", changes(1, factor, *both)
    yield "limits not known", changes(1, 1, "sensor.low=none", "sensor.high=none")


def degradation(truth: np.ndarray, psf: Psf, steps: int) -> Iterator[tuple[str, float, float]]:
    """PSNR of the linear solution and of a short training, for each sensor."""
    y = degrade(truth, psf.values[0])
    for name, changed in sensors():
        scores = []
        for solver in ("wiener", "ssi"):
            config = configuration(solver, [*changed, f"training.steps={steps}"])
            posed, inside = measurement(y, psf.radius[1], 2 ** (config.network.levels - 1))
            calibration = calibrate([posed], psf, config)
            estimate: Any = solve(build_problem(psf, calibration, config, "cpu"), posed, 0).estimate[inside] / LEVELS
            scores.append(psnr(truth, np.clip(estimate, 0, 1).astype(np.float32)))
        yield name, scores[0], scores[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="camera,coins")
    parser.add_argument("--side", type=int, default=256, help="pixels of the crops, estimation")
    parser.add_argument("--crop", type=int, default=192, help="pixels of the crop, wrong estimates")
    parser.add_argument("--steps", type=int, default=100, help="of the training, wrong estimates")
    parser.add_argument("--part", choices=["all", "accuracy", "wrong"], default="all")
    parser.add_argument("--output", type=Path, help="file for the tables, Markdown")
    parser.add_argument("--short", action="store_true", help="one small picture, few steps")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.short:
        options.images, options.side, options.crop, options.steps = "camera", 96, 96, 5
    psf, lines = Psf(benchmark_psf()[None].astype(np.float32)), []
    for name in options.images.split(","):
        for line in tables(name, psf, options):
            print(line, flush=True)
            lines.append(line)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(lines) + "\n")


def tables(name: str, psf: Psf, options: argparse.Namespace) -> Iterator[str]:
    """Both tables of one picture, as lines of Markdown."""
    if options.part != "wrong":
        yield f"\n{name}, {options.side} x {options.side}\n"
        yield "| alpha | sigma | clips | impulses | s at median, % | sigma, % | alpha off | limits | impulses found |"
        yield "|---|---|---|---|---|---|---|---|---|"
        yield from accuracy(picture(name, options.side), psf)
    if options.part != "accuracy":
        yield f"\n{name}, {options.crop} x {options.crop}, {options.steps} steps\n"
        yield "| sensor | Wiener | against right | network | against right |\n|---|---|---|---|---|"
        right = None
        for sensor, wiener, network in degradation(picture(name, options.crop), psf, options.steps):
            right = right or (wiener, network)
            yield f"| {sensor} | {wiener:.2f} | {wiener - right[0]:+.2f} | {network:.2f} | {network - right[1]:+.2f} |"


if __name__ == "__main__":
    main()
