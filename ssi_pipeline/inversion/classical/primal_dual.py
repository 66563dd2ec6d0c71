"""Total variation by the primal-dual method of Chambolle and Pock (2011), preconditioned by an FFT.

For E(x) = F(g x) + weight * sum h(|D x|), with p the dual of g x and u that of D x:

    p' = the dual proximal map of F at p + a g (2 x - x_before)
    u' = the dual proximal map of h at u + b D (2 x - x_before): shrink by h's corner, project onto |u| <= weight
    x' = x - (a G*G + b C*C)^-1 (g* p' + D* u')

G and C are g and D made circular on a grid that holds the domain. g and D are rows of them, so a g*g + b D*D is
no larger than what is inverted, which is the condition of convergence (Pock and Chambolle 2011, lemma 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional

from ssi_pipeline.inversion.classical.given import Classical, Given
from ssi_pipeline.inversion.classical.iterates import after
from ssi_pipeline.inversion.classical.variation import (
    PATH_ITERATIONS,
    TV_ITERATIONS,
    corner,
    data_term,
    differences_adjoint,
    linear_start,
    slopes_of,
    weights,
)
from ssi_pipeline.inversion.problem import Problem

_DATA_STEP = 0.1
"""a, for a data term that curves by 1. Measured on a clipped image, weights 0.01 to 0.15: after 15 iterations the
objective is within 0.06 % of its minimum, after 30 within 0.01 %; with 0.3 and 0.8 small weights are up to ten times
further from it."""

_EDGE = 0.2
"""b is weight / 0.2: a slope of this many units per pixel drives a dual to its bound in one step. Measured with the
above: three times less or more is three to twenty times further from the minimum."""

Iterate = tuple[Tensor, Tensor, Tensor]
"""x, (z) y x; p on the pixels that are predicted; u, its axes first."""


class _Step:
    """The step of x: (a G*G + b C*C)^-1, with g* before and g after it, where all are products of spectra."""

    def __init__(self, psf: Tensor, shape: tuple[int, ...], slope_step: float) -> None:
        self._shape, self._radius = shape, tuple(n // 2 for n in psf.shape)
        self._size = tuple(int(next_fast_len(n, real=True)) for n in shape)
        transfer = torch.fft.rfftn(psf.double(), s=self._size)  # of x(0) to the pixel at the radius
        variation = slope_step * _squared_differences(self._size).to(psf.device)
        curvature = _DATA_STEP * transfer.abs().square() + variation
        self._transfer, self._inverse = transfer.to(torch.complex64), (1 / curvature).float()

    def __call__(self, p: Tensor, divergence: Tensor) -> tuple[Tensor, Tensor]:
        """Return the change of x that g* p + D* u asks for, and g of it."""
        ends = zip(self._radius, self._shape, self._size, strict=True)
        margins = [m for r, n, size in reversed(list(ends)) for m in (2 * r, size - n)]  # from the last axis
        force = torch.fft.rfftn(functional.pad(p, margins)) * self._transfer.conj()
        change = (force + torch.fft.rfftn(divergence, s=self._size)) * self._inverse
        level = torch.fft.irfftn(change * self._transfer, s=self._size)
        inside = tuple(slice(0, n) for n in self._shape)
        seen = tuple(slice(2 * r, n) for r, n in zip(self._radius, self._shape, strict=True))
        return torch.fft.irfftn(change, s=self._size)[inside], level[seen]


def begin(problem: Problem, given: Given) -> Iterate:
    """Return the linear solution, and the duals that fit it."""
    x = linear_start(problem, given)
    slope = data_term(problem, given).slope(problem.forward.convolution(x))
    return x, slope, x.new_zeros((x.ndim, *x.shape))


def iterate(problem: Problem, given: Given, weight: float, start: Iterate, corner: float) -> Iterator[Iterate]:
    """Yield (x, p, u) after 1, 2, 3, ... iterations, without end; h is Huber's function, |.| for ``corner`` 0."""
    term, differences = data_term(problem, given), slopes_of(given)
    x, p, u = start
    slope_step = weight / _EDGE
    step = _Step(problem.psf.to(x.device), tuple(x.shape), slope_step)
    level, change, level_change = problem.forward.convolution(x), torch.zeros_like(x), torch.zeros_like(p)
    while True:
        p = p + _DATA_STEP * (level - level_change)
        p = p - _DATA_STEP * term.proximal(p / _DATA_STEP, _DATA_STEP)  # Moreau's identity
        u = (u + slope_step * differences(x - change)) / (1 + slope_step * corner / weight)
        u = u / (torch.linalg.vector_norm(u, dim=0) / weight).clamp(min=1)
        change, level_change = step(p, differences_adjoint(u))
        x, level = x - change, level - level_change
        yield x, p, u


def solve_tv(problem: Problem, given: Given, weight: float) -> Tensor:
    """Return the estimate after ``TV_ITERATIONS``, (z) y x."""
    iterations = TV_ITERATIONS
    return after(iterate(problem, given, weight, begin(problem, given), corner(problem)), iterations)[0]


def tv_path(problem: Problem, given: Given) -> Iterator[tuple[float, Tensor]]:
    """Yield (weight, estimate) for each candidate; each starts from the one before."""
    state = begin(problem, given)
    for weight in weights(problem):
        state = after(iterate(problem, given, weight, state, corner(problem)), PATH_ITERATIONS)
        yield weight, state[0]


def _squared_differences(size: tuple[int, ...]) -> Tensor:
    """Return the spectrum of C*C, as ``rfftn`` has it, for circular differences C along every axis."""
    total = torch.zeros((), dtype=torch.float64)
    for axis, n in enumerate(size):
        frequency = torch.fft.rfftfreq if axis == len(size) - 1 else torch.fft.fftfreq
        along = 2 - 2 * torch.cos(2 * math.pi * frequency(n, dtype=torch.float64))
        total = total + along.reshape([-1 if i == axis else 1 for i in range(len(size))])
    return total


TV = Classical(solve_tv, tv_path, patience=2)
