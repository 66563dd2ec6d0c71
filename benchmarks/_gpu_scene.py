"""The tile on which a GPU is measured: the same on every machine, with constants in place of a calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.problem import Problem, build_problem
from ssi_pipeline.physics.psf import Psf

CALIBRATION = ChannelCalibration(
    *(0.0, 1023.0, 0.05, 1.023, 0.01, 0.05, 0.0),
    clip_low=0.0,
    clip_high=1023.0,
    weights={"tv": 0.02, "tv_cg": 0.02, "richardson_lucy": 10.0, "wiener": 0.05},
)
"""Noise of variance 0.001 z + 0.05^2 in the range 0 to 1, of ten bits, clipped at both ends."""

_SIGMA, _RADIUS = 2.0, 7
"""The PSF, a Gaussian: standard deviation and radius in pixels."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A tile with its truth; ``truth``: in the range 0 to 1."""

    measurement: Measurement
    truth: NDArray[np.float64]
    psf: Psf
    config: RunConfig

    def problem(self, device: str) -> Problem:
        return build_problem(self.psf, CALIBRATION, self.config, device)

    def psnr(self, estimate: NDArray[np.floating]) -> float:
        """Return the PSNR of an estimate in raw units, a border of 24 pixels apart."""
        error = (estimate[0] / CALIBRATION.scale - self.truth)[24:-24, 24:-24]
        return round(float(-10 * np.log10(np.mean(error**2))), 3)


def scene(side: int, solver: str = "ssi", **sections: Any) -> Scene:
    """Return a blurred, noisy, clipped scene of side x side pixels with impulses, and the solver to measure."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    truth = 0.5 + 0.25 * np.sin(x / 9 + np.sin(y / 23)) * (np.sin(y / 13) > 0) + 0.25 * ((x // 40 + y // 56) % 2)
    g = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    psf = np.outer(g, g) / g.sum() ** 2
    blurred = _blurred(truth, psf)
    noisy = blurred + rng.normal(size=truth.shape) * np.sqrt(0.001 * blurred.clip(0) + 0.05**2)
    impulses = rng.random(truth.shape) < 0.01
    noisy[impulses] = rng.random(int(impulses.sum()))
    counts = np.round(noisy.clip(0, 1) * 1023).astype(np.float32)
    document = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {"kind": "identity"}, "solver": solver}
    measurement = Measurement(counts[None], np.ones((1, side, side), dtype=bool))
    return Scene(measurement, truth, Psf(psf[None].astype(np.float32)), parse_config({**document, **sections}))


def _blurred(image: NDArray[np.float64], psf: NDArray[np.float64]) -> NDArray[np.float64]:
    placed = np.zeros(image.shape)
    placed[: psf.shape[0], : psf.shape[1]] = psf
    placed = np.roll(placed, (-_RADIUS, -_RADIUS), (0, 1))
    return np.asarray(np.fft.irfft2(np.fft.rfft2(image) * np.fft.rfft2(placed), s=image.shape))
