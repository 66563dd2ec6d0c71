"""Compute the input channels of the inverse f from one image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ssi_pipeline.inversion.masking import Stream, cover, generator
from ssi_pipeline.inversion.problem import Problem, TileTensors

Base = Callable[[Tensor, Tensor], Tensor]
"""A classical inverse: from a normalised image and its observed pixels, both (z) y x, to the estimate."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The channels [r, w] of an image, or [r, w, t] with the estimate t of a classical ``base``.

    All are computed from the image that is given: where pixels are hidden, no channel knows them.
    """

    problem: Problem
    base: Base | None = None

    def __call__(self, image: Tensor, observed: Tensor, gaps: Tensor | None) -> Tensor:
        """Return the channels, 2 or 3 x (z) y x, of a normalised image.

        Parameters
        ----------
        image
            (Z) y x, hidden pixels replaced.
        observed
            False at hidden pixels, and where nothing was measured.
        gaps
            True where nothing was measured; None without any.
        """
        channels = self.problem.linear(image, gaps)
        if self.base is None:
            return channels
        return torch.cat([channels, self.base(image, observed)[None]])

    def without(self, tile: TileTensors, mask: Tensor, rng: torch.Generator) -> Tensor:
        """Return the channels of m_J(y), the pixels of ``mask`` hidden with those that share their noise."""
        hidden = self.problem.hide(tile.y, mask, rng, tile.gaps)
        return self(hidden, tile.observed & ~cover(mask, self.problem.footprint), tile.gaps)

    def validation(self, tile: TileTensors, seed: int) -> Tensor:
        """Return the channels of m_V(y)."""
        return tile.channels if self.base is None else self.without(tile, tile.heldout, generator(seed, Stream.FILL))
