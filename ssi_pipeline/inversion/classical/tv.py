"""Total variation (Rudin, Osher and Fatemi 1992) on the pixel grid, and the objective that it regularises.

    E(x) = sum of phi(g x; y) + weight * sum of h(|D x|)

phi is the data term of ``censored``, D takes forward differences along every axis (zero at the far end), and h is |.|,
rounded off near zero: Huber's function, or a hyperbola.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ssi_pipeline.inversion.classical.censored_likelihood import DataTerm
from ssi_pipeline.inversion.classical.observation import Observation
from ssi_pipeline.inversion.problem import Problem

_WEIGHTS = tuple(float(w) for w in np.logspace(0.25, -2.0, 10))
"""Candidates in standard deviations of the noise, from the smoothest, four per decade."""

_LEAST_NOISE = 1e-3
"""Noise, in normalised units, that data without noise are taken to have: their rounding."""

_MIDDLE = 0.5
"""Normalised intensity whose noise scales the candidates."""

_CORNER = 0.6
"""Corner of Huber's function in standard deviations of the noise, for each pixel: smaller slopes are no edges. Measured
on seven crops (docs/classical.md): twice as much changes 0.1 dB or less, a third costs 1 dB on a smooth scene."""

TV_ITERATIONS = 50
"""From the linear estimate; the objective is then within 0.01 % of its minimum (docs/classical.md)."""

PATH_ITERATIONS = 15
"""Iterations for each candidate: each starts from the estimate of the one before, the first from the linear one."""


def differences(x: Tensor) -> Tensor:
    """Return D x: axes first, then those of x, (z) y x."""
    out = torch.zeros((x.ndim, *x.shape), dtype=x.dtype, device=x.device)
    for axis, n in enumerate(x.shape):
        torch.sub(x.narrow(axis, 1, n - 1), x.narrow(axis, 0, n - 1), out=out[axis].narrow(axis, 0, n - 1))
    return out


def differences_adjoint(p: Tensor) -> Tensor:
    """Return D* p, (z) y x: <D x, p> = <x, D* p>. The far end of ``p`` along its axis counts for nothing."""
    out = torch.zeros_like(p[0])
    for axis, n in enumerate(out.shape):
        inner = p[axis].narrow(axis, 0, n - 1)
        out.narrow(axis, 0, n - 1).sub_(inner)
        out.narrow(axis, 1, n - 1).add_(inner)
    return out


def slopes_of(observation: Observation) -> Callable[[Tensor], Tensor]:
    """Return D for a tile, x to D x: the border of the image may be an edge, no difference is taken across it.

    The border is that of the smallest box that holds all known pixels. Beyond it the light that reaches the image
    is estimated, but not bound to what is inside: a scene may end there.
    """
    across: list[tuple[int, int]] = []
    for axis, n in enumerate(observation.known.shape):
        others = [a for a in range(observation.known.ndim) if a != axis]
        (inside,) = torch.nonzero(observation.known.sum(others) > 0, as_tuple=True)
        if len(inside):
            across += [(axis, i) for i in (int(inside[0]) - 1, int(inside[-1])) if 0 <= i < n - 1]

    def slopes(x: Tensor) -> Tensor:
        """Return the differences along each axis, (z) y x each, 0 across the border."""
        out = differences(x)
        for axis, index in across:
            out[axis].narrow(axis, index, 1).zero_()
        return out

    return slopes


def data_term(problem: Problem, observation: Observation) -> DataTerm:
    """Return the data term of an image, on the pixels that are predicted."""
    crop = problem.forward.crop
    return DataTerm(crop(observation.repaired), crop(observation.known), problem.forward.sensor)


def linear_start(problem: Problem, observation: Observation) -> Tensor:
    """Return the Wiener solution, from which the iterations start."""
    wiener = problem.linear.wiener
    return wiener(problem.linear.unbias(observation.repaired))


def weights(problem: Problem) -> Iterator[float]:
    """Yield the candidates, from the smoothest: weights scale as the noise does."""
    for weight in _WEIGHTS:
        yield _noise(problem) * weight


def corner(problem: Problem) -> float:
    """Return the slope, in normalised units per pixel, below which Huber's function is a parabola."""
    return _CORNER * _noise(problem)


def _noise(problem: Problem) -> float:
    return max(math.sqrt(problem.calibration.noise.variance(_MIDDLE)), _LEAST_NOISE)
