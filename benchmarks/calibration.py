"""Knobs chosen without truth, by the masked loss, against the best ones chosen with it.

Each classical solver is calibrated on the degraded picture as `ssi run` does. Then PSNR is measured along a grid twice
as fine as the solver's own candidates, the chosen one among them, from the smoothest to the sharpest; total variation
goes on from the estimate before, as its own search does. The linear filter's second row has the weight of greatest
marginal likelihood, which the network is shown.

    python benchmarks/calibration.py --images DIR --output build/calibration
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from _common import Row, begin, parser, pictures, say
from matplotlib.figure import Figure
from torch import Tensor

from ssi_pipeline import methods
from ssi_pipeline.benchmark.images import image_digest
from ssi_pipeline.benchmark.methods import Degraded, configuration, measurement
from ssi_pipeline.benchmark.protocol import LEVELS, benchmark_psf
from ssi_pipeline.benchmark.rows import clipped
from ssi_pipeline.benchmark.tables import Sheet
from ssi_pipeline.geometry.halo import network_stride
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.classical import tv_chambolle_pock as primal_dual
from ssi_pipeline.inversion.classical.iterates import nth_iterate
from ssi_pipeline.inversion.classical.observation import Observation, observe
from ssi_pipeline.inversion.classical.registry import CLASSICAL
from ssi_pipeline.inversion.classical.tv import PATH_ITERATIONS, corner, linear_start
from ssi_pipeline.inversion.classical.tv_conjugate_gradient import descend
from ssi_pipeline.inversion.problem import Problem, build_problem
from ssi_pipeline.inversion.solution import raw_estimate
from ssi_pipeline.inversion.tile import make_tile_tensors
from ssi_pipeline.physics import Psf
from ssi_pipeline.quality.reference import psnr

SOLVERS = ("wiener", "richardson_lucy", "tv", "tv_cg")
PATIENCE = 8
"""Iterations of Richardson-Lucy beyond the best one."""


def finer(weights: Sequence[float]) -> list[float]:
    """Return a falling sequence with the geometric mean between neighbours."""
    means = [(a * b) ** 0.5 for a, b in pairwise(weights)]
    return sorted([*weights, *means], reverse=True)


def candidates(solver: str, problem: Problem) -> list[float]:
    """Return the candidates of a solver's own search; they do not depend on the image, so a small one serves."""
    zeros = torch.zeros(tuple(2 * r + 3 for r in problem.forward.radius))
    observation = Observation(zeros, torch.ones_like(zeros, dtype=torch.bool))
    return [weight for weight, _ in CLASSICAL[solver].path(problem, observation)]


def walk(
    solver: str, problem: Problem, observation: Observation, weights: Sequence[float]
) -> Iterator[tuple[float, Tensor]]:
    """Yield (weight, estimate) for falling weights; the first estimate of total variation has the time to get there."""
    if solver == "wiener":
        yield from ((weight, CLASSICAL[solver].solve(problem, observation, weight)) for weight in weights)
        return
    x, state, iterations = (
        linear_start(problem, observation),
        primal_dual.begin(problem, observation),
        3 * PATH_ITERATIONS,
    )
    for weight in weights:
        if solver == "tv":
            state = nth_iterate(primal_dual.iterate(problem, observation, weight, state, corner(problem)), iterations)
            x = state[0]
        else:
            x = nth_iterate(descend(problem, observation, weight, x), iterations)
        iterations = PATH_ITERATIONS
        yield weight, x


def compare(truth: np.ndarray, solver: str, changes: Sequence[str]) -> Row:
    """Return the PSNR with the chosen weight, with the best one, and along the grid."""
    config, psf = configuration(solver, changes), Psf(benchmark_psf()[None].astype(np.float32))
    counts = Degraded.of(truth, psf.values[0].astype(np.float64)).counts
    posed, inside = measurement(counts, max(psf.radius), network_stride(config.network.levels))
    started = time.process_time()
    calibration = calibrate([posed], psf, config)
    seconds = time.process_time() - started
    problem = build_problem(psf, calibration, config, "cpu")
    tile = make_tile_tensors(problem, posed, 0)
    observation = observe(problem, tile.y, tile.observed)

    def score(x: Tensor) -> float:
        return psnr(truth, clipped(raw_estimate(calibration, x)[inside] / np.float32(LEVELS)))

    chosen = {"masked loss": calibration.weight}
    if solver == "wiener":
        chosen["likelihood"] = calibration.wiener_weight
    if methods.SOLVERS[solver].counts:
        curve = until_worse(
            ((k, score(x)) for k, x in CLASSICAL[solver].path(problem, observation)), calibration.weight
        )
    else:
        weights = sorted({*finer(candidates(solver, problem)), *chosen.values()}, reverse=True)
        curve = [(k, score(x)) for k, x in walk(solver, problem, observation, weights)]
    return {**judged(curve, chosen), "seconds": seconds, "all_seconds": time.process_time() - started, "curve": curve}


