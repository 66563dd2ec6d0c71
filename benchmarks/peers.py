"""Beside other programs on equal work, in turns in one process: Richardson-Lucy in 3D, and the way through storage.

scikit-image is an optional dependency (`pip install ssi_pipeline[report]`); RedLionfish is measured where
`pip install RedLionfish` has put it. Seconds are of the processor, one thread.

    PYTHONPATH=tests python benchmarks/peers.py lucy
    PYTHONPATH=tests python benchmarks/peers.py storage --side 4096
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from builders import complete, make_run, write_zarr
from classical_cases import as_measurement, blobs, config_for
from numpy.typing import NDArray
from scipy import ndimage, signal

from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.classical.observation import observe
from ssi_pipeline.inversion.classical.richardson_lucy import solve_richardson_lucy
from ssi_pipeline.inversion.problem import Problem, build_problem
from ssi_pipeline.inversion.solve import solve
from ssi_pipeline.physics.psf import Psf

Volume = NDArray[np.float32]

SHAPE, RADIUS, SIGMA = (32, 64, 64), (4, 10, 10), (1.5, 2.5, 2.5)
ITERATIONS = 30
ROUNDS = 3
BORDER = 8
"""Pixels (y x) from the border within which errors are those of the border."""

PEAK, DARK = 200.0, 20.0
"""Photons of the bright regions, and of the background."""


def scene() -> tuple[Volume, Volume, Volume]:
    """Return truth, image and PSF (z y x); bright regions go on beyond the image's border."""
    axes = np.meshgrid(*(np.arange(-r, r + 1) / s for r, s in zip(RADIUS, SIGMA, strict=True)), indexing="ij")
    psf = np.exp(-0.5 * sum(axis**2 for axis in axes))
    psf /= psf.sum()
    larger = tuple(n + 2 * r for n, r in zip(SHAPE, RADIUS, strict=True))
    truth = DARK + PEAK * ndimage.gaussian_filter(blobs(larger, scale=4.0), 0.7)
    image = np.random.default_rng(1).poisson(signal.fftconvolve(truth, psf, mode="valid"))
    inner = tuple(slice(r, -r) for r in RADIUS)
    return truth[inner].astype(np.float32), image.astype(np.float32), psf.astype(np.float32)


def problem_of(image: Volume, psf: Volume) -> Problem:
    """Return the problem of an image of photons."""
    calibration = ChannelCalibration(0.0, float(image.max()), 1.0 / float(image.max()), 0.0, 0.0, 0.0, 0.0)
    sections = {"classical": {"iterations": ITERATIONS}, "quality": {"extended": False}, "tiling": {"dimensions": 3}}
    return build_problem(Psf(psf), calibration, config_for("richardson_lucy", **sections), "cpu")


INSIDE = tuple(slice(r, -r) for r in RADIUS)


def ours(image: Volume, psf: Volume) -> Volume:
    """Solve as a tile is solved: the scene continues beyond the image by the radius of the PSF, unknown there.

    With the impulse test, and with the iterations once more for the held-out loss.
    """
    return solve(problem_of(image, psf), as_measurement(image, RADIUS), 0).estimate[INSIDE]


def iterations_alone(image: Volume, psf: Volume) -> Volume:
    """Iterate, without what a tile needs besides."""
    problem, measurement = problem_of(image, psf), as_measurement(image, RADIUS)
    normal, known = (torch.from_numpy(a) for a in (problem.calibration.normalised(measurement.y), measurement.observed))
    estimate = solve_richardson_lucy(problem, observe(problem, normal.float(), known), ITERATIONS)
    found: Volume = estimate.numpy()[INSIDE] * problem.calibration.scale
    return found


def of_skimage(image: Volume, psf: Volume) -> Volume:
    """Richardson-Lucy of scikit-image: zeros beyond the border."""
    restoration = importlib.import_module("skimage.restoration")
    found: Volume = restoration.richardson_lucy(image / image.max(), psf, num_iter=ITERATIONS, clip=False) * image.max()
    return found


