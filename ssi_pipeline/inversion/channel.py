"""Store the constants of a channel: normalisation, noise, sensor limits and regularisation weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.inversion.sensor.correlation import NoiseCorrelation
from ssi_pipeline.inversion.sensor.estimate import SensorEstimate
from ssi_pipeline.inversion.sensor.fill import Fill
from ssi_pipeline.inversion.sensor.impulses import NoiseModel
from ssi_pipeline.physics.sensor import CensoredSensor

MOST_BETWEEN = 0.1
"""Largest correlation of the noise of neighbours that the network sees: each can then tell a hundredth of the variance
of the noise. Interpolation between planes gives 0.25 and more."""


@dataclass(frozen=True, slots=True)
class ChannelCalibration:
    """Constants of one channel, as stored in calibration.json. Intensities are in raw units.

    Attributes
    ----------
    offset, scale
        Normalisation: normalised = (raw - offset) / scale.
    noise_sigma
        Standard deviation of the noise at the level ``dark``.
    noise_alpha
        Increase of the noise variance per unit of level above ``dark``.
    impulse_share
        Share of pixels that are impulses, 0 to 1.
    wiener_weight
        Weight of the Wiener filter's Laplacian prior, normalised units.
    minimum
        Smallest value of the samples.
    clip_low, clip_high
        Levels at which the sensor clips, None where it does not.
    empty
        Every sample is constant.
    weight
        Regularisation weight (normalised units) or number of iterations of the configured classical solver, or of the
        network's baseline; None without either.
    dark
        Dark level; None stands for ``offset``.
    estimated
        Estimate of the sensor from the samples, before the configuration overrides it.
    correlation
        Correlation of the noise between pixels; None where it is white.
    floor
        Level below which there is no light: the lower bound of every estimate. It is never above the dark level. None
        without one: data with negative values whose noise does not tell.
    alpha_most
        Largest ``noise_alpha`` that the data allow; None stands for ``noise_alpha``.
    fill
        Fill that was found or configured; None as long as it was not looked for.
    psf_width
        Largest width of the PSF that fits the spectrum of the samples, as a share of the given one: 1 where that fits;
        None where it was not checked.
    weight_at_end
        The tuned weight is the last of its candidates on one side, 'smoothest' or 'sharpest'; None where it is not.
    weights
        Weight, or number of iterations, of each solver that was tuned, by name; ``weight`` is the first of them.
    between
        Correlation of the noise with that of the next plane (z) and frame (t), where the network sees these; None
        where it cannot be told.
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
    weight: float | None = None
    dark: float | None = None
    estimated: SensorEstimate | None = None
    correlation: NoiseCorrelation | None = None
    floor: float | None = None
    alpha_most: float | None = None
    fill: Fill | None = None
    psf_width: float | None = None
    weight_at_end: str | None = None
    weights: dict[str, float] = field(default_factory=dict, hash=False)
    between: dict[str, float | None] = field(default_factory=dict, hash=False)

    def normalise(self, raw: float) -> float:
        """Convert a raw intensity to normalised units."""
        return (raw - self.offset) / self._unit

    def normalised(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert a raw image to normalised units, float32."""
        return ((y - self.offset) / self._unit).astype(np.float32)

    @property
    def independent(self) -> frozenset[str]:
        """Axes z, t along which the noise of neighbours is independent, so that the network may see them."""
        known = ((axis, rho) for axis, rho in self.between.items() if rho is not None)
        return frozenset(axis for axis, rho in known if abs(rho) <= MOST_BETWEEN)

    @property
    def _unit(self) -> float:
        """Raw units per normalised unit; 1 for an empty channel, which has no scale."""
        return self.scale or 1.0

    @property
    def noise(self) -> NoiseModel:
        """Noise model in normalised units."""
        dark = 0.0 if self.dark is None else self.normalise(self.dark)
        most = 0.0 if self.alpha_most is None else self.alpha_most / self._unit
        return NoiseModel(self.noise_alpha / self._unit, self.noise_sigma / self._unit, dark, most)

    @property
    def least(self) -> float:
        """Lower bound of estimates, normalised; minus infinity without one."""
        return -math.inf if self.floor is None else self.normalise(self.floor)

    @property
    def sensor(self) -> CensoredSensor:
        """Sensor model, noise and limits, in normalised units."""
        low = -math.inf if self.clip_low is None else self.normalise(self.clip_low)
        high = math.inf if self.clip_high is None else self.normalise(self.clip_high)
        noise = self.noise
        return CensoredSensor(noise.alpha, noise.sigma, low, high, noise.dark)

    def to_json(self) -> dict[str, Any]:
        """Return the calibration as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ChannelCalibration:
        """Return the calibration from the values of ``to_json``."""
        made: dict[str, Callable[[Any], object]] = {
            "estimated": lambda values: SensorEstimate(**values),
            "correlation": NoiseCorrelation.from_json,
            "fill": lambda values: Fill(**values),
        }
        parts = {name: make(document[name]) for name, make in made.items() if document.get(name) is not None}
        return cls(**{**document, **parts})
