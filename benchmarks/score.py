"""Does the score without truth rank reconstructions as the truth does?

Of each degraded picture 26 reconstructions are made: Richardson-Lucy along its iterations, the linear filter and both
kinds of total variation along their weights, the network with few and many steps and two seeds. Each is judged as
`ssi run` judges a tile, without the truth; then Spearman's rank correlation of each metric with PSNR says how well it
ranks, and the PSNR of its first choice below the best one what is lost when it picks.

    python benchmarks/score.py --images DIR --crop 256 --output build/score
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from _common import SHORT_TRAINING, Row, begin, parser, pictures, say
from scipy.stats import spearmanr

from ssi_pipeline.benchmark.images import image_digest
from ssi_pipeline.benchmark.methods import Degraded, configuration, measurement
from ssi_pipeline.benchmark.protocol import LEVELS, benchmark_psf
from ssi_pipeline.benchmark.rows import clipped
from ssi_pipeline.benchmark.tables import Sheet
from ssi_pipeline.config import RunConfig
from ssi_pipeline.geometry.halo import network_stride
from ssi_pipeline.inversion.assess.blind_metrics import Invert, blind_metrics_of
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.classical.observation import observe
from ssi_pipeline.inversion.classical.registry import CLASSICAL
from ssi_pipeline.inversion.measurement import to_tensor
from ssi_pipeline.inversion.network.solver import solve_by_network
from ssi_pipeline.inversion.problem import Problem, build_problem
from ssi_pipeline.inversion.solution import raw_estimate
from ssi_pipeline.inversion.tile import TileTensors, make_tile_tensors
from ssi_pipeline.physics import Psf
from ssi_pipeline.quality.decorrelation import decorrelation_resolution
from ssi_pipeline.quality.ranks import SCORED, rank_sum
from ssi_pipeline.quality.reference import psnr
from ssi_pipeline.quality.resolution import ring_correlation_resolution

CANDIDATES: dict[str, tuple[float, ...]] = {
    "richardson_lucy": (1, 2, 3, 5, 8, 12, 20, 40),
    "wiener": (100, 10, 1, 0.1, 0.01),
    "tv": (0.3, 0.1, 0.03, 0.01, 0.003),
    "tv_cg": (0.1, 0.03, 0.01, 0.003),
}
TRAININGS = ((30, 0), (100, 0), (100, 1), (300, 0))
"""Steps and seed."""

FIXED = ("training.select=network", "training.attempts=1")

PICKERS: dict[str, Sequence[str]] = {
    "score (rank sum of held-out loss, whiteness, R2R, background)": SCORED,
    "held-out loss, 4 masks": ("heldout_excess",),
    "whiteness": ("whiteness",),
    "R2R risk": ("r2r_risk",),
    "the score without background structure": SCORED[:3],
    "held-out loss and whiteness": ("heldout_excess", "whiteness"),
    "chi2, distance from 1": ("chi2_misfit",),
    "background structure": ("background",),
    "FRC resolution": ("frc",),
    "decorrelation resolution": ("decorrelation",),
}


def inverses(problem: Problem, tile: TileTensors, trainings: Sequence[tuple[int, int]]) -> Iterator[tuple[str, Invert]]:
    """Yield the name and the inverse of each candidate."""
    for name, weights in CANDIDATES.items():
        for weight in weights:
            yield (
                f"{name} {weight:g}",
                lambda image, observed, n=name, k=weight: CLASSICAL[n].solve(
                    problem, observe(problem, image, observed), k
                ),
            )
    for steps, seed in trainings:
        found = solve_by_network(with_steps(problem, steps), tile, seed)
        if found.invert is not None and found.method == "network":  # otherwise the linear solution, which is there
            yield f"network {steps} steps, seed {seed}", found.invert


def with_steps(problem: Problem, steps: int) -> Problem:
    training = problem.config.training.model_copy(update={"steps": steps})
    config = problem.config.model_copy(update={"training": training})
    return dataclasses.replace(problem, config=config)


def compare(truth: np.ndarray, config: RunConfig, trainings: Sequence[tuple[int, int]]) -> Row:
    """Return PSNR and metrics of each candidate."""
    psf = Psf(benchmark_psf()[None].astype(np.float32))
    counts = Degraded.of(truth, psf.values[0].astype(np.float64)).counts
    posed, inside = measurement(counts, max(psf.radius), network_stride(config.network.levels))
    calibration = calibrate([posed], psf, config)
    problem = build_problem(psf, calibration, config, "cpu")
    tile = make_tile_tensors(problem, posed, 0)
    found: list[dict[str, Any]] = []
    for name, invert in inverses(problem, tile, trainings):
        estimate = raw_estimate(calibration, invert(tile.y, tile.observed))
        normal = to_tensor(calibration.normalised(estimate), problem.axes)
        started = time.process_time()
        scores = blind_metrics_of(problem, tile, invert, normal, 0)
        seconds = time.process_time() - started
        image = clipped(estimate[inside] / np.float32(LEVELS))
        found.append({"name": name, "psnr": psnr(truth, image), "seconds": seconds, **scores, **resolutions(image)})
    return {"candidates": found}


def resolutions(image: np.ndarray) -> dict[str, float]:
    both = {"frc": ring_correlation_resolution(image), "decorrelation": decorrelation_resolution(image)}
    return {name: value if math.isfinite(value) else math.inf for name, value in both.items()}


def judged(candidates: Sequence[dict[str, Any]], names: Sequence[str]) -> tuple[float, float]:
    """Return Spearman's correlation of a score with PSNR (1: the same order), and what its pick loses in dB."""
    levels = np.array([c["psnr"] for c in candidates])
    known = [{**c, "chi2_misfit": abs(math.log(c["chi2"])) if c.get("chi2") else math.nan} for c in candidates]
    score = rank_sum(known, names)
    if np.ptp(score) == 0:
        return 0.0, float(levels.max() - levels.mean())
    return -float(spearmanr(score, levels).statistic), float(levels.max() - levels[int(np.argmin(score))])


