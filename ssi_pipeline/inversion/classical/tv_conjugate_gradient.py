"""Minimise smoothed variation, of slopes and their differences R x, by preconditioned conjugate gradients.

Polak and Ribiere 1969, beta >= 0.

The gradient is multiplied by an approximate inverse of the Hessian, which follows the estimate. The step along a
direction d minimises a quadratic majorant of the objective (Labat and Idier 2008): the curvature of the data term is
at most |B d|^2, that of the variation at most weight * sum |R d|^2 / sqrt(|R x|^2 + smoothing^2). Every step descends
without evaluating the objective; repeated steps are a line search.

The estimate is at least the dark level (``inversion/bounded.py``); along a projected step a second line search, of
length 0 to 1, keeps the descent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ssi_pipeline.inversion.bounded import BoundedDirections, dot
from ssi_pipeline.inversion.classical.iterates import nth_iterate
from ssi_pipeline.inversion.classical.observation import Classical, Observation
from ssi_pipeline.inversion.classical.richardson_lucy import with_flux
from ssi_pipeline.inversion.classical.roughness import Roughness
from ssi_pipeline.inversion.classical.slopes import slopes_of
from ssi_pipeline.inversion.classical.tv import data_term, linear_start, weights
from ssi_pipeline.inversion.classical.variation import Line, preconditioner
from ssi_pipeline.inversion.problem import Problem

SMOOTHING = 0.01
"""Gradients (normalised units per pixel) below one percent of the channel's range count as smooth, not as edges."""

_LINE_STEPS = 3
"""Majorants minimised in one line search, without a convolution."""

TV_ITERATIONS = 25
"""Iterations from the linear solution, or from nothing in a path; see docs/classical.md."""

PATH_ITERATIONS = 10
"""Iterations per candidate weight, each of which starts from the estimate of the previous one."""

_BLOCK, _MORE_BLOCKS, _CONVERGED = 10, 5, 1e-3
"""Where pixels are at the bound, blocks of 10 iterations follow while one lowers the objective by 0.1 %, at most five.
Beside a bead 4000 times as bright as the noise, the objective is 6 % above its minimum after 50 iterations, and 0.5 %
after 100; ordinary scenes need no block."""

_TINY = 1e-30


def descend(problem: Problem, observation: Observation, weight: float, x: Tensor) -> Iterator[Tensor]:
    """Yield the estimates (z) y x, normalised, after 1, 2, 3, ... iterations, indefinitely."""
    forward, term, floor = problem.forward, data_term(problem, observation), problem.calibration.least
    rough, directions = Roughness(slopes_of(problem, observation)), BoundedDirections(floor, reach=_TINY)
    inverse_at = preconditioner(problem, weight, tuple(x.shape))

    def line_search(level_change: Tensor, line: Line, longest: float = math.inf) -> Tensor:
        """Return the length of the step from the current estimate, at most ``longest``."""
        step, own = torch.zeros((), dtype=torch.float64, device=x.device), dot(level_change, level_change)
        for _ in range(_LINE_STEPS):
            slope, curvature = line.slope_and_curvature(step)
            fall = dot(term.slope(level + step * level_change), level_change) + weight * slope
            step = (step - fall / (own + weight * curvature).clamp(min=_TINY)).clamp(min=0, max=longest)
        return step

    x = x.clamp(min=floor)
    level = forward.level(x)
    while True:
        squares = rough.squares(x) + SMOOTHING**2
        gradient = forward.adjoint(term.slope(level)) + weight * rough.pull(x, squares.rsqrt())
        change = directions.after(x, gradient, inverse_at(squares))
        level_change = forward.level(change)
        step = line_search(level_change, Line(squares, *rough.along(x, change)))
        kept = directions.projected(x, gradient, change, step)
        if kept is not None:
            change, level_change = kept, forward.level(kept)
            step = line_search(level_change, Line(squares, *rough.along(x, kept)), longest=1.0)
        x = (x + step * change).clamp(min=floor)  # rounding errors only
        level = level + step * level_change
        yield x


def solve_tv_cg(problem: Problem, observation: Observation, weight: float) -> Tensor:
    """Return the estimate (z) y x, normalised, after ``TV_ITERATIONS``; at the bound after more, until it converges."""
    estimates = descend(problem, observation, weight, linear_start(problem, observation, border=True))
    x, floor = nth_iterate(estimates, TV_ITERATIONS), problem.calibration.least
    if not bool((x <= floor).any()):
        return x
    last = _objective(problem, observation, weight, x)
    for _ in range(_MORE_BLOCKS):
        x = nth_iterate(estimates, _BLOCK)
        now = _objective(problem, observation, weight, x)
        if now > last * (1 - _CONVERGED):
            break
        last = now
    return with_flux(problem, observation, x)


def _objective(problem: Problem, observation: Observation, weight: float, x: Tensor) -> float:
    lengths = (Roughness(slopes_of(problem, observation)).squares(x) + SMOOTHING**2).sqrt()
    return data_term(problem, observation).value(problem.forward.level(x)) + weight * float(lengths.sum())


def tv_cg_path(problem: Problem, observation: Observation) -> Iterator[tuple[float, Tensor]]:
    """Yield (weight, estimate) for each candidate weight; each starts from the previous estimate."""
    x, count = linear_start(problem, observation, border=True), TV_ITERATIONS
    for weight in weights(problem):
        x, count = nth_iterate(descend(problem, observation, weight, x), count), PATH_ITERATIONS
        yield weight, x


TV_CG = Classical(solve_tv_cg, tv_cg_path, patience=2)
