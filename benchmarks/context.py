"""Neighbouring planes and frames as further inputs of the network (network.context): on against off, with truth.

A stack whose planes lie two pixels apart under a depth of field of five, and a time-lapse of a still texture that
bleaches by 2 % a frame, with discs that move by up to six pixels a frame. The middle plane or frame of five is solved.
`ghost`: mean error where discs of the neighbours are and none of this frame is, as a share of their brightness; in the
mean of the three frames it is about a third.

    python benchmarks/context.py --seeds 0 1 2 --output build/context
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
import zarr
from _real_cases import DARK, GAIN, MARGIN, SIDE, Floats, blurred, camera, digitised, inside
from scipy import ndimage

from ssi_pipeline.config import load_config
from ssi_pipeline.run import run
from ssi_pipeline.storage.state.ledger import read_records

PLANES, WIDTH, PEAK = 5, 3.0, 90.0
"""Planes or frames; FWHM of the PSF in pixels; photons of the brightest structures."""

DEPTH, APART = 2.0, 2
"""Of the stack, in pixels: deviation of the depth of field, distance of planes."""

DISC = 0.6
"""Brightness of the discs, as a share of the peak."""


def structures(seed: int, shape: tuple[int, ...]) -> Floats:
    """Return photons per pixel before the blur, with a margin: textured cells, and fibres two pixels wide."""
    rng = np.random.default_rng((seed, 91))
    size = (*shape[:-2], shape[-2] + 2 * MARGIN, shape[-1] + 2 * MARGIN)
    cells, curve, fine = (
        f / f.std() for f in (ndimage.gaussian_filter(rng.standard_normal(size), s) for s in (8, 6, 2))
    )
    scene = np.where(cells > 0.3, 0.5 * PEAK * (1 + 0.35 * np.clip(fine, -2.5, 2.5)), 0.0)
    steep = np.sqrt(sum(d**2 for d in np.gradient(curve)))
    scene = np.where(np.abs(curve) < steep, 0.9 * PEAK, scene)
    return np.asarray(ndimage.gaussian_filter(scene, (0,) * (scene.ndim - 2) + (0.7, 0.7)) + 0.1 * PEAK)


def stack(seed: int) -> tuple[Floats, Floats]:
    """Return the scene of each plane, and no discs."""
    margin = 12
    scene = structures(seed, (APART * PLANES + 2 * margin, SIDE, SIDE))
    planes = ndimage.gaussian_filter1d(scene, DEPTH, axis=0)[margin : margin + APART * PLANES : APART]
    return planes, np.zeros_like(planes)


def lapse(seed: int) -> tuple[Floats, Floats]:
    """Return the scene of each frame, and its discs alone."""
    rng, still = np.random.default_rng((seed, 77)), structures(seed, (SIDE, SIDE))
    y, x = np.indices(still.shape)
    places, paces = rng.uniform(0, len(still), (12, 2)), rng.uniform(0, 6, (12, 1))
    discs = np.zeros((PLANES, *still.shape))
    for frame in discs:
        for k, (cy, cx) in enumerate(places):
            frame += DISC * PEAK / (1 + np.exp((np.hypot(y - cy, x - cx) - 3 - k % 4) / 0.5))
        places = (places + paces * rng.normal(0, 0.7, places.shape)) % len(still)
    bleaching = (0.98 ** np.arange(PLANES))[:, None, None]
    return (still + discs) * bleaching, discs * bleaching


CASES: dict[str, tuple[str, Callable[[int], tuple[Floats, Floats]]]] = {
    "stack": ("z", stack),
    "time-lapse": ("t", lapse),
}


def solved(
    folder: Path, image: Floats, axis: str, reach: int, options: argparse.Namespace
) -> tuple[Floats, dict[str, Any]]:
    """Run the middle plane; return its estimate and its metrics."""
    folder.mkdir(parents=True, exist_ok=True)
    zarr.create_array(folder / "in.zarr", data=digitised(image), dimension_names=(axis, "y", "x"), overwrite=True)
    middle = PLANES // 2
    document = {
        "input": {"path": "in.zarr", "roi": {axis: [middle, middle + 1]}},
        "output": {"path": "out.zarr", "dtype": "float32", "pyramid": False},
        "psf": {"kind": "gaussian", "fwhm_px": {"y": WIDTH, "x": WIDTH}},
        "network": {"context": {axis: reach}},
        "training": {"steps": options.steps, "batch": options.batch, "select": "network", "precision": "bfloat16"},
        "executor": {"kind": "serial", "device": "cpu"},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(document))
    config = load_config(folder / "run.yaml")
    run(config, new=True)
    record = next(r for r in read_records(config.state_path / "ledger.jsonl") if r.kind == "solve")
    return np.asarray(zarr.open_array(config.output.path / "0", mode="r")[0], np.float64), record.quality


def main(arguments: list[str]) -> None:
    """Run all cases and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[*CASES])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("build/context"))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--short", action="store_true", help="two steps of one case")
    options = parser.parse_args(arguments)
    if options.short:
        options.cases, options.seeds, options.steps, options.batch = ["stack"], [0], 2, 1
    print("| case | seed | PSNR off | PSNR on | gain | held-out x 1000 off, on | ghost off, on |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in options.cases:
        axis, scene = CASES[name]
        for seed in options.seeds:
            light, discs = scene(seed)
            truth, discs = inside(GAIN * light + DARK)[PLANES // 2], inside(GAIN * discs)
            image = inside(camera(blurred(light, WIDTH), seed))
            found = [solved(options.output / f"{axis}{seed}-{on}", image, axis, on, options) for on in (0, 1)]
            psnr = [10 * math.log10(float(np.ptp(truth)) ** 2 / np.mean((x - truth) ** 2)) for x, _ in found]
            held = ", ".join(f"{1000 * quality['heldout_after']:.3f}" for _, quality in found)
            beside = discs[[PLANES // 2 - 1, PLANES // 2 + 1]].max(0) - discs[PLANES // 2] > 0.5 * GAIN * DISC * PEAK
            ghost = [
                float((x - truth)[beside].mean()) / (GAIN * DISC * PEAK) if beside.any() else 0.0 for x, _ in found
            ]
            print(
                f"| {name} | {seed} | {psnr[0]:.2f} | {psnr[1]:.2f} | {psnr[1] - psnr[0]:+.2f} | {held} "
                f"| {ghost[0]:+.3f}, {ghost[1]:+.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
