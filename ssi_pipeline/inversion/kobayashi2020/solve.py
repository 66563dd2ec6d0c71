"""Solve a tile by the published method with its own recipe (Kobayashi et al., arXiv 2006.06156, and its code).

Known weaknesses are kept, because the published numbers include them:

- Validation pixels are not hidden, so the selection of the best parameters is not J-invariant.
- Masked pixels become zeros, and batch normalisation has other statistics in training than at inference.
- The estimate is clamped to [0, 1] before the PSF: outside, only the bounds loss has a gradient.
- The PSF is broadened before use, and correlated, not convolved: equivalent for symmetric PSFs only.
- The forward model reflects the estimate at the borders, whatever the data are.
- The data loss is a mean over all pixels, masked or not: relative to the bounds loss it shrinks with the mask.
- Only the first square of min(1024, shortest side) pixels is trained on, one image per step.
- A failed training is not detected or repeated, except for a loss that is never finite.
- Steps are in float32 unless ``training.precision`` is bfloat16; the estimate is always in float32.

Intensities are rescaled from the tile's minimum and maximum to [0, 1]. Additions to the recipe: all random numbers come
from the seed, and pixels that were not observed carry no loss.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ssi_pipeline.inversion.kobayashi2020.forward import PublishedForward
from ssi_pipeline.inversion.kobayashi2020.network import PublishedUNet
from ssi_pipeline.inversion.kobayashi2020.training import (
    PublishedTile,
    apply_published,
    train_published,
)
from ssi_pipeline.inversion.masking import Stream, generator
from ssi_pipeline.inversion.measurement import Measurement, observed_box, to_volume
from ssi_pipeline.inversion.network.precision import published_precision
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.inversion.solution import Solution
from ssi_pipeline.inversion.solver import OnValidation


def solve_published(
    problem: Problem,
    measurement: Measurement,
    seed: int,
    masked: bool = True,
    on_validation: OnValidation | None = None,
) -> Solution:
    """Estimate x on one tile's domain by the published recipe.

    Parameters
    ----------
    problem
        Only PSF, configuration and device are used: normalisation, noise and masks are the recipe's own.
    measurement
        Not constant, axes z y x, raw units. Only the observed box is used; the estimate is extended around it.
    seed
        Seed of all random numbers.
    masked
        False: the published control without masking, in which all pixels carry loss.
    on_validation
        Callback at each step; it must not change the state of any generator.

    Returns
    -------
    solution
        ``trace`` holds the recipe's training and validation losses, means over the tile in squared units of [0, 1].
        ``heldout_*`` are None, as no pixel is held out.

    Raises
    ------
    GeometryError
        The tile is smaller than 32 pixels along an axis.
    TrainingError
        No validation loss was finite.
    """
    started = time.perf_counter()
    config, device = problem.config, problem.device
    rescaled = _Rescaled.of(measurement)
    tile = PublishedTile.of(rescaled.y, measurement.observed[rescaled.box], problem.axes, seed, device)
    model = PublishedForward(problem.forward.approximate_psf, device)
    network = _network(tile, seed, device)

    def estimate() -> NDArray[np.float32]:
        """Return the estimate with the current parameters: shape of the tile, raw units."""
        # clamp as before the PSF: the data loss does not depend on values outside
        return rescaled.to_raw(to_volume(apply_published(network, tile.whole)[0, 0].clamp(0, 1)))

    rng, steps = generator(seed, Stream.PUBLISHED, 1), config.published.steps
    low_precision = published_precision(config.training.precision) == "bfloat16"
    trace, steps = train_published(network, model, tile, steps, rng, masked, low_precision, on_validation, estimate)
    trained = time.perf_counter()
    result = estimate()
    return Solution(
        estimate=result,
        method="published",
        attempts=1,
        steps=steps,
        trace=trace,
        training_seconds=trained - started,
        inference_seconds=time.perf_counter() - trained,
    )


@dataclass(frozen=True, slots=True)
class _Rescaled:
    """The observed box of a tile, rescaled to [0, 1].

    Attributes
    ----------
    y
        Smallest box with all observed pixels, z y x.
    low, high
        Raw levels that become 0 and 1.
    box
        Position of ``y`` in the tile.
    shape
        Shape of the tile.
    """

    y: NDArray[np.float32]
    low: float
    high: float
    box: tuple[slice, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, measurement: Measurement) -> _Rescaled:
        """Rescale a measurement by the minimum and maximum of its observed pixels."""
        box = observed_box(measurement)
        seen = measurement.y[measurement.observed]
        low, high = float(seen.min()), float(seen.max())
        y = ((measurement.y[box] - low) / (high - low)).astype(np.float32)
        return cls(y, low, high, box, measurement.y.shape)

    def to_raw(self, estimate: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert an estimate in [0, 1], shape of ``y``, to raw units; its edges are replicated over the tile."""
        width = [(s.start, n - s.stop) for s, n in zip(self.box, self.shape, strict=True)]
        return np.pad(estimate * (self.high - self.low) + self.low, width, mode="edge").astype(np.float32)


def _network(tile: PublishedTile, seed: int, device: str) -> PublishedUNet:
    network = PublishedUNet(tile.axes, generator(seed, Stream.PUBLISHED, 0)).to(device)
    if tile.axes == 2:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return network


solve_published_unmasked = functools.partial(solve_published, masked=False)
"""The published control without masking."""
