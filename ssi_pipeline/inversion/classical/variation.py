"""Total variation (Rudin, Osher and Fatemi 1992) on the pixel grid, and the objective that it regularises.

    E(x) = sum of phi(g x; y) + weight * sum of sqrt(|D x|^2 + smoothing^2)

phi is the data term of ``censored``, D takes forward differences along every axis (zero at the far end).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ssi_pipeline.inversion.classical.censored import DataTerm
from ssi_pipeline.inversion.classical.given import Given
from ssi_pipeline.inversion.problem import Problem

_WEIGHTS = tuple(float(w) for w in np.logspace(0.25, -2.0, 10))
"""Candidates in standard deviations of the noise, from the smoothest, four per decade."""

_LEAST_NOISE = 1e-3
"""Noise, in normalised units, that data without noise are taken to have: their rounding."""

_MIDDLE = 0.5
"""Normalised intensity whose noise scales the candidates."""

PATH_ITERATIONS = 15
"""Iterations for each candidate after the first: each starts from the estimate of the one before."""


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


def data_term(problem: Problem, given: Given) -> DataTerm:
    """Return the data term of an image, on the pixels that are predicted."""
    crop = problem.forward.crop
    return DataTerm(crop(given.repaired), crop(given.known), problem.forward.sensor)


def objective(problem: Problem, given: Given, x: Tensor, weight: float, smoothing: float = 0.0) -> float:
    """Return E(x). Waits for the device."""
    slopes = torch.sqrt(differences(x).double().square().sum(0) + smoothing**2)
    return data_term(problem, given).value(problem.forward.convolution(x)) + weight * float(slopes.sum())


def linear_start(problem: Problem, given: Given) -> Tensor:
    """Return the Wiener solution, from which the iterations start."""
    wiener = problem.linear.wiener
    return wiener(problem.linear.unbias(given.repaired))


def weights(problem: Problem) -> Iterator[float]:
    """Yield the candidates, from the smoothest: weights scale as the noise does."""
    noise = max(problem.calibration.noise.variance(_MIDDLE) ** 0.5, _LEAST_NOISE)
    for weight in _WEIGHTS:
        yield noise * weight
