"""Trials of the inversion on scikit-image's own pictures, degraded with a known PSF.

Prints, for each image, the PSNR (range 1, clipped to it) of the input, the best Richardson-Lucy of 1 to 30
iterations (picked with the truth), the Wiener solution, and the result of `solve`, and the seconds.
Options of the configuration are given as training.steps=200.

    python benchmarks/inversion_trials.py --images camera,moon --set training.steps=200
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from scipy import signal


def ring_psf(sigma: float = 1.0, radius: float = 2.0, half: int = 6) -> np.ndarray:
    z, x = np.mgrid[-half : half + 1, -half : half + 1]
    r = np.hypot(z, x)
    psf = np.exp(-0.5 * ((r - radius) / sigma) ** 2) + np.exp(-0.5 * (r / sigma) ** 2)
    psf[r > half] = 0
    return (psf / psf.sum()).astype(np.float32)


def gaussian_psf(sigma: float = 2.0) -> np.ndarray:
    half = int(np.ceil(3.2 * sigma))
    g = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    psf = np.outer(g, g)
    return (psf / psf.sum()).astype(np.float32)


def degrade(x: np.ndarray, psf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (blurred, noisy), as in METHOD section 2."""
    b = signal.fftconvolve(x, psf, mode="same").astype(np.float32)
    rng = np.random.RandomState(0)
    n, r = rng.normal(size=x.shape), rng.uniform(size=x.shape) < 0.01
    z = b + np.sqrt(np.maximum(0.001 * b, 0) + 0.1**2) * n
    z[r] = rng.uniform(size=x.shape)[r]
    return b, np.clip(np.round(1024 * z) / 1024, 0, 1).astype(np.float32)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((np.clip(a, 0, 1).astype(np.float64) - b) ** 2)))


def richardson_lucy(y: np.ndarray, psf: np.ndarray, x: np.ndarray) -> tuple[float, int]:
    """Return the best PSNR over 1 to 30 iterations, and the iterations."""
    pad = 8
    yp = np.pad(y, pad, mode="reflect").astype(np.float64)
    u, best = np.full_like(yp, yp.mean()), (-np.inf, 0)
    back = psf[::-1, ::-1].astype(np.float64)
    for k in range(1, 31):
        ratio = yp / np.maximum(signal.fftconvolve(u, psf.astype(np.float64), mode="same"), 1e-6)
        u = np.maximum(u * signal.fftconvolve(ratio, back, mode="same"), 0)
        best = max(best, (psnr(u[pad:-pad, pad:-pad], x), k))
    return best


def image(name: str) -> np.ndarray:
    from skimage import data
    from skimage.color import rgb2gray
    from skimage.io import imread

    if "@" in name:  # path@row,column of a 256 x 256 crop
        path, corner = name.split("@")
        a, (i, j) = imread(path), map(int, corner.split(":"))
    else:
        a, i, j = getattr(data, name)(), None, None
    a = rgb2gray(a[..., :3]) if a.ndim == 3 else a.astype(np.float64)
    i, j = ((a.shape[0] - 256) // 2 if i is None else i), ((a.shape[1] - 256) // 2 if j is None else j)
    a = a[max(i, 0) : max(i, 0) + 256, max(j, 0) : max(j, 0) + 256]
    return ((a - a.min()) / (a.max() - a.min())).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", default="camera,cell,coins,moon,microaneurysms,page,hubble_deep_field")
    parser.add_argument("--psf", default="ring")
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--save")
    args = parser.parse_args()
    torch.set_num_threads(1)
    from ssi_pipeline.config import parse_config
    from ssi_pipeline.geometry import required_halo
    from ssi_pipeline.geometry.halo import network_stride
    from ssi_pipeline.inversion.calibration import calibrate
    from ssi_pipeline.inversion.measurement import Measurement
    from ssi_pipeline.inversion.solve import solve
    from ssi_pipeline.physics.psf import Psf

    psf = {"ring": ring_psf, "gaussian": gaussian_psf}[args.psf]() if "." not in args.psf else np.load(args.psf)
    document: dict = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {"kind": "identity"}}
    for item in args.set:
        key, value = item.split("=")
        node = document
        *parents, leaf = key.split(".")
        for part in parents:
            node = node.setdefault(part, {})
        node[leaf] = json.loads(value) if value[0] in "0123456789tfn[{-" else value
    config = parse_config(document)
    radius = (0, *(n // 2 for n in psf.shape))
    box = Psf(psf[None].astype(np.float32))
    rows = []
    for name in args.images.split(","):
        x = image(name)
        b, y = degrade(x, psf)
        halo, stride = required_halo(config, radius)[1:], network_stride(config.network)
        pads = [
            (min(r, h), min(r, h) + -(n + 2 * min(r, h)) % stride)
            for r, h, n in zip(radius[1:], halo, y.shape, strict=False)
        ]
        y_pad = np.pad(y, pads, mode="reflect")[None]
        seen = np.pad(np.ones(y.shape, bool), pads)[None]
        m = Measurement(y_pad, seen)
        c0 = time.perf_counter()
        calibration = calibrate([m], box, config)
        c1 = time.perf_counter()
        cut = tuple(slice(p[0], p[0] + n) for p, n in zip(pads, y.shape, strict=False))
        linear = solve(m, box, calibration, config.model_copy(update={"solver": "wiener"}), args.seed, "cpu")
        rl = richardson_lucy(y, psf, x)
        for seed in range(args.seed, args.seed + args.repeats):
            t0 = time.perf_counter()
            s = solve(m, box, calibration, config, seed, "cpu")
            t1 = time.perf_counter()
            row = {
                "blurred": psnr(b, x),
                "input": psnr(y, x),
                "rl": rl[0],
                "wiener": psnr(linear.estimate[0][cut], x),
                "ours": psnr(s.estimate[0][cut], x),
            }
            rows.append(row)
            label = name.split("/")[-1][:22]
            print(
                f"{label:22s} "
                + " ".join(f"{k} {v:6.2f}" for k, v in row.items())
                + f"  {t1 - t0:5.1f}s cal {c1 - c0:.1f}s {s.method} steps {s.steps} tries {s.attempts}"
                f" held {s.heldout_wiener:.5f}->{s.heldout_after:.5f} sigma {calibration.noise_sigma:.3f}"
                f" a {calibration.noise_alpha:.4f} imp {calibration.impulse_share:.4f}"
                f" w {calibration.wiener_weight:.2g} clip {calibration.clip_low},{calibration.clip_high} {s.note}",
                flush=True,
            )
            if args.save:
                np.save(f"{args.save}_{label}.npy", np.stack([x, y, linear.estimate[0][cut], s.estimate[0][cut]]))
    print("mean" + " " * 19 + " ".join(f"{k} {np.mean([r[k] for r in rows]):6.2f}" for k in rows[0]))
    print("gain over best RL, least:", round(min(r["ours"] - r["rl"] for r in rows), 2))


if __name__ == "__main__":
    main()
