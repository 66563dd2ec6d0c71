"""Small scenes with known noise, and inverse problems for the classical solvers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.classical.observation import Observation, observe
from ssi_pipeline.inversion.classical.roughness import Roughness
from ssi_pipeline.inversion.classical.slopes import slopes_of
from ssi_pipeline.inversion.classical.tv import data_term
from ssi_pipeline.inversion.classical.tv_conjugate_gradient import SMOOTHING
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.problem import Problem, build_problem
from ssi_pipeline.physics.psf import Psf

PLAIN = ChannelCalibration(0.0, 1.0, 0.05, 0.0, 0.0, 0.1, 0.0)
"""No normalisation, no clipping, noise of standard deviation 0.05."""


def config_for(solver: str, **sections: Any) -> RunConfig:
    document = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {"kind": "identity"}, "solver": solver}
    return parse_config({**document, **sections})


def gaussian_psf(axes: int = 2, sigma: float = 1.2, skew: float = 0.0) -> Psf:
    """Return a Gaussian of radius 4 (2 along z); with ``skew`` convolution and correlation differ."""
    g = np.exp(-0.5 * (np.arange(-4, 5) / sigma) ** 2)
    h = g * (1 + skew * np.arange(-4, 5) / 4)
    values = np.einsum("z,y,x->zyx", g[2:-2] if axes == 3 else np.ones(1), g, h)
    return Psf((values / values.sum()).astype(np.float32))


def blobs(shape: tuple[int, ...], seed: int = 0, scale: float = 3.0) -> NDArray[np.float64]:
    """Return bright regions with sharp edges on a background of exactly 0, (z) y x."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = ndimage.gaussian_filter(noise, [min(scale, n / 8) for n in shape])
    return (smooth > 0.5 * smooth.std()).astype(np.float64)


def blur(x: NDArray[np.float64], psf: Psf | None) -> NDArray[np.float64]:
    if psf is None:
        return x
    kernel = psf.values if x.ndim == 3 else psf.values[0]
    return ndimage.convolve(x, kernel.astype(np.float64), mode="reflect")


def measured(x: NDArray[np.float64], psf: Psf | None, sigma: float = 0.05, seed: int = 1) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).standard_normal(x.shape)
    return (blur(x, psf) + sigma * noise).astype(np.float32)


def as_measurement(y: NDArray[np.floating], pad: tuple[int, ...] = (0, 0, 0)) -> Measurement:
    """Return an image (z) y x as a measurement z y x, padded by reflection as tiles at the border of the input are."""
    y = np.asarray(y if y.ndim == 3 else y[None], np.float32)
    width = [(p, p) for p in pad]
    return Measurement(np.pad(y, width, mode="reflect"), np.pad(np.ones(y.shape, bool), width))


def problem_for(
    solver: str, psf: Psf | None, y: NDArray[np.floating], calibration: ChannelCalibration = PLAIN, **sections: Any
) -> tuple[Problem, Observation]:
    """Build the problem and the observation of a fully observed image (z) y x, without an impulse test."""
    sensor = {"impulse_share": 0, **sections.get("sensor", {})}
    sections = {"tiling": {"dimensions": y.ndim}, **sections, "sensor": sensor}
    problem = build_problem(psf, calibration, config_for(solver, **sections), "cpu")
    image = torch.from_numpy(np.asarray(y, np.float32))
    return problem, observe(problem, image, torch.ones_like(image, dtype=torch.bool))


def clipping(sigma: float, low: float | None = 0.0, high: float | None = None) -> ChannelCalibration:
    return dataclasses.replace(PLAIN, noise_sigma=sigma, clip_low=low, clip_high=high)


def huber(slopes: Tensor, corner: float) -> Tensor:
    """Return h(|D x|) = |D x| - corner / 2, below the corner |D x|^2 / (2 corner); ``slopes`` has its axes first."""
    length = torch.linalg.vector_norm(slopes, dim=0)
    return torch.where(length > corner, length - corner / 2, length.square() / (2 * corner or 1.0))


def hyperbola(slopes: Tensor, smoothing: float) -> Tensor:
    """Return h(|D x|) = sqrt(|D x|^2 + smoothing^2); ``slopes`` has its axes first."""
    return torch.sqrt(slopes.square().sum(0) + smoothing**2)


def objective(
    problem: Problem, observation: Observation, x: Tensor, weight: float, lengths: Callable[[Tensor], Tensor]
) -> float:
    """Return E(x); ``lengths`` maps D x to h(|D x|)."""
    variation = float(lengths(slopes_of(problem, observation)(x).double()).sum())
    return data_term(problem, observation).value(problem.forward.level(x)) + weight * variation


def smoothed_objective(problem: Problem, observation: Observation, x: Tensor, weight: float) -> float:
    """Return the objective of ``tv_cg``: slopes and the Hessian count."""
    squares = Roughness(slopes_of(problem, observation)).squares(x).double()
    variation = float((squares + SMOOTHING**2).sqrt().sum())
    return data_term(problem, observation).value(problem.forward.level(x)) + weight * variation
