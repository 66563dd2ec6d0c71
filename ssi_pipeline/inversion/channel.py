"""Per-channel constants: normalisation, noise, sensor limits and regularisation weights."""

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
    """Constants of one channel.

    ``offset``, ``scale``: normalised = (raw - offset) / scale. ``noise_sigma``: standard deviation of
    the noise at the level ``dark``, raw units; ``noise_alpha``: growth of the variance per unit of
    intensity above it. ``impulse_share``: share of pixels that are impulses. ``wiener_weight``: of the
    Laplacian prior. ``minimum``: smallest raw value. ``clip_low``, ``clip_high``: raw levels at which
    the sensor clips, None where it does not. ``empty``: nothing to see, every sample is constant.
    ``weight``: weight or number of iterations of the configured classical solver, or of the network's baseline, in
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
    weight: float | None = None
    dark: float | None = None
    estimated: SensorEstimate | None = None

    def normalise(self, raw: float) -> float:
        """Return a raw intensity in normalised units."""
        return (raw - self.offset) / self._unit

    def normalised(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return an image in normalised units."""
        return ((y - self.offset) / self._unit).astype(np.float32)

    @property
    def _unit(self) -> float:
        """Raw units of one normalised unit; an empty channel has no scale, its levels count as they are."""
        return self.scale or 1.0

    @property
    def noise(self) -> NoiseModel:
        """The noise in normalised units."""
        dark = 0.0 if self.dark is None else self.normalise(self.dark)
        return NoiseModel(self.noise_alpha / self._unit, self.noise_sigma / self._unit, dark)

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
