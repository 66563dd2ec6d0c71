"""Solve by the Wiener filter with a Laplacian prior (Hunt 1973), for a sensor that may clip.

The estimate is the constrained minimum of the filter's quadratic problem: no light is below the dark level. The filter
alone is the start of the other solvers and the input of the network. Candidate weights are compared by the filter
alone, which is many times cheaper.

Where it replaces a network of one tile, it estimates the light outside the image, as the network's linear part does.
``solver: wiener`` assumes a mirror image there, so that tiles agree with the whole plane.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from ssi_pipeline.inversion.classical.observation import Classical, Observation
from ssi_pipeline.inversion.classical.richardson_lucy import with_flux
from ssi_pipeline.inversion.linear.positive import project
from ssi_pipeline.inversion.problem import Problem

_WEIGHTS = tuple(float(w) for w in np.logspace(3, -5, 17))
"""Candidate weights, two per decade, from the smoothest; tuning interpolates between them by a parabola."""


def solve_wiener(problem: Problem, observation: Observation, weight: float) -> Tensor:
    """Return the estimate (z) y x, normalised. Impulses and unobserved pixels have their repaired value."""
    filtered, least = _filtered(problem, observation, weight, problem.linear.border), problem.calibration.least
    return with_flux(problem, observation, project(problem.forward, filtered, weight, least))


def _filtered(problem: Problem, observation: Observation, weight: float, border: bool = False) -> Tensor:
    """Return the linear solution (z) y x, normalised."""
    image = problem.linear.clipping_bias(observation.repaired)
    return problem.filters(weight)(image, observation.known, border)


def wiener_path(problem: Problem, observation: Observation) -> Iterator[tuple[float, Tensor]]:
    """Yield (weight, estimate) for each candidate weight."""
    for weight in _WEIGHTS:
        yield weight, _filtered(problem, observation, weight)


WIENER = Classical(solve_wiener, wiener_path, patience=17)  # all candidates, as they are cheap
