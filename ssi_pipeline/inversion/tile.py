"""The tensors of one tile: its measurement, what is held out of it, and the loss there. Axes: (z) y x."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssi_pipeline.inversion.linear.inverse import LinearInverse
from ssi_pipeline.inversion.linear.part import LinearPart
from ssi_pipeline.inversion.masking import Stream, draw_heldout, generator
from ssi_pipeline.inversion.measurement import Measurement, gaps_of, to_tensor
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.inversion.surroundings import mirror_outside, outside_of


@dataclass(frozen=True, slots=True)
class TileTensors:
    """The tensors of one tile, (z) y x, normalised units.

    Attributes
    ----------
    observed
        False in padding and at pixels that were not finite.
    usable
        Observed pixels that are no impulses.
    heldout
        Held-out pixels V, hidden throughout training together with the pixels that share their noise.
    whole
        The measurement y, with what the linear inverse makes of it.
    masked
        The same of m_V(y), for validation.
    gaps
        Pixels without a measurement, the padding included; None without any.
    outside
        Pixels outside the image, where f stays what it was before training; None: f is trained everywhere.
    neighbours
        r of each neighbouring plane and frame, (z) y x, in the order of ``NetworkConfig.neighbours``; None where there
        is none.
    """

    observed: Tensor
    usable: Tensor
    heldout: Tensor
    whole: LinearPart
    masked: LinearPart
    gaps: Tensor | None = None
    outside: Tensor | None = None
    neighbours: tuple[Tensor | None, ...] = ()

    @property
    def y(self) -> Tensor:
        """Measurement, float32."""
        return self.whole.image

    @property
    def channels(self) -> Tensor:
        """[r, w] of m_V(y), 2 x (z) y x: the repaired image and its linear solution."""
        return self.masked.channels

    def by(self, linear: LinearInverse) -> TileTensors:
        """Return the tile with a linear inverse of another weight."""
        return dataclasses.replace(self, whole=self.whole.by(linear), masked=self.masked.by(linear))

    def inputs(self, channels: Tensor) -> Tensor:
        """Return the input of f for [r, w] of a masked image: these, then r of each neighbour.

        Neighbours are never masked, as their noise is independent of that of the tile. Where there is none, r of the
        masked image takes its place, which keeps the theorem; the plane itself would show its hidden pixels.
        """
        return torch.stack([*channels, *(channels[0] if known is None else known for known in self.neighbours)])


def make_tile_tensors(problem: Problem, measurement: Measurement, seed: int) -> TileTensors:
    """Normalise a measurement and draw its held-out pixels V.

    Parameters
    ----------
    problem
        Inverse problem of the tile's channel.
    measurement
        Raw units, z y x.
    seed
        Seed of the tile.
    """
    axes = problem.axes
    unmeasured = gaps_of(measurement)
    gaps = None if unmeasured is None else to_tensor(unmeasured, axes, problem.device)
    y = mirror_outside(_normal(problem, measurement.y), gaps)
    observed = to_tensor(measurement.observed, axes, problem.device)
    drawn = draw_heldout(tuple(y.shape), generator(seed, Stream.HELDOUT), problem.footprint)
    heldout = drawn.to(problem.device)
    hidden = problem.hide(y, heldout, generator(seed, Stream.FILL), gaps)
    whole, masked = (LinearPart(problem.linear, image, gaps) for image in (y, hidden))
    neighbours = _neighbours(problem, measurement)
    outside = outside_of(gaps) if gaps is not None and problem.linear.border else None
    return TileTensors(observed, observed & ~whole.impulses, heldout, whole, masked, gaps, outside, neighbours)


def _normal(problem: Problem, raw: NDArray[np.float32]) -> Tensor:
    """Return an image z y x in normalised units, (z) y x."""
    normal = (raw - problem.calibration.offset) / problem.calibration.scale
    return to_tensor(normal.astype(np.float32), problem.axes, problem.device)


def _neighbours(problem: Problem, measurement: Measurement) -> tuple[Tensor | None, ...]:
    """Return r of each neighbour; None where there is none, or where its noise may be that of the tile."""
    independent, wanted = problem.calibration.independent, problem.config.network.neighbours
    known = measurement.neighbours or (None,) * len(wanted)
    return tuple(
        None if raw is None or axis not in independent else problem.linear.repaired(_normal(problem, raw))
        for (axis, _), raw in zip(wanted, known, strict=True)
    )


def heldout_errors(problem: Problem, tile: TileTensors, estimate: Tensor) -> Tensor:
    """Return the squared errors of g(estimate) at the usable pixels of V: flat, float64, squared normalised units.

    ``estimate``, (z) y x, must be computed from m_V(y). Synchronises the device.
    """
    forward = problem.forward
    error = forward(estimate) - forward.crop(tile.y)
    return error[forward.crop(tile.heldout & tile.usable)].double().square()


def heldout_loss(problem: Problem, tile: TileTensors, estimate: Tensor) -> float:
    """Return the mean of ``heldout_errors``; NaN where V has no usable pixel."""
    return float(heldout_errors(problem, tile, estimate).mean())
