"""Draw masks J, and apply m_J: replace the pixels of J by values that do not depend on them."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ssi_pipeline.config import MaskingConfig

HELDOUT_SHARE = 0.05
"""Share of pixels held out as V: of 10^5 pixels the mean loss is known to 2 %, and 95 % remain for training."""


class Stream(IntEnum):
    """Independent streams of random numbers. A number is never reused.

    Numpy ignores trailing zeros of a seed: (seed, stream) and (seed, stream, 0) are the same stream. Where a stream is
    used both without and with an index, indices start at 1.
    """

    HELDOUT = 1
    """Held-out pixels V of a tile."""
    FILL = 2
    """Values that replace V."""
    TRAINING = 3
    """Initial parameters of a network, its masks and patches; indexed by attempt."""
    METRICS = 4
    """Values that replace the masks of the blind metrics; indexed by mask."""
    SPLIT = 5
    """Noise added for the recorrupted-to-recorrupted risk (R2R)."""
    UNCERTAINTY = 6
    """Simulated measurements; indexed by repetition."""
    PUBLISHED = 7
    """The published recipe: 0 initial parameters, 1 training, 2 validation pixels."""
    TUNING = 11
    """Parts and masks for tuning, indexed by part; values that replace the masks, indexed by mask."""


def generator(seed: int, *stream: int) -> torch.Generator:
    """Return a random generator on the CPU for a seed and a stream: a ``Stream``, optionally followed by an index."""
    state = np.random.SeedSequence((seed, *stream)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def draw_mask(shape: tuple[int, ...], masking: MaskingConfig, rng: torch.Generator) -> Tensor:
    """Draw J (bool, True where hidden) for a whole tile: each pixel independently with probability ``density``."""
    return torch.rand(shape, generator=rng) < masking.density


def draw_heldout(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Draw the held-out pixels V (bool) of a tile: each pixel independently with probability ``HELDOUT_SHARE``."""
    return torch.rand(shape, generator=rng) < HELDOUT_SHARE


def hide(
    image: Tensor, hidden: Tensor, masking: MaskingConfig, rng: torch.Generator, gaps: Tensor | None = None
) -> Tensor:
    """Return m_J(image): the image with its hidden pixels replaced.

    Hidden values are removed before anything is computed.

    Parameters
    ----------
    image
        Normalised, (z) y x.
    hidden
        J, True at hidden pixels, shape of ``image``.
    masking
        ``replacement`` by 'neighbours': the mean of neighbours that are not hidden; 'random': uniform values from 0
        to 1; 'zeros': 0, the background level of the channel.
    rng
        Source of random values.
    gaps
        True at pixels without a measurement (NaN in the input), None where there are none. Their values were
        interpolated from neighbours, hidden ones included, and are interpolated again without these.
    """
    if gaps is not None:
        image = fill_unknown(image, ~(hidden | gaps))
    if masking.replacement == "zeros":
        return torch.where(hidden, torch.zeros_like(image), image)
    if masking.replacement == "random":
        return torch.where(hidden, torch.rand(image.shape, generator=rng).to(image), image)
    return image if gaps is not None else fill_unknown(image, ~hidden)


def fill_unknown(image: Tensor, known: Tensor) -> Tensor:
    """Interpolate the unknown pixels of an image (z) y x by local means of the known ones.

    Two passes of the mean over windows of 3 pixels; where these contain no known pixel, the mean of all known ones.
    """
    seen = torch.where(known, image, torch.zeros_like(image))
    level = seen.sum() / known.sum().clamp(min=1)
    for _ in range(2):
        weight = _window_mean(known.to(image.dtype))
        reached = known | (weight > 0)
        # 1e-6 is below any weight: the smallest is 1 / 27
        seen = torch.where(known, seen, _window_mean(seen) / weight.clamp(min=1e-6))
        known = reached
    return torch.where(known, seen, level)


def _window_mean(image: Tensor) -> Tensor:
    pool = functional.avg_pool2d if image.ndim == 2 else functional.avg_pool3d
    mean: Tensor = pool(image[None, None], 3, stride=1, padding=1)[0, 0]
    return mean