def until_worse(path: Iterator[tuple[float, float]], chosen: float) -> list[tuple[float, float]]:
    """Return pairs (count, PSNR) until none was better for some time and the chosen count is among them."""
    curve: list[tuple[float, float]] = []
    for count, level in path:
        curve.append((count, level))
        if count >= chosen and count - max(curve, key=lambda p: p[1])[0] >= PATIENCE:
            break
    return curve


def judged(curve: Sequence[tuple[float, float]], chosen: dict[str, float]) -> Row:
    """Return the best point of a curve, and for each choice its weight, its PSNR and what it lost in dB."""
    best_weight, best = max(curve, key=lambda p: p[1])
    levels = dict(curve)
    choices = {by: {"weight": k, "psnr": levels[k], "loss_db": best - levels[k]} for by, k in chosen.items()}
    return {"best_weight": best_weight, "best_psnr": best, "choices": choices}


def sheets(rows: Sequence[Row]) -> list[Sheet]:
    """Return the means and the worst over the images, and each image's weights and losses."""
    kinds = list(dict.fromkeys((row["solver"], by) for row in rows for by in row["choices"]))
    lines = []
    for solver, by in kinds:
        own = [row for row in rows if row["solver"] == solver]
        losses = {row["image"]: row["choices"][by]["loss_db"] for row in own}
        worst = max(losses, key=losses.__getitem__)
        means = (np.mean([row["choices"][by]["psnr"] for row in own]), np.mean([row["best_psnr"] for row in own]))
        cells = [*(f"{m:.2f}" for m in means), f"{np.mean(list(losses.values())):.2f}"]
        seconds = f"{np.mean([row['seconds'] for row in own]):.1f}"
        lines.append([solver, by, *cells, f"{losses[worst]:.2f} ({worst})", seconds])
    headings = [
        "solver",
        "chosen by",
        "PSNR (dB)",
        "best with truth",
        "mean loss (dB)",
        "worst loss",
        "CPU s to choose",
    ]
    each = [
        [
            f"{row['image']}, {row['solver']}, {by}",
            *(f"{v:.3g}" for v in (choice["weight"], row["best_weight"])),
            *(f"{v:.2f}" for v in (choice["psnr"], row["best_psnr"], choice["loss_db"])),
        ]
        for row in rows
        for by, choice in row["choices"].items()
    ]
    columns = ["image, solver, chosen by", "weight", "best weight", "PSNR (dB)", "best PSNR", "loss (dB)"]
    return [Sheet(f"Mean over {len({r['image'] for r in rows})} images", headings, lines), Sheet("Each", columns, each)]


def figure(rows: Sequence[Row]) -> Figure:
    """Draw for each solver what is lost along the grid, a line for each image, a dot where the masked loss chose."""
    solvers = list(dict.fromkeys(row["solver"] for row in rows))
    result = Figure(figsize=(3.1 * len(solvers), 3.2), layout="constrained")
    panels = result.subplots(1, len(solvers), squeeze=False)[0]
    lowest = -max(2.0, *(1.1 * row["choices"]["masked loss"]["loss_db"] for row in rows))
    for axes, solver in zip(panels, solvers, strict=True):
        for row in (r for r in rows if r["solver"] == solver):
            weights, levels = np.array(row["curve"]).T
            (line,) = axes.plot(weights, levels - row["best_psnr"], linewidth=1, label=row["image"])
            choice = row["choices"]["masked loss"]
            axes.plot(choice["weight"], -choice["loss_db"], "o", color=line.get_color(), markersize=5)
        axes.set(xscale="log", ylim=(lowest, 0.1), title=solver, xlabel="iterations" if solver in COUNTS else "weight")
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("PSNR below the best (dB)")
    panels[-1].legend(fontsize=6, frameon=False)
    return result


COUNTS = tuple(name for name, solver in methods.SOLVERS.items() if solver.counts)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, crop=512)  # a minute of one core each
    options.add_argument("--solvers", default=",".join(SOLVERS))
    options = options.parse_args(arguments)
    with begin("calibration", options, {"only": "camera", "images": None, "crop": 64}) as study:
        rows = []
        for name, truth in pictures(options):
            for solver in options.solvers.split(","):
                setup = {"image": image_digest(truth), "changes": options.changes}
                config = configuration(solver, options.changes)
                row = study.row(
                    f"{name}.{solver}", setup, lambda t=truth, s=solver: compare(t, s, options.changes), config
                )
                rows.append({"image": name, "solver": solver, **row})
                text = ", ".join(f"{by} {c['psnr']:.2f} ({c['weight']:.3g})" for by, c in row["choices"].items())
                say(f"{name} {solver}: {text}, best {row['best_psnr']:.2f} dB; {row['all_seconds']:.1f} s")
        study.finish("Knobs by the masked loss against the best ones", sheets(rows), {"calibration": figure(rows)})


if __name__ == "__main__":
    main()
