"""Define the objective of total variation deconvolution (Rudin, Osher and Fatemi 1992) on the pixel grid.

    E(x) = sum of phi(B x; y) + weight * sum of h(|D x|)

phi is the data term of ``censored_likelihood``, D the gradient of ``slopes`` (zero at the far end), and h Huber's
function. Conjugate gradients have a hyperbola and the Hessian beside D (``roughness``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import repeat

import numpy as np
from torch import Tensor

from ssi_pipeline.inversion.classical.censored_likelihood import DataTerm
from ssi_pipeline.inversion.classical.observation import Observation
from ssi_pipeline.inversion.problem import Problem

_WEIGHTS = tuple(float(w) for w in np.logspace(0.25, -2.5, 12))
"""Candidate weights in standard deviations of the noise, from the smoothest, four per decade."""

_LEAST_NOISE = 1e-3
"""Least noise, normalised units: the rounding of data without noise."""

_MIDDLE = 0.5
"""Normalised intensity at which the noise scales the candidates."""

_CORNER = 0.6
"""Corner of Huber's function in standard deviations of the noise: smaller gradients are no edges. Measured on seven
crops (docs/classical.md): doubling it changes 0.1 dB or less, a third of it costs 1 dB on a smooth scene."""

TV_ITERATIONS = 50
"""Iterations from the linear solution: the objective is then within 0.01 % of its minimum (docs/classical.md)."""

PATH_ITERATIONS = 15
"""Iterations per candidate weight, each of which starts from the estimate of the previous one. The first starts from
the linear solution, far from the smoothest estimate, and gets ``TV_ITERATIONS``: after 15 its loss was still that of
the linear solution, lower than those of the next two (beads: 2.7, then 3.8, 3.0, ... 2.1), where the search ended."""


def path_iterations() -> Iterator[int]:
    """Yield the number of iterations for each candidate weight."""
    yield TV_ITERATIONS
    yield from repeat(PATH_ITERATIONS)


def data_term(problem: Problem, observation: Observation) -> DataTerm:
    """Return the data term of an image on the predicted pixels."""
    crop = problem.forward.crop
    return DataTerm(crop(observation.repaired), crop(observation.known), problem.forward.sensor)


def linear_start(problem: Problem, observation: Observation, border: bool = False) -> Tensor:
    """Return the linear solution (z) y x, where iterations start; ``border``: improved beside the image's border."""
    wiener = problem.linear.wiener
    return wiener(problem.linear.clipping_bias(observation.repaired), observation.known, border)


def weights(problem: Problem) -> Iterator[float]:
    """Yield the candidate weights, from the smoothest; they are proportional to the noise."""
    for weight in _WEIGHTS:
        yield _noise(problem) * weight


def corner(problem: Problem) -> float:
    """Return the corner of Huber's function, normalised units per pixel: smaller gradients are penalised squared."""
    return _CORNER * _noise(problem)


def _noise(problem: Problem) -> float:
    return max(math.sqrt(problem.calibration.noise.variance(_MIDDLE)), _LEAST_NOISE)
