"""Solve by Richardson-Lucy (Richardson 1972, Lucy 1974) for a sensor that may clip.

    x <- x g*(y / mu(g x)) / g*(1)

with g the optics and mu the expected report of the sensor. Without clipping mu is the identity and this is the plain
algorithm. Fixed points predict the measurement: mu(g x) = y. g is the valid convolution, and g*(1), the detected share
of a pixel's light, takes the place of padding (Bertero and Boccacci 2005). The tuned parameter is the number of
iterations.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from ssi_pipeline.inversion.classical.iterates import nth_iterate
from ssi_pipeline.inversion.classical.observation import Classical, Observation
from ssi_pipeline.inversion.problem import Problem

_MOST_ITERATIONS = 200
"""Largest number of iterations: for data clean enough to need more, other solvers are better."""

_START = 0.5
"""Initial estimate, normalised, the same in all tiles. Without clipping the first iterate does not depend on it."""

_SMALL = 1e-5
"""Least prediction, normalised units: the rounding error of the FFT."""

_LEAST_SHARE = 1e-3
"""Pixels with a smaller detected share of light keep their value: their update would be rounding error."""


def dark_level(problem: Problem) -> float:
    """Return the dark level in normalised units.

    It is the configured dark level, otherwise raw 0, or the minimum of data with negative values.
    """
    calibration, offset = problem.calibration, problem.config.sensor.offset
    return calibration.normalise(min(calibration.minimum, 0.0) if offset is None else offset)


def iterates(problem: Problem, observation: Observation) -> Iterator[Tensor]:
    """Yield the estimates (z) y x, normalised, after 1, 2, 3, ... iterations, indefinitely."""
    forward, dark = problem.forward, dark_level(problem)
    seen = forward.crop(observation.repaired - dark).clamp(min=0)
    share = forward.adjoint(torch.ones_like(seen))
    inside = share > _LEAST_SHARE
    x = torch.full_like(observation.repaired, _START - dark)
    while True:
        predicted = (forward(x + dark) - dark).clamp(min=_SMALL)
        update = forward.adjoint(seen / predicted).clamp(min=0) / share
        x = x * torch.where(inside, update, torch.ones_like(update))
        yield x + dark


def solve_richardson_lucy(problem: Problem, observation: Observation, iterations: float) -> Tensor:
    """Return the estimate (z) y x, normalised, after a number of iterations."""
    return nth_iterate(iterates(problem, observation), round(iterations))


def richardson_lucy_path(problem: Problem, observation: Observation) -> Iterator[tuple[float, Tensor]]:
    """Yield (number of iterations, estimate) for 1, 2, 3, ... in one pass."""
    for count, estimate in enumerate(islice(iterates(problem, observation), _MOST_ITERATIONS), start=1):
        yield float(count), estimate


RICHARDSON_LUCY = Classical(solve_richardson_lucy, richardson_lucy_path, patience=8)
