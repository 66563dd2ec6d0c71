"""Seconds of training until ours, and until the published recipe, first reach what the published recipe ends with.

Both are trained on the degraded picture in this process, one thread, one after the other. CPU seconds and wall seconds
count everything but scoring: for ours the calibration, its validations and repeated trainings too. Ours is scored
before the first step (the linear solution) and at each of its validations, from the averaged parameters;
the published recipe every few steps, by its network as it is then; both at the end by what they return.

    python benchmarks/time_to_quality.py --images DIR --only nuclei924x624 --output build/time_to_quality
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from unittest import mock

import numpy as np
from _common import SHORT_TRAINING, Row, begin, parser, pictures, say
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ssi_pipeline.benchmark.images import image_digest
from ssi_pipeline.benchmark.methods import Degraded, configuration, measurement
from ssi_pipeline.benchmark.protocol import LEVELS, benchmark_psf
from ssi_pipeline.benchmark.rows import clipped
from ssi_pipeline.benchmark.tables import Sheet
from ssi_pipeline.geometry.halo import network_stride
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.kobayashi2020.solve import solve_published
from ssi_pipeline.inversion.network.solver import solve_by_network
from ssi_pipeline.inversion.problem import Problem, build_problem
from ssi_pipeline.inversion.solution import Solution
from ssi_pipeline.inversion.solve import SolveOptions, Solver, solve, solver_of
from ssi_pipeline.inversion.tile import TileTensors
from ssi_pipeline.physics import Psf
from ssi_pipeline.quality.reference import psnr

METHODS = ("ssi", "ssi_published")  # the quick one first
TITLES = {"ssi": "ours", "ssi_published": "published recipe"}

Point = tuple[int, float, float, float]
"""Steps, CPU seconds, wall seconds, PSNR in dB."""


class Recorder:
    """Scores estimates along a training, and keeps the clocks without the time that this takes."""

    def __init__(
        self, score: Callable[[NDArray[np.float32]], float], every: int, tell: Callable[[Point], None]
    ) -> None:
        self.points: list[Point] = []
        self._score, self._every, self._tell = score, every, tell
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def seconds(self) -> tuple[float, float]:
        """Return CPU and wall seconds since the start."""
        return time.process_time() - self._cpu, time.perf_counter() - self._wall

    def watch(self, step: int, estimate: Callable[[], NDArray[np.float32]]) -> None:
        """Score the estimate, at every so many steps."""
        if step % self._every == 0:
            self.add(step, estimate)

    def add(self, step: int, estimate: Callable[[], NDArray[np.float32]]) -> None:
        """Score the estimate and stop the clocks meanwhile."""
        cpu, wall = self.seconds()
        self.points.append((step, cpu, wall, self._score(estimate())))
        self._tell(self.points[-1])
        now = self.seconds()
        self._cpu, self._wall = self._cpu + now[0] - cpu, self._wall + now[1] - wall


def train(truth: np.ndarray, method: str, seed: int, every: int, changes: Sequence[str], name: str) -> Row:
    """Return the curve of one method on one picture."""
    config, psf = configuration(method, changes), Psf(benchmark_psf()[None].astype(np.float32))
    counts = Degraded.of(truth, psf.values[0].astype(np.float64)).counts
    posed, inside = measurement(counts, max(psf.radius), network_stride(config.network.levels))

    def score(estimate: NDArray[np.float32]) -> float:
        return psnr(truth, clipped(estimate[inside] / np.float32(LEVELS)))

    def tell(point: Point) -> None:
        say(f"{name} {TITLES[method]}, step {point[0]}: {point[3]:.2f} dB, {point[1]:.1f} s CPU, {point[2]:.1f} s wall")

    recorder = Recorder(score, every if method == "ssi_published" else 1, tell)
    if method == "ssi_published":
        problem = build_problem(psf, calibrate([posed], psf, config), config, "cpu")
        found = solve_published(problem, posed, seed, on_validation=recorder.watch)
    else:

        def watched(problem: Problem, tile: TileTensors, seed: int, options: SolveOptions) -> Solution:
            return solve_by_network(problem, tile, seed, options, recorder.watch)

        def chosen(name: str) -> Solver:
            return watched if name == "ssi" else solver_of(name)

        with mock.patch("ssi_pipeline.inversion.solve.solver_of", chosen):
            found = solve(build_problem(psf, calibrate([posed], psf, config), config, "cpu"), posed, seed)
    recorder.add(found.steps, lambda: found.estimate)
    facts = {"steps": found.steps, "trainings": found.attempts, "used": found.method, "note": found.note}
    return {**facts, "psnr": recorder.points[-1][3], "curve": recorder.points}


def first_reach(curve: Sequence[Point], level: float) -> Point | None:
    """Return the first point at or above a PSNR."""
    return next((point for point in curve if point[3] >= level), None)


def sheet(rows: Sequence[Row]) -> Sheet:
    """Return for each picture the seconds of both, CPU and wall, and their ratios."""
    lines = []
    for image in dict.fromkeys(row["image"] for row in rows):
        own = {row["method"]: row for row in rows if row["image"] == image}
        if set(own) == set(METHODS):
            lines.append([image, *cells(own["ssi"], own["ssi_published"])])
    headings = ["image", "published ends at (dB)", "ours ends at (dB)", "published: CPU s (wall, steps)"]
    return Sheet("Until that PSNR", [*headings, "ours: CPU s (wall, steps)", "times sooner, CPU", "wall"], lines)


def cells(ours: Row, published: Row) -> list[str]:
    """Return one line of the table without its name; dashes where ours does not get there."""
    level = published["psnr"]
    theirs, mine = first_reach(published["curve"], level), first_reach(ours["curve"], level)
    shown = [f"{p[1]:.1f} ({p[2]:.1f}, {p[0]})" if p else "-" for p in (theirs, mine)]
    ratios = [f"{theirs[i] / mine[i]:.1f}" if theirs and mine else "-" for i in (1, 2)]
    return [f"{level:.2f}", f"{ours['psnr']:.2f}", *shown, *ratios]


def figure(rows: Sequence[Row]) -> Figure:
    """Draw PSNR over CPU seconds, a panel for each picture; the level that the published recipe ends with is dotted."""
    images = list(dict.fromkeys(row["image"] for row in rows))
    result = Figure(figsize=(4.4 * len(images), 3.4), layout="constrained")
    for axes, image in zip(result.subplots(1, len(images), squeeze=False)[0], images, strict=True):
        for row in (r for r in rows if r["image"] == image):
            _, seconds, _, levels = np.array(row["curve"]).T
            axes.plot(seconds, levels, "-o", markersize=2.5, linewidth=1, label=TITLES[row["method"]])
            if row["method"] == "ssi_published":
                axes.axhline(row["psnr"], color="#808080", linestyle=":", linewidth=1)
        axes.set(xscale="log", title=image, xlabel="CPU seconds, one thread", ylabel="PSNR (dB)")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, frameon=False)
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--steps", type=int, help="of the published recipe, at most; by default its own 3000")
    options.add_argument("--every", type=int, default=25, help="steps of the published recipe between scores")
    options = options.parse_args(arguments)
    short = {"only": "camera", "images": None, "crop": 48, "steps": 2, "every": 1}
    with begin("time_to_quality", options, short, SHORT_TRAINING) as study:
        if options.steps is not None:
            options.changes = [*options.changes, f"published.steps={options.steps}"]
        rows = []
        for name, truth in pictures(options):
            setup = {"image": image_digest(truth), "seed": options.seed, "every": options.every}
            setup["changes"] = options.changes
            for method in METHODS:

                def make(truth: np.ndarray = truth, method: str = method, name: str = name) -> Row:
                    return train(truth, method, options.seed, options.every, options.changes, name)

                row = study.row(f"{name}.{method}", setup, make, configuration(method, options.changes))
                rows.append({"image": name, "method": method, **row})
            study.finish("Time to quality", [sheet(rows)], {"time_to_quality": figure(rows)})


if __name__ == "__main__":
    main()
