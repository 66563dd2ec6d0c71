"""Build the inverse problem of a channel on a device, and the tensors of one of its tiles.

Axes in shape comments: b batch; (z) y x the two or three spatial axes of a tile.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssi_pipeline.config import RunConfig
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.linear.inverse import LinearInverse
from ssi_pipeline.inversion.linear.part import LinearPart
from ssi_pipeline.inversion.linear.solution import LinearSolutions
from ssi_pipeline.inversion.masking import Stream, cover, draw_heldout, generator, hide
from ssi_pipeline.inversion.measurement import Measurement, gaps_of, to_tensor
from ssi_pipeline.inversion.network.inverse import Inverse
from ssi_pipeline.inversion.network.loss import Objective
from ssi_pipeline.inversion.network.pieces import evaluate
from ssi_pipeline.inversion.network.precision import resolved_precision
from ssi_pipeline.inversion.sensor.clipping_bias import ClippingBias
from ssi_pipeline.inversion.sensor.impulses import ImpulseTest, point_source_kappa
from ssi_pipeline.inversion.surroundings import mirror_outside
from ssi_pipeline.physics.build_forward import build_forward_model
from ssi_pipeline.physics.forward import ForwardModel
from ssi_pipeline.physics.psf import Place, Psf


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
        Linear solutions by regularisation weight.
    linear
        Linear inverse with the calibrated weight.
    objective
        Training loss.
    device
        Torch device.
    psf
        PSF of the channel, None for no blur. Where it varies, ``forward`` is that of its mean, and what is computed
        begins with ``at``.
    footprint
        Offsets (z) y x of pixels with correlated noise, which are hidden together, on the CPU; None: white noise.
    scales
        Smallest side of a voxel over its side along each axis, (z) y x; 1 where voxel sizes are unknown.
    """

    config: RunConfig
    calibration: ChannelCalibration
    forward: ForwardModel
    filters: LinearSolutions
    linear: LinearInverse
    objective: Objective
    device: str
    scales: tuple[float, ...]
    psf: Psf | None = None
    footprint: Tensor | None = None

    def at(self, place: Place | None) -> Problem:
        """Return the problem with the PSF of a place: itself, unless the PSF varies.

        Raises
        ------
        ValueError
            The PSF varies, and there is no place.
        """
        there = None if self.psf is None else self.psf.at(place)
        return self if there is self.psf else build_problem(there, self.calibration, self.config, self.device)

    @property
    def varies(self) -> bool:
        """Whether the PSF differs from place to place."""
        return self.psf is not None and bool(self.psf.varying)

    @property
    def axes(self) -> int:
        """Number of spatial axes."""
        return self.forward.axes

    def hide(self, image: Tensor, mask: Tensor, rng: torch.Generator, gaps: Tensor | None = None) -> Tensor:
        """Return m_J(image): the pixels of a mask J, and those that share their noise, replaced by their neighbours."""
        return hide(image, cover(mask, self.footprint), self.config.masking, rng, gaps, self.footprint)

    def noise(self, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
        """Return normal noise of unit variance (z) y x, on the CPU, with the correlation of the channel's."""
        white = torch.randn(shape, generator=rng)
        correlation = self.calibration.correlation
        return white if correlation is None else torch.from_numpy(correlation.colour(white.numpy()))


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
    filters = LinearSolutions(forward, values, device, calibration.correlation)
    clipping_bias = ClippingBias(calibration.sensor, values.ndim, device)
    border = config.method.network and config.training.scope != "shared"  # shared: tiles agree with the whole plane
    return Problem(
        config=config,
        calibration=calibration,
        forward=forward,
        filters=filters,
        linear=LinearInverse(impulses, clipping_bias, filters(calibration.wiener_weight), border),
        objective=Objective(config, calibration),
        device=device,
        scales=_scales(psf, values.ndim),
        psf=psf,
        footprint=_footprint(calibration, values.ndim),
    )


def _scales(psf: Psf | None, axes: int) -> tuple[float, ...]:
    sides = (1.0,) * axes if psf is None or psf.voxel_size_um is None else psf.voxel_size_um[-axes:]
    return tuple(min(sides) / side for side in sides)


def _footprint(calibration: ChannelCalibration, axes: int) -> Tensor | None:
    if calibration.correlation is None:
        return None
    footprint = calibration.correlation.footprint(axes)
    return torch.from_numpy(footprint) if footprint.size > 1 else None


def with_weight(problem: Problem, weight: float) -> Problem:
    """Return the problem with another weight of the linear prior. All else is shared, spectra of the PSF included."""
    linear = problem.linear
    return dataclasses.replace(
        problem,
        calibration=dataclasses.replace(problem.calibration, wiener_weight=weight),
        linear=LinearInverse(linear.impulses, linear.clipping_bias, problem.filters(weight), linear.border),
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
    return TileTensors(observed, observed & ~whole.impulses, heldout, whole, masked, gaps, neighbours)


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


@torch.no_grad()
def apply(inverse: Inverse, channels: Tensor) -> Tensor:
    """Evaluate f on a whole tile: channels 2 x (z) y x to an estimate (z) y x.

    Always in float32: rounding to bfloat16 adds noise at frequencies that the PSF hides from the loss.
    """
    return evaluate(inverse, channels[None])[0]


def autocast(problem: Problem) -> torch.autocast:
    """Return the autocast context of training steps, by ``training.precision``."""
    kind = problem.device.split(":")[0]
    low = resolved_precision(problem.config.training.precision, kind) == "bfloat16"
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=low)
