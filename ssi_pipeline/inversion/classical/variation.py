"""Define the variation of an image by slopes and curvatures, for steps of conjugate gradients.

    V(x) = sum of sqrt(|D x|^2 + s^2) + r sum of sqrt(|H x|^2 + s^2)

D x are the forward differences along every axis and H x their differences, |H x| the Frobenius norm of the Hessian.
Slopes alone turn ramps and ridges into steps; curvatures alone blur steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.inversion.bounded import dot
from ssi_pipeline.inversion.classical.observation import Observation
from ssi_pipeline.inversion.classical.tv import border, differences, differences_adjoint
from ssi_pipeline.inversion.linear.wiener import laplacian
from ssi_pipeline.physics.forward import ForwardModel

CURVATURE = 0.3
"""Weight r of the curvatures, pixels (docs/classical.md)."""


class Variation:
    """The variation of images of one shape, with none across the border of the observed region.

    Parameters
    ----------
    observation
        The image whose border counts.
    radius
        Radius of the PSF, (z) y x.
    smoothing
        s, normalised units per pixel: smaller slopes and curvatures are penalised squared.
    """

    def __init__(self, observation: Observation, radius: Ints, smoothing: float) -> None:
        shape = observation.known.shape
        self._border = border(observation, radius)
        # the far ends, where differences are 0, are no neighbours either
        self._ends = [*self._border, *((axis, n - 1) for axis, n in enumerate(shape))]
        self._pairs = [(a, b) for a in range(len(shape)) for b in range(a, len(shape))]
        self._smoothing = (smoothing, CURVATURE * smoothing)

    def parts(self, x: Tensor) -> list[Tensor]:
        """Return D x and r H x, components first, then (z) y x; mixed curvatures count twice in |H x|^2."""
        slopes = differences(x)
        for axis, index in self._border:
            slopes[axis].narrow(axis, index, 1).zero_()
        curvatures = torch.zeros((len(self._pairs), *x.shape), dtype=x.dtype, device=x.device)
        for out, (a, b) in zip(curvatures, self._pairs, strict=True):
            n = x.shape[b] - 1
            inner = out.narrow(b, 0, n)
            torch.sub(slopes[a].narrow(b, 1, n), slopes[a].narrow(b, 0, n), out=inner).mul_(_factor(a, b))
            for axis, index in self._ends:
                if axis == b:
                    first = max(index - 1, 0) if a == b else index
                    out.narrow(b, first, index + 1 - first).zero_()
        return [slopes, curvatures]

    def adjoint(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the adjoint of ``parts``, (z) y x, of parts that are 0 where those of every image are."""
        slopes, curvatures = parts[0].clone(), parts[1]
        for part, (a, b) in zip(curvatures, self._pairs, strict=True):
            n = part.shape[b] - 1
            inner = part.narrow(b, 0, n) * _factor(a, b)
            slopes[a].narrow(b, 0, n).sub_(inner)
            slopes[a].narrow(b, 1, n).add_(inner)
        return differences_adjoint(slopes)

    def squares(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Return |D x|^2 + s^2 and r^2 (|H x|^2 + s^2), each (z) y x."""
        return [part.square().sum(0).add_(s * s) for part, s in zip(parts, self._smoothing, strict=True)]

    def value(self, x: Tensor) -> Tensor:
        """Return V(x), a scalar on the device."""
        return sum((q.sqrt().sum(dtype=torch.float64) for q in self.squares(self.parts(x))), x.new_zeros(()))


def _factor(a: int, b: int) -> float:
    return CURVATURE * (1.0 if a == b else math.sqrt(2))


class Line:
    """The majorants of V along x + t change: every step needs sums over pixels, and no differences."""

    def __init__(self, squares: Sequence[Tensor], parts: Sequence[Tensor], along: Sequence[Tensor]) -> None:
        self._terms = [
            (square, (part * change).sum(0), change.square().sum(0))
            for square, part, change in zip(squares, parts, along, strict=True)
        ]

    def slope_and_curvature(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivative of V by t at t, and the curvature of its majorant there."""
        slope = curvature = torch.zeros_like(t)
        for square, cross, change in self._terms:
            steeper = torch.addcmul(cross, change, t.to(change.dtype))
            length = torch.addcmul(square, cross + steeper, t.to(change.dtype)).clamp_(min=_LEAST).rsqrt_()
            slope, curvature = slope + dot(steeper, length), curvature + dot(change, length)
        return slope, curvature


_LEAST = 1e-14
"""Least squared length: a sum that cancels in float32 could be negative."""


def preconditioner(
    forward: ForwardModel, weight: float, shape: Ints, device: torch.device
) -> Callable[[Sequence[Tensor]], Callable[[Tensor], Tensor]]:
    """Return a function of the squares of ``Variation``, which returns the approximate inverse of the Hessian there.

    It is P + weight (c1 L + c2 L^2), P the bound of B*B and L the Laplacian, all circular, where the inverse lengths
    have their means c; an FFT inverts it.
    """
    size = tuple(int(next_fast_len(n + r, real=True)) for n, r in zip(shape, forward.radius, strict=True))
    bound, negative = forward.power_bound(size).float(), torch.from_numpy(laplacian(size)).to(device).float()
    inside = tuple(slice(0, n) for n in shape)

    def at(squares: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
        slopes, curvatures = (weight * square.rsqrt().mean() for square in squares)
        response = bound + negative * (slopes + (CURVATURE**2 * curvatures) * negative)

        def apply(gradient: Tensor) -> Tensor:
            """Return the preconditioned gradient, (z) y x."""
            return torch.fft.irfftn(torch.fft.rfftn(gradient, s=size) / response, s=size)[inside]

        return apply

    return at
