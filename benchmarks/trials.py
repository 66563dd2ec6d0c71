"""Trials of the inversion on scikit-image's own pictures, degraded as in the published benchmark.

Prints for each picture the PSNR (range 1, clipped to it) of the input, of the best Richardson-Lucy of 1 to 30
iterations (picked with the truth), of the linear (Wiener) solution and of the network, and the seconds of
the training. Options of the configuration are given as training.steps=200. The whole comparison is `ssi benchmark`.

    python benchmarks/trials.py --images camera,cell,retina --psf gaussian training.steps=200
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import numpy as np
import skimage
import torch

from ssi_pipeline.benchmark.images import read_truth
from ssi_pipeline.benchmark.methods import Degraded, run_solver
from ssi_pipeline.benchmark.protocol import benchmark_psf
from ssi_pipeline.benchmark.richardson_lucy import richardson_lucy
from ssi_pipeline.benchmark.rows import clipped
from ssi_pipeline.config import GaussianPsf
from ssi_pipeline.physics import load_psf
from ssi_pipeline.quality.reference import psnr

IMAGES = "cell,retina,hubble_deep_field,camera,coins,moon"


def picture(name: str, side: int) -> np.ndarray:
    """Return the middle of a picture (y x), stretched to [0, 1]."""
    return read_truth(next(Path(skimage.data.__file__).parent.glob(f"{name}.*g")), side)


def trial(truth: np.ndarray, degraded: Degraded, seed: int) -> tuple[dict[str, float], str]:
    """Return PSNRs by name, and what else is worth knowing."""

    def score(estimate: np.ndarray) -> float:
        return psnr(truth, clipped(estimate))

    found = run_solver("ssi", degraded, seed)
    row = {
        "input": score(degraded.image),
        "RL": max(score(x) for x in islice(richardson_lucy(degraded.image, degraded.psf), 30)),
        "Wiener": score(run_solver("wiener", degraded, seed).estimate),
        "ours": score(found.estimate),
    }
    facts = found.facts
    seconds = f"{found.training_seconds:.0f} s"
    return row, f"{facts['used']}, {facts['steps']} steps, {facts['attempts']} training(s), {seconds} {facts['note']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default=IMAGES)
    parser.add_argument("--side", type=int, default=384, help="pixels of the crops")
    parser.add_argument("--psf", choices=["benchmark", "gaussian"], default="benchmark")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="one small picture, few steps")
    parser.add_argument("changes", nargs="*", metavar="key=value")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.short:
        options.images, options.side, options.changes = "camera", 128, ["training.steps=20"]
    psf = benchmark_psf()
    if options.psf == "gaussian":
        loaded = load_psf(GaussianPsf(kind="gaussian", fwhm_px={"y": 4.7, "x": 4.7}), None, 2)
        psf = psf if loaded is None else loaded.values[0].astype(np.float64)
    rows = []
    for name in options.images.split(","):
        truth = picture(name, options.side)
        row, note = trial(truth, Degraded.of(truth, psf, options.changes), options.seed)
        rows.append(row)
        print(f"{name:20s}", *(f"{key} {value:5.2f}" for key, value in row.items()), f" {note}", flush=True)
    print(f"{'mean':20s}", *(f"{key} {np.mean([row[key] for row in rows]):5.2f}" for key in rows[0]))


if __name__ == "__main__":
    main()
