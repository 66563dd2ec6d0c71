"""Store the constants of a channel: normalisation, noise, sensor limits and regularisation weights."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.inversion.sensor.estimate import SensorEstimate
from ssi_pipeline.inversion.sensor.impulses import NoiseModel
from ssi_pipeline.physics.sensor import CensoredSensor


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

    def normalise(self, raw: float) -> float:
        """Convert a raw intensity to normalised units."""
        return (raw - self.offset) / self._unit

    def normalised(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert a raw image to normalised units, float32."""
        return ((y - self.offset) / self._unit).astype(np.float32)

    @property
    def _unit(self) -> float:
        """Raw units per normalised unit; 1 for an empty channel, which has no scale."""
        return self.scale or 1.0

    @property
    def noise(self) -> NoiseModel:
        """Noise model in normalised units."""
        dark = 0.0 if self.dark is None else self.normalise(self.dark)
        return NoiseModel(self.noise_alpha / self._unit, self.noise_sigma / self._unit, dark)

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
        estimated = document.get("estimated")
        return cls(**{**document, "estimated": None if estimated is None else SensorEstimate(**estimated)})
