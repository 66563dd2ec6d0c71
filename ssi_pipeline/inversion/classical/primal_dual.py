"""Total variation by the primal-dual method of Chambolle and Pock (2011), with a gradient step on the data term.

Condat (2013, algorithm 3.1) and Vu (2013), for E(x) = F(g x) + weight * sum |D x|:

    x' = x - tau (g* F'(g x) + D* u)
    u' = projection of u + sigma D (2 x' - x) onto |u| <= weight, pixel by pixel

It converges for 1 / tau - sigma |D|^2 >= |g|^2 / 2, since F' is 1-Lipschitz.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ssi_pipeline.inversion.classical.given import Given
from ssi_pipeline.inversion.classical.iterates import after
from ssi_pipeline.inversion.classical.variation import (
    PATH_ITERATIONS,
    data_term,
    differences,
    differences_adjoint,
    linear_start,
    weights,
)
from ssi_pipeline.inversion.problem import Problem

_DUAL_STEP = 0.2
"""sigma in units of |g|^2. Measured, 100 iterations: 0.1 and 0.3 end 0.2 % above the minimum, 0.03 1 %, 0.01 3 %."""

_FIRST_ITERATIONS = 40
"""Of the first candidate, which starts from the linear solution."""

Iterate = tuple[Tensor, Tensor]


def iterate(problem: Problem, given: Given, weight: float, start: Iterate) -> Iterator[Iterate]:
    """Yield (x, u) after 1, 2, 3, ... iterations, without end; x is (z) y x, u has its axes first."""
    convolution, term = problem.forward.convolution, data_term(problem, given)
    bound = float(problem.psf.abs().sum()) ** 2  # |g| <= sum |psf|, which is 1 where no value is negative
    sigma = _DUAL_STEP * bound
    tau = 1 / (bound / 2 + sigma * 4 * problem.axes)  # |D|^2 <= 4 for each axis
    x, u = start
    while True:
        slope = convolution.adjoint(term.slope(convolution(x)))
        new = x - tau * (slope + differences_adjoint(u))
        u = u + sigma * differences(2 * new - x)
        u = u / (torch.linalg.vector_norm(u, dim=0) / weight).clamp(min=1)
        x = new
        yield x, u


def solve_tv(problem: Problem, given: Given, weight: float) -> Tensor:
    """Return the estimate after ``classical.tv_iterations``, (z) y x."""
    iterations = problem.config.classical.tv_iterations
    return after(iterate(problem, given, weight, _begin(problem, given)), iterations)[0]


def tv_path(problem: Problem, given: Given) -> Iterator[tuple[float, Tensor]]:
    """Yield (weight, estimate) for each candidate."""
    state, iterations = _begin(problem, given), _FIRST_ITERATIONS
    for weight in weights(problem):
        state = after(iterate(problem, given, weight, state), iterations)
        iterations = PATH_ITERATIONS
        yield weight, state[0]


def _begin(problem: Problem, given: Given) -> Iterate:
    x = linear_start(problem, given)
    return x, torch.zeros_like(differences(x))
