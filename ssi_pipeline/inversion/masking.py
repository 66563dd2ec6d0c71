"""Draw masks J, and apply m_J: replace the pixels of J by values that do not depend on them."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ssi_pipeline.config import MaskingConfig
from ssi_pipeline.inversion.surroundings import mirror_outside
from ssi_pipeline.inversion.window_sums import window_sums

HELDOUT_SHARE = 0.05
"""Share of pixels held out as V: of 10^5 pixels the mean loss is known to 2 %, and 95 % remain for training."""


_PASSES = 2
"""Passes that interpolate hidden pixels where these are single."""

_HIDDEN_SHARE = 0.5
"""Largest share of pixels that a training mask hides with its surroundings, as large as the largest density."""

_HELDOUT_HIDDEN = 0.3
"""Largest share of pixels that a mask for judging hides with its surroundings: 70 % remain for the estimate."""

_WIDER = (9, 27, 81)
"""Sides of the windows in areas without a known pixel: they reach as far as the halo of most PSFs."""


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


def draw_mask(
    shape: tuple[int, ...], masking: MaskingConfig, rng: torch.Generator, footprint: Tensor | None = None
) -> Tensor:
    """Draw J (bool, True where hidden) for a whole tile: each pixel independently with probability ``density``.

    With a ``footprint`` less, so that at most half of the pixels are hidden with their surroundings.
    """
    return torch.rand(shape, generator=rng) < min(masking.density, _share(_HIDDEN_SHARE, footprint))


def draw_heldout(shape: tuple[int, ...], rng: torch.Generator, footprint: Tensor | None = None) -> Tensor:
    """Draw the held-out pixels V (bool) of a tile: each pixel independently with probability ``heldout_share``."""
    return torch.rand(shape, generator=rng) < heldout_share(footprint)


def heldout_share(footprint: Tensor | None) -> float:
    """Return the share of pixels in a mask for judging: less where each hides its surroundings, 30 % in all at most."""
    return min(HELDOUT_SHARE, _share(_HELDOUT_HIDDEN, footprint))


def _share(most: float, footprint: Tensor | None) -> float:
    """Return the share of pixels that hides ``most`` of all pixels with their footprints."""
    return 1.0 if footprint is None else 1 - (1 - most) ** (1 / int(footprint.sum()))


def cover(mask: Tensor, footprint: Tensor | None) -> Tensor:
    """Return the mask with the surroundings of its pixels: those that share their noise.

    Parameters
    ----------
    mask
        J, (z) y x, bool.
    footprint
        True at the offsets (z) y x of pixels with correlated noise, point-symmetric, odd sizes, on the CPU; None: J
        itself.
    """
    if footprint is None:
        return mask
    if bool(footprint.all()):
        return _cover_box(mask, footprint.shape)
    radius = tuple(n // 2 for n in footprint.shape)
    margins = [r for r in reversed(radius) for _ in range(2)]
    padded, out = functional.pad(mask, margins), torch.zeros_like(mask)
    for start in torch.nonzero(footprint).tolist():
        out |= padded[tuple(slice(a, a + n) for a, n in zip(start, mask.shape, strict=True))]
    return out


def _cover_box(mask: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return the mask grown by a box, axis by axis: its 17^3 offsets one by one would take minutes."""
    pool = functional.max_pool2d if mask.ndim == 2 else functional.max_pool3d
    out = mask.float()[None, None]
    for axis, n in enumerate(size):
        kernel = [n if a == axis else 1 for a in range(mask.ndim)]
        out = pool(out, kernel, stride=1, padding=[k // 2 for k in kernel])
    return out[0, 0] > 0


def hide(
    image: Tensor,
    hidden: Tensor,
    masking: MaskingConfig,
    rng: torch.Generator,
    gaps: Tensor | None = None,
    footprint: Tensor | None = None,
) -> Tensor:
    """Return m_J(image): the image with its hidden pixels replaced.

    Hidden values are removed before anything is computed.

    Parameters
    ----------
    image
        Normalised, (z) y x.
    hidden
        True at hidden pixels, J with its surroundings, shape of ``image``.
    masking
        ``replacement`` by 'neighbours': the mean of neighbours that are not hidden; 'random': uniform values from 0
        to 1; 'zeros': 0, the background level of the channel.
    rng
        Source of random values.
    gaps
        True at pixels without a measurement (outside the image, or NaN in the input), None where there are none. Their
        values were computed from measured pixels, hidden ones included, and are computed again without these.
    footprint
        Surroundings hidden with each pixel: holes are as large, and are interpolated to their middle.
    """
    passes = _PASSES + (0 if footprint is None else max(footprint.shape) - 1)
    shown = image
    if gaps is not None:
        shown = fill_gaps(image, ~(hidden | gaps), passes)
    elif masking.replacement == "neighbours":
        shown = fill_unknown(image, ~hidden, passes)
    if masking.replacement == "zeros":
        shown = torch.where(hidden, torch.zeros_like(image), shown)
    if masking.replacement == "random":
        shown = torch.where(hidden, torch.rand(image.shape, generator=rng).to(image), shown)
    return mirror_outside(shown, gaps)


def fill_unknown(image: Tensor, known: Tensor, passes: int = _PASSES) -> Tensor:
    """Interpolate the unknown pixels of an image (z) y x by local means of the known ones.

    Passes of the mean over windows of 3 pixels; where these contain no known pixel, the mean of all known ones. Their
    number is given, as asking whether all pixels are known would wait for the device.
    """
    seen = torch.where(known, image, torch.zeros_like(image))
    level = seen.sum() / known.sum().clamp(min=1)
    for _ in range(passes):
        seen, known = _grown(seen, known, (3,) * image.ndim)
    return torch.where(known, seen, level)


def fill_gaps(image: Tensor, known: Tensor, passes: int = _PASSES) -> Tensor:
    """Interpolate the unknown pixels of an image (z) y x, of which some lie in areas without any known one.

    As ``fill_unknown``, but further away by means over wider windows of the pixels reached so far: what lies beyond an
    edge is best taken to be as on this side of it. With the mean of all pixels there, estimates by linear filters have
    errors 1.2 times as large within 8 pixels of an edge (36 scenes, docs/inputs.md).
    """
    seen = torch.where(known, image, torch.zeros_like(image))
    level = seen.sum() / known.sum().clamp(min=1)
    for side in (*(3,) * passes, *_WIDER):
        if bool(known.all()):
            break
        seen, known = _grown(seen, known, (3,) * image.ndim if side == 3 else (side, side))
    return torch.where(known, seen, level)


def _grown(seen: Tensor, known: Tensor, sides: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the image, 0 where unknown, with means of known pixels at those that the window reaches, and these.

    ``sides``: of the window, along the last axes.
    """
    margins = [side // 2 for side in reversed(sides) for _ in range(2)]
    number, light = (window_sums(functional.pad(image, margins), sides) for image in (known.to(seen.dtype), seen))
    filled = torch.where(known, seen, light / number.clamp(min=1))
    reached = known | (number > 0)
    return torch.where(reached, filled, torch.zeros_like(filled)), reached
