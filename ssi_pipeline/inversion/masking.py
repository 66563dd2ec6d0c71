"""Masks J, and m_J: the image in which the pixels of J are replaced by values that do not depend on them."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ssi_pipeline.config import MaskingConfig

HOLDOUT = 0.05
"""Share of V: on 10^5 pixels its mean loss is known to 2 %, and training keeps all but a twentieth of the pixels."""


class Stream(IntEnum):
    """The streams of random numbers: what one draws changes nothing in another. A number is never given twice.

    Numpy ignores zeros at the end of a seed: (seed, stream) and (seed, stream, 0) are one stream. Where a stream is
    drawn from as a whole and by index, indices start at 1.
    """

    HELDOUT = 1
    """Which pixels judge a tile's solution, V."""
    FILL = 2
    """Values in place of V."""
    TRAINING = 3
    """A network's first weights, its masks and patches; by attempt."""
    METRICS = 4
    """Values in place of the masks by which an estimate is judged; by mask."""
    SPLIT = 5
    """Noise that is added to judge an estimate on all pixels."""
    UNCERTAINTY = 6
    """Simulated measurements; by repetition."""
    PUBLISHED = 7
    """The published recipe: 0 its first weights, 1 its training, 2 its validation pixels."""
    TUNING = 11
    """Parts and masks by which a weight is chosen, by number of the part; values in place of these, by mask."""


def generator(seed: int, *stream: int) -> torch.Generator:
    """Return a random generator on the CPU that depends on its arguments alone; ``stream``: a ``Stream``, an index."""
    state = np.random.SeedSequence((seed, *stream)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def draw_mask(shape: tuple[int, ...], masking: MaskingConfig, rng: torch.Generator) -> Tensor:
    """Draw J (bool, True where hidden) for a whole tile: each pixel by itself with probability ``density``."""
    return torch.rand(shape, generator=rng) < masking.density


def draw_heldout(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Draw V (bool), the pixels that training never sees, by independent draws."""
    return torch.rand(shape, generator=rng) < HOLDOUT


def hide(
    image: Tensor, hidden: Tensor, masking: MaskingConfig, rng: torch.Generator, gaps: Tensor | None = None
) -> Tensor:
    """Return m_J(image), for a normalised image (z) y x and a mask of the same shape.

    'neighbours': the mean of the pixels around that are not hidden; 'random': uniform in the
    normalised range 0 to 1; 'zeros': 0, the background level of the channel. No hidden value is
    read: they are removed before anything is computed.

    ``gaps``: pixels without a measurement (NaN in the input), None where there are none. What stands there was
    computed from their neighbours, hidden ones included, so it is computed again from those that are not hidden.
    """
    if gaps is not None:
        image = fill_unknown(image, ~(hidden | gaps))
    if masking.replacement == "zeros":
        return torch.where(hidden, torch.zeros_like(image), image)
    if masking.replacement == "random":
        return torch.where(hidden, torch.rand(image.shape, generator=rng).to(image), image)
    return image if gaps is not None else fill_unknown(image, ~hidden)


def fill_unknown(image: Tensor, known: Tensor) -> Tensor:
    """Return the image, (z) y x, with local means of the known pixels in place of all others.

    The mean over the 3-window; twice, then the mean of all known pixels, where a window knows nothing.
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
