"""Minimise smoothed total variation by nonlinear conjugate gradients (Polak and Ribiere 1969, beta >= 0).

The step along a direction d minimises a quadratic majorant of the objective (Labat and Idier 2008): the curvature of
the data term is at most |B d|^2, that of the variation at most weight * sum |D d|^2 / sqrt(|D x|^2 + smoothing^2).
Every step descends without evaluating the objective; repeated steps are a line search.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ssi_pipeline.inversion.classical.iterates import nth_iterate
from ssi_pipeline.inversion.classical.observation import Classical, Observation
from ssi_pipeline.inversion.classical.tv import (
    PATH_ITERATIONS,
    TV_ITERATIONS,
    data_term,
    differences_adjoint,
    linear_start,
    slopes_of,
    weights,
)
from ssi_pipeline.inversion.problem import Problem

SMOOTHING = 0.01
"""Gradients (normalised units per pixel) below one percent of the channel's range count as smooth, not as edges."""

_LINE_STEPS = 3
"""Majorants minimised in one line search, without a convolution."""

_TINY = 1e-30


def descend(problem: Problem, observation: Observation, weight: float, x: Tensor) -> Iterator[Tensor]:
    """Yield the estimates (z) y x, normalised, after 1, 2, 3, ... iterations, indefinitely."""
    forward, term = problem.forward, data_term(problem, observation)
    differences = slopes_of(observation)
    level, slopes = forward.level(x), differences(x)
    gradient = direction = torch.zeros_like(x)
    size = 0.0
    while True:
        variation = differences_adjoint(weight * slopes / _length(slopes))
        new = forward.adjoint(term.slope(level)) + variation
        beta = max(_dot(new, new - gradient) / size, 0.0) if size else 0.0
        direction = beta * direction - new
        if _dot(direction, new) >= 0:  # no descent direction: restart
            direction = -new
        gradient, size = new, _dot(new, new)
        level_change, slope_change = forward.level(direction), differences(direction)
        for _ in range(_LINE_STEPS):
            length = _length(slopes)
            fall = _dot(term.slope(level), level_change) + weight * _dot(slopes / length, slope_change)
            curve = _dot(level_change, level_change) + weight * _dot(slope_change / length, slope_change)
            step = -fall / max(curve, _TINY)
            x = x + step * direction
            level, slopes = level + step * level_change, slopes + step * slope_change
        yield x


def solve_tv_cg(problem: Problem, observation: Observation, weight: float) -> Tensor:
    """Return the estimate (z) y x, normalised, after ``TV_ITERATIONS``."""
    start = linear_start(problem, observation)
    return nth_iterate(descend(problem, observation, weight, start), TV_ITERATIONS)


def tv_cg_path(problem: Problem, observation: Observation) -> Iterator[tuple[float, Tensor]]:
    """Yield (weight, estimate) for each candidate weight; each starts from the previous estimate."""
    x = linear_start(problem, observation)
    for weight in weights(problem):
        x = nth_iterate(descend(problem, observation, weight, x), PATH_ITERATIONS)
        yield weight, x


def _length(slopes: Tensor) -> Tensor:
    return torch.sqrt(slopes.square().sum(0) + SMOOTHING**2)


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum(dtype=torch.float64))


TV_CG = Classical(solve_tv_cg, tv_cg_path, patience=2)