def of_redlionfish(image: Volume, psf: Volume) -> Volume:
    """RedLionfish's default on a CPU: the image continues at its other side."""
    module = importlib.import_module("RedLionfishDeconv.RLDeconv3DScipy")
    found: Volume = module.doRLDeconvolution(image, psf, niter=ITERATIONS)
    return found


def decibel(found: Volume, truth: Volume, where: NDArray[np.bool_]) -> float:
    """Return the PSNR on a part of an estimate after the gain and offset that are best on all of it."""
    gain, offset = np.polyfit(found.ravel(), truth.ravel(), 1)
    error = (gain * found + offset - truth)[where]
    return float(10 * np.log10(np.ptp(truth) ** 2 / np.mean(error**2)))


def lucy() -> None:
    """Print the table of Richardson-Lucy in 3D."""
    truth, image, psf = scene()
    border = np.ones(SHAPE, bool)
    border[:, BORDER:-BORDER, BORDER:-BORDER] = False
    ways: dict[str, Callable[[Volume, Volume], Volume]] = {
        "ours, a whole tile": ours,
        "ours, the iterations": iterations_alone,
        "scikit-image": of_skimage,
    }
    if importlib.util.find_spec("RedLionfishDeconv") is not None:
        ways["RedLionfish"] = of_redlionfish
    spent: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Volume] = {}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.process_time()
            found[name] = way(image, psf)
            spent[name].append(time.process_time() - started)
    print("| | s | of our iterations | inner dB | border dB |\n|---|---|---|---|---|")
    for name, seconds in spent.items():
        inner, outer = (decibel(found[name], truth, where) for where in (~border, border))
        least, unit = min(seconds), min(spent["ours, the iterations"])
        print(f"| {name} | {least:.2f} | {least / unit:.2f} | {inner:.2f} | {outer:.2f} |")


def storage(side: int) -> None:
    """Print the table of the way through storage: copies of one image, and what a run does besides."""
    image = np.random.default_rng(0).poisson(200, (1, side, side)).astype(np.uint16)
    plain = {"tiling": {"core": 1024}, "quality": {"extended": False}, "output": {"pyramid": False}}
    runs: dict[str, dict[str, Any]] = {
        "`ssi run`, identity, no metrics, no pyramid": plain,
        "with the pyramid": {**plain, "output": {}},
        "with the metrics": {"tiling": {"core": 1024}, "output": {"pyramid": False}},
    }
    rows: list[tuple[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = write_zarr(folder / "in.zarr", image, "zyx", chunk=256)
        started = time.process_time()
        _copy(source, folder / "copy.zarr")
        rows.append(("zarr, shard by shard", time.process_time() - started))
        for number, (title, sections) in enumerate(runs.items()):
            config = make_run(folder / str(number), None, input={"path": str(source)}, **sections)
            started = time.process_time()
            complete(config)
            rows.append((title, time.process_time() - started))
    print(f"{image.nbytes / 1e6:.0f} MB\n\n| | s | of the copy |\n|---|---|---|")
    for title, seconds in rows:
        print(f"| {title} | {seconds:.2f} | {seconds / rows[0][1]:.1f} |")


def _copy(source: Path, target: Path) -> None:
    """Copy an array into shards of 1024 x 1024 in chunks of 256 x 256, compressed as outputs of runs are."""
    array: Any = zarr.open_array(source, mode="r")
    compressors = [zarr.codecs.BloscCodec(cname="zstd", clevel=5), zarr.codecs.Crc32cCodec()]
    made: Any = zarr.create_array(
        target,
        shape=array.shape,
        dtype=array.dtype,
        chunks=(1, 256, 256),
        shards=(1, 1024, 1024),
        compressors=compressors,
    )
    for y in range(0, array.shape[1], 1024):
        for x in range(0, array.shape[2], 1024):
            box = (slice(0, 1), slice(y, y + 1024), slice(x, x + 1024))
            made[box] = array[box]


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["lucy", "storage"], nargs="?", default="storage")
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--short", action="store_true", help="an image of 1024 x 1024")
    asked = parser.parse_args()
    if asked.short:
        asked.side = 1024
    torch.set_num_threads(1)
    if asked.what == "lucy":
        lucy()
    else:
        storage(asked.side)


if __name__ == "__main__":
    main()
