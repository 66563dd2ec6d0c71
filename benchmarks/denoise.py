"""Denoising alone: the identity as forward model, against scikit-image's denoisers calibrated by the masked loss.

The pictures get noise and no blur: `full` is the published noise (variance 0.01 + 0.001 x, one pixel in a hundred
replaced, 1024 levels, clipped), `gaussian` sigma 0.1, 1024 levels, clipped. scikit-image's wavelet, total variation and
non-local means have their parameters from `calibrate_denoiser` (Batson and Royer 2019), stride 4, and are given
twice: the J-invariant function that it returns, and the plain denoiser with these parameters, which sees every pixel.

    python benchmarks/denoise.py --images DIR --output build/denoise
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from _common import SHORT_TRAINING, Row, begin, parser, pictures, say
from skimage.restoration import calibrate_denoiser, denoise_nl_means, denoise_tv_chambolle, denoise_wavelet

from ssi_pipeline.benchmark.images import image_digest
from ssi_pipeline.benchmark.methods import Degraded, configuration, run_solver
from ssi_pipeline.benchmark.protocol import LEVELS, degrade
from ssi_pipeline.benchmark.rows import METRICS, measure
from ssi_pipeline.benchmark.tables import Sheet

NO_BLUR = np.ones((1, 1))
SIGMA = 0.1
STRIDE = 4

_STRENGTHS = [float(round(s, 3)) for s in np.geomspace(0.025, 0.4, 9)]
"""Twofold in two steps, from a quarter of the noise to four times as much."""

DENOISERS: dict[str, tuple[Callable[..., np.ndarray], dict[str, list[Any]]]] = {
    "wavelet": (denoise_wavelet, {"sigma": _STRENGTHS, "wavelet": ["db1", "db2"], "rescale_sigma": [True]}),
    "tv_chambolle": (denoise_tv_chambolle, {"weight": _STRENGTHS}),
    "nl_means": (
        denoise_nl_means,
        {"h": _STRENGTHS, "patch_size": [5], "patch_distance": [6], "fast_mode": [True]},
    ),
}
"""By name: function, and the parameters that are tried."""

METHODS = ("input", *DENOISERS, "ssi")


def noisy(truth: np.ndarray, noise: str, seed: int = 0) -> np.ndarray:
    """Return counts, 0 ... 1024 (uint16, y x), of a plane in [0, 1] with noise and no blur."""
    if noise == "full":
        return degrade(truth, NO_BLUR, seed)
    normal = np.random.RandomState(seed).normal(size=truth.shape)
    return np.clip(np.round(LEVELS * (truth + SIGMA * normal)), 0, LEVELS).astype(np.uint16)


def make_rows(truth: np.ndarray, method: str, noise: str, changes: Sequence[str], seed: int) -> Row:
    """Return the results of a method on one picture, by name: two for a denoiser of scikit-image."""
    counts = noisy(truth, noise)
    degraded = Degraded(counts, NO_BLUR, truth, tuple(changes))
    if method == "input":
        return {"results": {"input": {**measure(truth, degraded.image), "seconds": 0.0}}}
    if method in DENOISERS:
        return scikit_image(truth, degraded.image, method)
    started = time.process_time()
    found = run_solver(method, degraded, seed)
    seconds = time.process_time() - started
    return {"results": {"ours": {**measure(truth, found.estimate), "seconds": seconds}}, **found.facts}


def scikit_image(truth: np.ndarray, image: np.ndarray, method: str) -> Row:
    """Calibrate a denoiser of scikit-image on the image alone and apply it in both ways."""
    function, parameters = DENOISERS[method]
    started = time.process_time()
    invariant, (tried, losses) = calibrate_denoiser(image, function, parameters, stride=STRIDE, extra_output=True)
    best = tried[int(np.argmin(losses))]
    calibrated = time.process_time() - started
    results = {}
    for name, apply in ((f"{method}, J-invariant", invariant), (method, lambda y: function(y, **best))):
        started = time.process_time()
        estimate = apply(image)
        seconds = calibrated + time.process_time() - started
        results[name] = {**measure(truth, estimate), "seconds": seconds}
    return {"results": results, "parameters": best}


def sheets(rows: Sequence[Row]) -> list[Sheet]:
    """Return the means over the pictures, and each picture's PSNR; the best of each column or line is bold."""
    images = list(dict.fromkeys(row["image"] for row in rows))
    found = {(row["image"], name): values for row in rows for name, values in row["results"].items()}
    names = list(dict.fromkeys(name for _, name in found))
    columns = [*METRICS, "seconds"]
    means = np.array([[np.mean([found[image, name][key] for image in images]) for key in columns] for name in names])
    digits = (2, 3, 3, 3, 3, 1)
    lines = [
        [n, *(f"{v:.{d}f}" for v, d in zip(line, digits, strict=True))] for n, line in zip(names, means, strict=True)
    ]
    best = {(int(np.argmax(means[:, j])), j + 1) for j in range(len(METRICS))}
    headings = ["method", "PSNR (dB)", "SSIM, range 2", "SSIM, range 1", "MI", "SMI", "CPU s"]
    levels = np.array([[found[image, name]["psnr"] for name in names] for image in images])
    each = [[image, *(f"{v:.2f}" for v in line)] for image, line in zip(images, levels, strict=True)]
    bold = {(i, int(np.argmax(line)) + 1) for i, line in enumerate(levels)}
    title = f"Mean over {len(images)} images"
    return [
        Sheet(title, headings, lines, frozenset(best)),
        Sheet("PSNR (dB)", ["image", *names], each, frozenset(bold)),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--noise", choices=["full", "gaussian"], default="full")
    options.add_argument("--methods", default=",".join(METHODS))
    options.add_argument("--seed", type=int, default=0, help="of the training")
    options = options.parse_args(arguments)
    with begin("denoise", options, {"only": "camera", "images": None, "crop": 48}, SHORT_TRAINING) as study:
        rows = []
        for name, truth in pictures(options):
            setup = {"image": image_digest(truth), "seed": options.seed, "changes": options.changes}
            for method in options.methods.split(","):

                def make(truth: np.ndarray = truth, method: str = method) -> Row:
                    return make_rows(truth, method, options.noise, options.changes, options.seed)

                plain = method == "input" or method in DENOISERS
                config = None if plain else configuration(method, options.changes)
                row = study.row(f"{name}.{options.noise}.{method}", setup, make, config, device=None)
                rows.append({"image": name, **row})
                for title, values in row["results"].items():
                    say(f"{name} {title}: {values['psnr']:.2f} dB, {values['seconds']:.1f} s CPU")
        study.finish(f"Denoising, {options.noise} noise", sheets(rows))


if __name__ == "__main__":
    main()