def sheets(rows: Sequence[Row]) -> list[Sheet]:
    """Return the means over the images, and each image's best candidate and the one that the score picks."""
    lines = []
    for title, names in PICKERS.items():
        found = [judged(row["candidates"], names) for row in rows]
        correlations, losses = np.array(found).T
        worst = int(np.argmax(losses))
        numbers = [correlations.mean(), correlations.min(), losses.mean()]
        lines.append([title, *(f"{n:.2f}" for n in numbers), f"{losses[worst]:.2f} ({rows[worst]['image']})"])
    heads = ["lower is better", "Spearman with PSNR", "worst image", "mean loss (dB)", "worst loss (dB)"]
    each = [_line(row) for row in rows]
    columns = ["image", "candidates", "Spearman", "best", "PSNR (dB)", "picked by the score", "loss (dB)"]
    return [Sheet(f"Mean over {len(rows)} images", heads, lines), Sheet("Each", columns, each), of_two_trainings(rows)]


def of_two_trainings(rows: Sequence[Row]) -> Sheet:
    """Return how often the better of two trainings of one picture is picked, as `training.retrain` does."""
    pairs = [
        pair
        for row in rows
        for pair in combinations([c for c in row["candidates"] if c["name"].startswith("network")], 2)
    ]
    lines = []
    for title, names in {"the score": SCORED, "held-out loss, 4 masks": SCORED[:1]}.items():
        lost = [max(c["psnr"] for c in pair) - pair[_pick(pair, names)]["psnr"] for pair in pairs]
        right = sum(loss == 0 for loss in lost)
        chance = np.mean([abs(a["psnr"] - b["psnr"]) / 2 for a, b in pairs]) if pairs else math.nan
        numbers = [f"{right} of {len(pairs)}", f"{np.mean(lost) if lost else math.nan:.2f}", f"{chance:.2f}"]
        lines.append([title, *numbers, f"{max(lost, default=math.nan):.2f}"])
    heads = ["picked by", "better one picked", "mean loss (dB)", "of a coin (dB)", "worst loss (dB)"]
    return Sheet("Of two trainings of one picture (30, 100, 100, 300 steps)", heads, lines)


def _pick(pair: Sequence[dict[str, Any]], names: Sequence[str]) -> int:
    """Return the place of the lower rank sum; where they are level, of the lower held-out loss."""
    first, second = rank_sum(pair, names)
    if first == second:
        first, second = (c["heldout_excess"] for c in pair)
    return int(second < first)


def _line(row: Row) -> list[str]:
    candidates = row["candidates"]
    correlation, loss = judged(candidates, SCORED)
    best = max(candidates, key=lambda c: c["psnr"])
    picked = candidates[int(np.argmin(rank_sum(candidates)))]
    numbers = [f"{correlation:.2f}", best["name"], f"{best['psnr']:.2f}", picked["name"], f"{loss:.2f}"]
    return [row["image"], str(len(candidates)), *numbers]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, crop=256).parse_args(arguments)
    short = {"only": "camera", "images": None, "crop": 64}
    with begin("score", options, short, SHORT_TRAINING) as study:
        rows, trainings = [], ((2, 0),) if options.short else TRAININGS
        config = configuration("ssi", [*options.changes, *FIXED])
        for name, truth in pictures(options):
            setup = {"image": image_digest(truth), "trainings": trainings, "weights": CANDIDATES}
            row = study.row(name, setup, lambda t=truth: compare(t, config, trainings), config)
            rows.append({"image": name, **row})
            correlation, loss = judged(row["candidates"], SCORED)
            say(f"{name}: {len(row['candidates'])} candidates, Spearman {correlation:.2f}, pick loses {loss:.2f} dB")
        study.finish("The score without truth against PSNR", sheets(rows))


if __name__ == "__main__":
    main()
