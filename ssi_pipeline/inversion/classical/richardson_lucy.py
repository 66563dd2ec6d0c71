"""Richardson-Lucy (Richardson 1972, Lucy 1974) for a sensor that may clip; its weight is the number of iterations.

    x <- x g*(y / mu(g x)) / g*(1)

with mu the mean of the sensor's report. Where nothing clips, mu is the identity and this is the plain
algorithm. Its fixed points predict the measurement: mu(g x) = y. g is the valid convolution, and g*(1), the share
of a pixel's light that was seen, takes the place of padding (Bertero and Boccacci 2005).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from ssi_pipeline.inversion.classical.iterates import after
from ssi_pipeline.inversion.classical.observation import Classical, Observation
from ssi_pipeline.inversion.problem import Problem

_MOST_ITERATIONS = 200
"""Data so clean that more would pay are better served by another solver."""

_START = 0.5
"""Normalised. The same in all tiles, and the first iterate does not depend on it where the sensor does not clip."""

_SMALL = 1e-5
"""Predictions are kept above this, in normalised units: it is the rounding error of the FFT."""

_LEAST_SHARE = 1e-3
"""Pixels of which less light than this was seen keep their value: their update would be rounding error."""


def dark_level(problem: Problem) -> float:
    """Return the normalised intensity that counts as no light.

    The sensor's dark level where the configuration says it, otherwise raw 0, or the minimum of data that go below.
    """
    calibration, offset = problem.calibration, problem.config.sensor.offset
    return calibration.normalise(min(calibration.minimum, 0.0) if offset is None else offset)


def iterates(problem: Problem, observation: Observation) -> Iterator[Tensor]:
    """Yield the estimates, (z) y x, normalised, after 1, 2, 3, ... iterations, without end."""
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
    """Return the estimate after a number of iterations, (z) y x."""
    return after(iterates(problem, observation), round(iterations))


def richardson_lucy_path(problem: Problem, observation: Observation) -> Iterator[tuple[float, Tensor]]:
    """Yield (iterations, estimate) for 1, 2, 3, ...: one run gives all."""
    for count, estimate in enumerate(islice(iterates(problem, observation), _MOST_ITERATIONS), start=1):
        yield float(count), estimate


RICHARDSON_LUCY = Classical(solve_richardson_lucy, richardson_lucy_path, patience=8)
