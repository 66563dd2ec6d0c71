"""Trials of the inversion on scikit-image's own pictures, degraded as in the published benchmark.

Prints for each picture the PSNR (range 1, clipped to it) of the input, of the best Richardson-Lucy of 1 to 30
iterations (picked with the truth), of the linear (Wiener) solution and of the network, and the CPU seconds of
the training. Options of the configuration are given as training.steps=200.

    python benchmarks/trials.py --images camera,cell,retina --psf gaussian training.steps=200
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from typing import Any

import numpy as np
import torch
import yaml
from skimage import data
from skimage.color import rgb2gray

from ssi_pipeline.benchmark.protocol import LEVELS, benchmark_psf, degrade
from ssi_pipeline.config import GaussianPsf, RunConfig, parse_config
from ssi_pipeline.inversion.calibration import calibrate
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.richardson_lucy import richardson_lucy
from ssi_pipeline.inversion.solve import solve
from ssi_pipeline.physics import Psf, load_psf
from ssi_pipeline.quality.reference import psnr

IMAGES = "cell,retina,hubble_deep_field,camera,coins,moon"


def picture(name: str, side: int) -> np.ndarray:
    """Return the middle of a picture (y x), stretched to [0, 1]."""
    image = np.asarray(getattr(data, name)())
    grey = rgb2gray(image[..., :3]) if image.ndim == 3 else image.astype(np.float64)
    y, x = (max(0, (n - side) // 2) for n in grey.shape)
    crop = grey[y : y + side, x : x + side]
    return ((crop - crop.min()) / (crop.max() - crop.min())).astype(np.float32)


def configuration(changes: list[str]) -> RunConfig:
    """Return the defaults with changes like ``training.steps=200``."""
    document: dict[str, Any] = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {"kind": "identity"}}
    for change in changes:
        key, value = change.split("=")
        *parents, leaf = key.split(".")
        section = document
        for parent in parents:
            section = section.setdefault(parent, {})
        section[leaf] = yaml.safe_load(value)
    return parse_config(document)


def measurement(y: np.ndarray, radius: int, stride: int) -> tuple[Measurement, tuple[int | slice, ...]]:
    """Pad a plane as the pipeline does; returns it and where the plane is."""
    pads = [(radius, radius + -(n + 2 * radius) % stride) for n in y.shape]
    values = np.pad(y.astype(np.float32), pads, mode="reflect")[None]
    seen = np.pad(np.ones(y.shape, bool), pads)[None]
    inside = tuple(slice(radius, radius + n) for n in y.shape)
    return Measurement(values, seen), (0, *inside)


def trial(truth: np.ndarray, psf: Psf, config: RunConfig, seed: int) -> tuple[dict[str, float], str]:
    """Return PSNRs by name, and what else is worth knowing."""
    kernel = psf.values[0].astype(np.float64)
    y = degrade(truth, kernel)

    def score(estimate: np.ndarray) -> float:
        return psnr(truth, np.clip(estimate / LEVELS, 0, 1).astype(np.float32))

    posed, inside = measurement(y, psf.radius[1], 2 ** (config.network.levels - 1))
    calibration = calibrate([posed], psf, config)
    linear = solve(posed, psf, calibration, config.model_copy(update={"solver": "wiener"}), seed, "cpu")
    started = time.process_time()
    found = solve(posed, psf, calibration, config, seed, "cpu")
    seconds = time.process_time() - started
    row = {
        "input": score(y),
        "RL": max(score(x) for x in islice(richardson_lucy(y, kernel), 30)),
        "Wiener": score(linear.estimate[inside]),
        "ours": score(found.estimate[inside]),
    }
    return row, f"{found.method}, {found.steps} steps, {found.attempts} training(s), {seconds:.0f} s {found.note}"


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
    psf = Psf(benchmark_psf()[None].astype(np.float32))
    if options.psf == "gaussian":
        section = GaussianPsf(kind="gaussian", fwhm_px={"y": 4.7, "x": 4.7})
        psf = load_psf(section, None, 2) or psf
    rows = []
    for name in options.images.split(","):
        row, note = trial(picture(name, options.side), psf, configuration(options.changes), options.seed)
        rows.append(row)
        print(f"{name:20s}", *(f"{key} {value:5.2f}" for key, value in row.items()), f" {note}", flush=True)
    print(f"{'mean':20s}", *(f"{key} {np.mean([row[key] for row in rows]):5.2f}" for key in rows[0]))


if __name__ == "__main__":
    main()
