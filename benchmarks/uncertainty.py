"""Does the uncertainty map cover the error?

Each picture is degraded by the published protocol, restored with the pipeline's default or another solver, and its
uncertainty asked for, all without the truth. Then the calibration curve: the share of pixels whose error exceeds the
map k times, of the whole map and of the disagreement of repeated predictions alone; and how well the map ranks pixels
by their error.

    python benchmarks/uncertainty.py --images DIR --crop 256 --output build/uncertainty
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from _common import SHORT_TRAINING, Row, begin, parser, pictures, say
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import spearmanr

from ssi_pipeline.benchmark.images import image_digest
from ssi_pipeline.benchmark.methods import Degraded, configuration, measurement
from ssi_pipeline.benchmark.protocol import LEVELS, benchmark_psf
from ssi_pipeline.benchmark.rows import clipped
from ssi_pipeline.benchmark.tables import Sheet
from ssi_pipeline.config import RunConfig
from ssi_pipeline.geometry.halo import network_stride
from ssi_pipeline.inversion.assess.uncertainty import uncertainty
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.measurement import to_tensor, to_volume
from ssi_pipeline.inversion.problem import build_problem
from ssi_pipeline.inversion.solve import SolveOptions, solve
from ssi_pipeline.inversion.tile import make_tile_tensors
from ssi_pipeline.physics import Psf
from ssi_pipeline.quality.reference import psnr

TIMES = (1, 2, 3, 4, 5)
CURVE = tuple(float(k) for k in np.linspace(0.25, 6, 24))
"""Multiples of the map at which the curve is known."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """``exceeding``: share of pixels whose error exceeds the map, for each multiple of it in ``CURVE``."""

    exceeding: list[float]
    rank_correlation: float
    root_mean_square: float

    @classmethod
    def of(cls, error: NDArray[np.floating], typical: NDArray[np.floating]) -> Coverage:
        shares = [float((error > k * typical).mean()) for k in CURVE]
        ranks = float(spearmanr(error.ravel(), typical.ravel()).statistic)
        return cls(shares, ranks, float(np.sqrt((typical**2).mean())))


def measure(truth: np.ndarray, config: RunConfig) -> Row:
    """Return the coverage of one picture's map, and of the disagreement alone."""
    psf = Psf(benchmark_psf()[None].astype(np.float32))
    counts = Degraded.of(truth, psf.values[0].astype(np.float64)).counts
    posed, inside = measurement(counts, max(psf.radius), network_stride(config.network.levels))
    calibration = calibrate([posed], psf, config)
    started = time.process_time()
    found = solve(
        build_problem(psf, calibration, config, "cpu"), posed, 0, SolveOptions(scored_region=(slice(0, 1), *inside[1:]))
    )
    seconds = time.process_time() - started
    if found.uncertainty is None or found.invert is None:
        raise SystemExit(f"no uncertainty for {found.method}")
    problem = build_problem(psf, calibration, config, "cpu")
    tile, estimate = (
        make_tile_tensors(problem, posed, 0),
        to_tensor(calibration.normalised(found.estimate), problem.axes),
    )
    started = time.process_time()
    alone = uncertainty(problem, tile, found.invert, estimate, config.output.uncertainty, 0, risk=0.0)
    repeating = time.process_time() - started
    image = clipped(found.estimate[inside] / np.float32(LEVELS))
    error = np.abs(image - truth)
    disagreement = to_volume(alone.deviation)[inside] * calibration.scale / LEVELS
    return {
        "method": found.method,
        "psnr": psnr(truth, image),
        "error": float(np.sqrt((error**2).mean())),
        "scale": found.scores["uncertainty_scale"],
        "seconds": seconds,
        "repeating": repeating,
        "map": asdict(Coverage.of(error, found.uncertainty[inside] / LEVELS)),
        "disagreement": asdict(Coverage.of(error, disagreement)),
    }


def share(row: Row, kind: str, times: float) -> float:
    """Return the share of pixels whose error exceeds a map so many times."""
    return float(row[kind]["exceeding"][CURVE.index(times)])


def sheets(rows: Sequence[Row]) -> list[Sheet]:
    """Return the calibration curve, mean and worst, and each picture."""
    lines = []
    for kind, title in (("map", "**the map**"), ("disagreement", "disagreement of repeated predictions alone")):
        for word, reduce in (("mean", np.mean), ("worst", np.max)):
            numbers = [f"{100 * reduce([share(row, kind, k) for row in rows]):.1f} %" for k in TIMES]
            lines.append([f"{title}, {word}", *numbers])
    heads = ["error exceeds", *(f"{k} x" for k in TIMES)]
    columns = ["image", "method", "PSNR (dB)", "RMS error", "RMS map", "scale", "error > 3 x map", "Spearman"]
    return [Sheet(f"Share of pixels, {len(rows)} images", heads, lines), Sheet("Each", columns, [*map(_line, rows)])]


def _line(row: Row) -> list[str]:
    sizes = [f"{row['error']:.4f}", f"{row['map']['root_mean_square']:.4f}", f"{row['scale']:.2f}"]
    last = [f"{100 * share(row, 'map', 3):.1f} %", f"{row['map']['rank_correlation']:.2f}"]
    return [row["image"], row["method"], f"{row['psnr']:.2f}", *sizes, *last]


def figure(rows: Sequence[Row]) -> Figure:
    """Draw the curves of all pictures, and what a normal distribution of that deviation would have."""
    from scipy.special import erfc

    drawn = Figure(figsize=(5, 3.6), layout="constrained")
    axes = drawn.add_subplot(xlabel="k", ylabel="share of pixels with error > k map", yscale="log", ylim=(1e-4, 1))
    for i, row in enumerate(rows):
        axes.plot(CURVE, row["map"]["exceeding"], "0.7", lw=0.8, label="an image" if i == 0 else None)
    for kind, name in (("map", "the map, mean"), ("disagreement", "disagreement alone, mean")):
        mean = np.mean([row[kind]["exceeding"] for row in rows], axis=0)
        axes.plot(CURVE, mean, {"map": "-", "disagreement": "--"}[kind], color="#0b62a8", label=name)
    axes.plot(CURVE, erfc(np.array(CURVE) / np.sqrt(2)), ":k", lw=1, label="normal distribution")
    axes.legend(frameon=False, fontsize=8)
    return drawn


def main(arguments: Sequence[str] | None = None) -> None:
    asked = parser(__doc__, crop=256)
    asked.add_argument("--solver", default="ssi")
    options = asked.parse_args(arguments)
    short = {"only": "camera", "images": None, "crop": 64}
    with begin("uncertainty", options, short, SHORT_TRAINING) as study:
        rows = []
        config = configuration(options.solver, options.changes)
        output = config.output.model_copy(update={"uncertainty": 2 if options.short else 8})
        config = config.model_copy(update={"output": output})
        for name, truth in pictures(options):
            setup = {"image": image_digest(truth), "repeats": output.uncertainty}
            row = study.row(name, setup, lambda t=truth: measure(t, config), config)
            rows.append({"image": name, **row})
            say(f"{name}: {row['method']}, error above 3 x map in {100 * share(row, 'map', 3):.1f} % of the pixels")
        study.finish("Does the uncertainty map cover the error?", sheets(rows), {"calibration": figure(rows)})


if __name__ == "__main__":
    main()
