"""Build the inverse problem of a channel on a device.

Axes in shape comments: b batch; (z) y x the two or three spatial axes of a tile.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ssi_pipeline.config import RunConfig
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.linear.inverse import LinearInverse
from ssi_pipeline.inversion.linear.solution import LinearSolutions
from ssi_pipeline.inversion.masking import cover, hide
from ssi_pipeline.inversion.network.inverse import Inverse
from ssi_pipeline.inversion.network.loss import Objective
from ssi_pipeline.inversion.network.pieces import evaluate
from ssi_pipeline.inversion.network.precision import resolved_precision
from ssi_pipeline.inversion.sensor.clipping_bias import ClippingBias
from ssi_pipeline.inversion.sensor.impulses import ImpulseTest, point_source_kappa
from ssi_pipeline.physics.build_forward import build_forward_model
from ssi_pipeline.physics.forward import ForwardModel
from ssi_pipeline.physics.psf import Position, Psf


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
    _kept: dict[str, Problem] = field(default_factory=dict, init=False, repr=False, compare=False)

    def at(self, place: Position | None) -> Problem:
        """Return the problem with the PSF of a place: itself, unless the PSF varies.

        The latest is kept, as tiles in a row often have the same PSF: its spectra are a third of the time of a Wiener
        filter (docs/psf.md). One only, since they are as large as a few tiles. Thread-safe: concurrent calls may both
        build a problem.

        Raises
        ------
        ValueError
            The PSF varies, and there is no place.
        """
        there = None if self.psf is None else self.psf.at(place)
        if there is None or there is self.psf:
            return self
        found = self._kept.get(there.digest)
        if found is None:
            self._kept.clear()  # before another is built, so that there are never two
            found = build_problem(there, self.calibration, self.config, self.device)
            self._kept[there.digest] = found
        return found

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

    def remaining(self, observed: Tensor, mask: Tensor) -> Tensor:
        """Return the observed pixels that remain where those of a mask J are hidden."""
        return observed & ~cover(mask, self.footprint)

    def noise(self, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
        """Return normal noise of unit variance (z) y x, on the CPU, with the correlation of the channel's."""
        white = torch.randn(shape, generator=rng)
        correlation = self.calibration.correlation
        return white if correlation is None else torch.from_numpy(correlation.colour(white.numpy()))


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
