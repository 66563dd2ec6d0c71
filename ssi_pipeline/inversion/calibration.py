"""What a whole channel shares: normalisation, noise, sensor limits, and the weight of the Wiener filter."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ssi_pipeline.config import RunConfig
from ssi_pipeline.geometry.halo import wiener_radius
from ssi_pipeline.inversion.evidence import WEIGHTS, evidence, likeliest_weight
from ssi_pipeline.inversion.impulse_share import impulse_share
from ssi_pipeline.inversion.impulses import ImpulseTest, NoiseModel, point_source_kappa
from ssi_pipeline.inversion.measurement import Measurement, gaps_of, observed_box, to_tensor
from ssi_pipeline.inversion.sensor import SensorEstimate, as_configured, estimate_sensor
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.physics.sensor import CensoredSensor

_PERCENTILES = (1.0, 99.8)
"""That become 0 and 1, as StarDist normalises (Schmidt et al. 2018): sparse bright structures keep their range."""


@dataclass(frozen=True, slots=True)
class ChannelCalibration:
    """Constants of one channel.

    ``offset``, ``scale``: normalised = (raw - offset) / scale. ``noise_sigma``: standard deviation of
    the noise at the level ``dark``, raw units; ``noise_alpha``: growth of the variance per unit of
    intensity above it. ``impulse_share``: share of pixels that are impulses. ``wiener_weight``: of the
    Laplacian prior. ``minimum``: smallest raw value. ``clip_low``, ``clip_high``: raw levels at which
    the sensor clips, None where it does not. ``empty``: nothing to see, every sample is constant.
    ``knob``: weight or number of iterations of the configured classical solver, or of the network's rival, in
    normalised units; None where there is neither. ``dark``: raw, None is ``offset``. ``estimated``: what the
    samples say of the sensor, whatever the configuration says.
    """

    offset: float
    scale: float
    noise_sigma: float
    noise_alpha: float
    impulse_share: float
    wiener_weight: float
    minimum: float
    clip_low: float | None = None
    clip_high: float | None = None
    empty: bool = False
    knob: float | None = None
    dark: float | None = None
    estimated: SensorEstimate | None = None

    def normalise(self, raw: float) -> float:
        """Return a raw intensity in normalised units."""
        return (raw - self.offset) / self.scale

    def normalised(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return an image in normalised units."""
        return ((y - self.offset) / self.scale).astype(np.float32)

    @property
    def noise(self) -> NoiseModel:
        """The noise in normalised units."""
        dark = 0.0 if self.dark is None else self.normalise(self.dark)
        return NoiseModel(self.noise_alpha / self.scale, self.noise_sigma / self.scale, dark)

    @property
    def sensor(self) -> CensoredSensor:
        """The clipping sensor in normalised units."""
        low = -math.inf if self.clip_low is None else self.normalise(self.clip_low)
        high = math.inf if self.clip_high is None else self.normalise(self.clip_high)
        noise = self.noise
        return CensoredSensor(noise.alpha, noise.sigma, low, high, noise.dark)

    def to_json(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ChannelCalibration:
        """Read what ``to_json`` wrote."""
        estimated = document.get("estimated")
        return cls(**{**document, "estimated": None if estimated is None else SensorEstimate(**estimated)})


def psf_values(psf: Psf | None, dimensions: int) -> NDArray[np.float32]:
    """Return the PSF with a tile's spatial axes, (z) y x; a single 1 for None (no blur).

    Raises
    ------
    ValueError
        A tile in 2D with a PSF that has several planes.
    """
    if psf is None:
        return np.ones((1,) * dimensions, dtype=np.float32)
    if dimensions == 3:
        values: NDArray[np.float32] = psf.values
        return values
    if psf.values.shape[0] != 1:
        raise ValueError(f"expected a PSF of one plane for tiles in 2D, found {psf.values.shape[0]} planes")
    plane: NDArray[np.float32] = psf.values[0]
    return plane


def filter_radius(psf: NDArray[np.floating]) -> tuple[int, ...]:
    """Return the radius of the Wiener kernel along the axes of a PSF (z) y x."""
    radius = tuple(n // 2 for n in psf.shape)
    return wiener_radius((0,) * (3 - len(radius)) + radius)[-len(radius) :]


def calibrate(samples: Sequence[Measurement], psf: Psf | None, config: RunConfig) -> ChannelCalibration:
    """Estimate the constants of a channel from samples of it, without truth.

    Parameters
    ----------
    samples
        Parts of the channel, each large enough for the PSF (other ones count for the statistics only).
    psf
        None where there is no blur.
    """
    offset, scale, minimum = _statistics(samples)
    if scale == 0:
        return ChannelCalibration(offset, 0.0, 0.0, 0.0, 0.0, 1.0, minimum, empty=True)
    normal = [Measurement(((s.y - offset) / scale).astype(np.float32), s.observed) for s in samples]
    found = estimate_sensor(samples, offset, scale, config.sensor)
    used = as_configured(found, config.sensor)
    draft = ChannelCalibration(
        offset, scale, used.sigma, used.alpha, 0.0, 1.0, minimum, used.low, used.high, dark=used.dark
    )
    values = psf_values(psf, config.tiling.dimensions)
    impulses = ImpulseTest(draft.noise, config.impulse_sigma, point_source_kappa(values))
    weight = _weight(normal, values, impulses, config.tiling.dimensions)
    share = impulse_share(normal, impulses, draft.sensor)
    known = dataclasses.replace(
        draft,
        impulse_share=share,
        wiener_weight=weight,
        estimated=dataclasses.replace(found, impulse_share=share),
    )
    knob = _knob(samples, psf, known, config)
    if config.method.network:
        known = dataclasses.replace(known, wiener_weight=_smoother(samples, psf, known, config))
    return dataclasses.replace(known, knob=knob)


def _smoother(samples: Sequence[Measurement], psf: Psf | None, found: ChannelCalibration, config: RunConfig) -> float:
    """Return the likeliest weight, or the one by the masked loss where that is larger: what training starts from.

    The masked loss chooses too small a weight, since it sees the estimate through the PSF. The likelihood fails
    where the spectrum of the data is not that of its model: on a widefield stack in 3D it chose .002, with
    which hidden pixels were predicted 60 times worse than with the masked loss's .3.
    """
    from ssi_pipeline.inversion.classical.knob import choose_knob  # a choice needs constants, constants a choice

    by_loss = choose_knob(samples, psf, found, config.model_copy(update={"solver": "wiener"}))
    return max(found.wiener_weight, by_loss.knob) if by_loss.losses else found.wiener_weight


def _knob(
    samples: Sequence[Measurement], psf: Psf | None, found: ChannelCalibration, config: RunConfig
) -> float | None:
    from ssi_pipeline.inversion.classical.knob import choose_knob
    from ssi_pipeline.inversion.classical.table import calibrated, configured_knob

    name = calibrated(config)
    if name is None:
        return None
    if config.method.network:
        config = config.model_copy(update={"solver": name})
    if config.method.likelihood and config.classical.weight == "likelihood":
        return found.wiener_weight
    configured = configured_knob(config)
    return choose_knob(samples, psf, found, config).knob if configured is None else configured


def _statistics(samples: Sequence[Measurement]) -> tuple[float, float, float]:
    """Return (offset, scale, minimum); scale 0 where all is constant."""
    seen = [s.y[s.observed] for s in samples if s.observed.any()]
    if not seen:
        return 0.0, 0.0, 0.0
    values = np.concatenate(seen)
    low, high = np.percentile(values, _PERCENTILES)
    if high <= low:  # nearly empty: a few bright pixels beyond both percentiles
        low, high = values.min(), values.max()
    return float(low), float(high) - float(low), float(values.min())


def tile_weight(measurement: Measurement, psf: Psf | None, calibration: ChannelCalibration, config: RunConfig) -> float:
    """Return the likeliest weight of the prior for one tile alone; the channel's where the tile cannot tell.

    A smooth tile among structured ones wants a far larger weight (measured on four planes of one channel: up
    to 3.7 dB). The weight is one of 33 steps decided by all pixels: broad enough not to betray a hidden one.
    """
    values = psf_values(psf, config.tiling.dimensions)
    normal = calibration.normalised(measurement.y)
    impulses = ImpulseTest(calibration.noise, config.impulse_sigma, point_source_kappa(values))
    likelihood = _likelihood(Measurement(normal, measurement.observed), values, impulses, config.tiling.dimensions)
    return likeliest_weight(likelihood) if likelihood.any() else calibration.wiener_weight


def _weight(samples: Sequence[Measurement], psf: NDArray[np.float32], impulses: ImpulseTest, dimensions: int) -> float:
    """Return the likeliest weight of the Wiener filter's prior."""
    likelihood = np.zeros(len(WEIGHTS))
    for sample in samples:
        likelihood += _likelihood(sample, psf, impulses, dimensions)
    return likeliest_weight(likelihood)


def _likelihood(
    sample: Measurement, psf: NDArray[np.float32], impulses: ImpulseTest, dimensions: int
) -> NDArray[np.float64]:
    """Return the log likelihood of each weight for a normalised sample.

    The model knows white noise everywhere, and the local means in gaps have next to none: noise is drawn for them.
    """
    repaired = impulses.repair(to_tensor(sample.y, dimensions)).numpy()
    gaps = gaps_of(sample)
    if gaps is not None:
        level = torch.from_numpy(repaired[gaps.reshape(repaired.shape)])
        drawn = np.random.default_rng(0).standard_normal(level.shape).astype(np.float32)
        repaired[gaps.reshape(repaired.shape)] += impulses.noise.deviation(level).numpy() * drawn
    return evidence(repaired[observed_box(sample)[-dimensions:]], psf)
