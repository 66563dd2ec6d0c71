"""Build the inverse problem of a channel on a device, and the tensors of one of its tiles.

Axes in shape comments: b batch; (z) y x the two or three spatial axes of a tile.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ssi_pipeline.config import RunConfig
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.linear.inverse import LinearInverse
from ssi_pipeline.inversion.linear.wiener import WienerFilters
from ssi_pipeline.inversion.masking import Stream, draw_heldout, generator, hide
from ssi_pipeline.inversion.measurement import Measurement, gaps_of, to_tensor
from ssi_pipeline.inversion.network.inverse import Inverse
from ssi_pipeline.inversion.network.loss import Objective
from ssi_pipeline.inversion.network.precision import resolved_precision
from ssi_pipeline.inversion.sensor.clipping_bias import ClippingBias
from ssi_pipeline.inversion.sensor.impulses import ImpulseTest, point_source_kappa
from ssi_pipeline.physics.build_forward import build_forward_model
from ssi_pipeline.physics.forward import ForwardModel
from ssi_pipeline.physics.psf import Psf


@dataclass(frozen=True, slots=True)
class Problem:
    """The inverse problem of a channel on a device. It is immutable, and shared by the channel's tiles and by threads.

    Attributes
    ----------
    config
        Configuration of the run.
    calibration
        Constants of the channel.
    forward
        Forward model g.
    filters
        Wiener filters of the PSF, by regularisation weight.
    linear
        Linear inverse with the calibrated weight.
    objective
        Training loss.
    device
        Torch device.
    """

    config: RunConfig
    calibration: ChannelCalibration
    forward: ForwardModel
    filters: WienerFilters
    linear: LinearInverse
    objective: Objective
    device: str

    @property
    def axes(self) -> int:
        """Number of spatial axes."""
        return self.forward.axes


@dataclass(frozen=True, slots=True)
class TileTensors:
    """The tensors of one tile, (z) y x, normalised units.

    Attributes
    ----------
    y
        Measurement, float32.
    observed
        False in padding and at pixels that were not finite.
    usable
        Observed pixels that are no impulses.
    heldout
        Held-out pixels V, hidden throughout training.
    channels
        [r, w] of m_V(y), 2 x (z) y x, for validation: the repaired image and its Wiener solution.
    gaps
        Pixels inside the observed box without a measurement; None without any.
    """

    y: Tensor
    observed: Tensor
    usable: Tensor
    heldout: Tensor
    channels: Tensor
    gaps: Tensor | None = None


def build_problem(psf: Psf | None, calibration: ChannelCalibration, config: RunConfig, device: str) -> Problem:
    """Build the inverse problem of a channel: forward model, linear inverse and training loss.

    Parameters
    ----------
    psf
        None for no blur.
    calibration
        Constants of the channel.
    config
        Configuration of the run.
    device
        Torch device.
    """
    forward = build_forward_model(psf, config.tiling.dimensions, calibration.sensor, device)
    values = forward.approximate_psf
    impulses = ImpulseTest(calibration.noise, config.impulse_sigma, point_source_kappa(values))
    filters, clipping_bias = WienerFilters(values, device), ClippingBias(calibration.sensor, values.ndim, device)
    return Problem(
        config=config,
        calibration=calibration,
        forward=forward,
        filters=filters,
        linear=LinearInverse(impulses, clipping_bias, filters(calibration.wiener_weight)),
        objective=Objective(config, calibration),
        device=device,
    )


def with_weight(problem: Problem, weight: float) -> Problem:
    """Return the problem with another weight of the linear prior. All else is shared, spectra of the PSF included."""
    linear = problem.linear
    return dataclasses.replace(
        problem,
        calibration=dataclasses.replace(problem.calibration, wiener_weight=weight),
        linear=LinearInverse(linear.impulses, linear.clipping_bias, problem.filters(weight)),
    )


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
    masking, axes = problem.config.masking, problem.axes
    normal = (measurement.y - problem.calibration.offset) / problem.calibration.scale
    y = to_tensor(normal.astype(np.float32), axes, problem.device)
    observed = to_tensor(measurement.observed, axes, problem.device)
    heldout = draw_heldout(tuple(y.shape), generator(seed, Stream.HELDOUT)).to(problem.device)
    inside = gaps_of(measurement)
    gaps = None if inside is None else to_tensor(inside, axes, problem.device)
    hidden = hide(y, heldout, masking, generator(seed, Stream.FILL), gaps)
    usable = observed & ~problem.linear.impulses.find(y)
    return TileTensors(y, observed, usable, heldout, problem.linear(hidden), gaps)


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


@torch.no_grad()
def apply(inverse: Inverse, channels: Tensor) -> Tensor:
    """Evaluate f on a whole tile: channels 2 x (z) y x to an estimate (z) y x.

    Always in float32: rounding to bfloat16 adds noise at frequencies that the PSF hides from the loss.
    """
    estimate: Tensor = inverse(channels[None])[0]
    return estimate


def autocast(problem: Problem) -> torch.autocast:
    """Return the autocast context of training steps, by ``training.precision``."""
    kind = problem.device.split(":")[0]
    low = resolved_precision(problem.config.training.precision, kind) == "bfloat16"
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=low)
