"""The published method by its own recipe, as a yardstick (Kobayashi et al., arXiv 2006.06156, and its code).

What is known to hurt is kept, because the published numbers include it:

- Validation pixels are hidden no more than others, so the choice of the best weights is not J-invariant.
- Masked pixels become zeros, and batch normalisation sees other statistics in training than at the end.
- The estimate is clamped to [0, 1] before the PSF: outside there is no gradient but that of the bounds loss.
- The PSF is broadened before use. It is correlated, not convolved: harmless for a symmetric PSF alone.
- The model continues the estimate by reflection at borders, whatever the data do there.
- The data loss is a mean over all pixels, masked or not: it shrinks with the mask against the bounds loss.
- Only the first square of min(1024, shortest side) pixels is ever trained on, one image a step.
- The loss and its gradient are all there is to tell a failed training: none is repeated.
- Steps are computed in float32 unless ``training.precision`` says bfloat16; the estimate always is.

Intensities are those of the tile, stretched from its least to its greatest to [0, 1]. Of our own are
only the seed (all chance comes from it) and that pixels never observed carry no loss.
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
    problem: Problem, measurement: Measurement, seed: int, masked: bool = True, watch: OnValidation | None = None
) -> Solution:
    """Estimate x in one tile's domain by the published recipe.

    Parameters
    ----------
    problem
        Its PSF, configuration and device: intensities, noise and masks are the recipe's own.
    measurement
        Not constant, axes z y x. Only what was observed is used; what surrounds it is filled in again at the end.
    masked
        False: the published control without masking, in which all pixels carry loss.
    watch
        Sees the training; it must not change the state of any generator.

    Returns
    -------
    solution
        ``trace`` holds the recipe's own losses, in [0, 1] units squared; the second is its validation loss,
        a mean over the tile. ``heldout_*`` stay None: no pixel was held out.

    Raises
    ------
    GeometryError
        The tile is smaller than 32 pixels along an axis.
    TrainingError
        No validation loss was finite.
    """
    started = time.perf_counter()
    config, device = problem.config, problem.device
    stretched = _Stretched.of(measurement)
    tile = PublishedTile.of(stretched.y, measurement.observed[stretched.box], problem.axes, seed, device)
    model = PublishedForward(problem.forward.approximate_psf, device)
    network = _network(tile, seed, device)

    def estimate() -> NDArray[np.float32]:
        """Return the estimate with the weights of this moment: shape of the tile, raw levels."""
        # clamped as before the PSF: what lies outside was never seen by the loss
        return stretched.undone(to_volume(apply_published(network, tile.whole)[0, 0].clamp(0, 1)))

    rng, steps = generator(seed, Stream.PUBLISHED, 1), config.published.steps
    low_precision = published_precision(config.training.precision) == "bfloat16"
    trace, steps = train_published(network, model, tile, steps, rng, masked, low_precision, watch, estimate)
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
class _Stretched:
    """What was observed of a tile, in [0, 1].

    ``y``: z y x, the smallest box with all that was observed. ``low``, ``high``: raw levels that became 0 and 1.
    ``box``: where ``y`` lies in the tile, which has the shape ``shape``.
    """

    y: NDArray[np.float32]
    low: float
    high: float
    box: tuple[slice, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, measurement: Measurement) -> _Stretched:
        """Stretch what was observed from its least to its greatest level."""
        box = observed_box(measurement)
        seen = measurement.y[measurement.observed]
        low, high = float(seen.min()), float(seen.max())
        y = ((measurement.y[box] - low) / (high - low)).astype(np.float32)
        return cls(y, low, high, box, measurement.y.shape)

    def undone(self, estimate: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return an estimate in [0, 1], of the shape of ``y``, at raw levels; its edges continue over the tile."""
        width = [(s.start, n - s.stop) for s, n in zip(self.box, self.shape, strict=True)]
        return np.pad(estimate * (self.high - self.low) + self.low, width, mode="edge").astype(np.float32)


def _network(tile: PublishedTile, seed: int, device: str) -> PublishedUNet:
    network = PublishedUNet(tile.axes, generator(seed, Stream.PUBLISHED, 0)).to(device)
    if tile.axes == 2:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return network


solve_published_unmasked = functools.partial(solve_published, masked=False)
"""The published control without masks."""
