"""Training batches: random patches of a tile under the current mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssi_pipeline.config import TrainingConfig
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.geometry.halo import network_stride
from ssi_pipeline.inversion.masking import draw_mask, hide
from ssi_pipeline.inversion.network.inverse import compose
from ssi_pipeline.inversion.problem import Problem, TileTensors
from ssi_pipeline.needs import patch_needs
from ssi_pipeline.physics.forward import ForwardModel

_LEAST_STEPS = 4
"""Steps with one mask of a small tile: what f is given costs as much to prepare as a step of training."""

_ROUNDS = 4
"""Times that each of several tiles is taken at least: the last ones, seen at a low rate, must not decide alone."""

_PATCH_MARGIN = 8
"""Least pixels beyond three PSF radii in a patch that is not configured: most of it then carries loss."""


@dataclass(frozen=True, slots=True)
class Batch:
    """``x``: b 2 (z) y x, channels, flipped. ``y``, ``hidden``: b (z) y x less the PSF's radius, as measured.

    ``unflip`` takes f's output on ``x`` back to the measurement's orientation. ``forward``: g of these patches.
    """

    x: Tensor
    y: Tensor
    hidden: Tensor
    unflip: Callable[[Tensor], Tensor]
    forward: ForwardModel


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long is trained: ``steps``, each on ``batch`` patches."""

    steps: int
    batch: int

    @classmethod
    def of(cls, training: TrainingConfig) -> Schedule:
        """Return the schedule of a training from the start, as configured."""
        return cls(training.steps, training.batch)


class Batches:
    """Draws batches; now and then it takes a tile and draws a new mask J for all of it.

    A mask serves until as many pixels were drawn as the tile has, but not so long that another tile is seen less
    than four times in ``steps``; and for four steps at least. Several tiles take turns in an order that is shuffled
    for each round.
    """

    def __init__(
        self, problem: Problem, tiles: Sequence[TileTensors], schedule: Schedule, rng: torch.Generator
    ) -> None:
        self._problem, self._tiles, self._rng = problem, tiles, rng
        steps, self._batch = schedule.steps, schedule.batch
        self._most = steps // (_ROUNDS * len(tiles)) if len(tiles) > 1 else steps
        self._round: list[int] = []
        self._symmetries = problem.forward.symmetries
        self._left = 0

    def draw(self) -> Batch:
        """Return the next batch."""
        problem = self._problem
        if self._left == 0:
            self._draw_mask()
            once = self._tile.y.numel() // (self._batch * math.prod(self._size))
            self._left = max(min(once, self._most), _LEAST_STEPS)
        self._left -= 1
        windows = [self._window() for _ in range(self._batch)]
        x = torch.stack([self._channels[(slice(None), *w)] for w in windows])  # b 2 (z) y x
        y = problem.forward.crop(torch.stack([self._tile.y[w] for w in windows]))
        hidden = problem.forward.crop(torch.stack([self._judged[w] for w in windows]))
        chosen = [flip for flip in self._symmetries if self._random(2)]
        forward = problem.forward.at([tuple(s.start for s in w) for w in windows])
        return Batch(compose(chosen, x), y, hidden, lambda image: compose(chosen[::-1], image), forward)

    def _draw_mask(self) -> None:
        """Hide J and V, then compute everything that f is given from what is left."""
        problem, masking = self._problem, self._problem.config.masking
        tile = self._tiles[self._next_tile()]
        mask = draw_mask(tuple(tile.y.shape), masking, self._rng).to(problem.device)
        hidden = hide(tile.y, mask | tile.heldout, masking, self._rng, tile.gaps)
        self._tile, self._channels = tile, problem.linear(hidden)  # 2 (z) y x
        self._judged = mask & tile.usable & ~tile.heldout
        self._size = training_patch(problem, tuple(tile.y.shape))

    def _next_tile(self) -> int:
        if len(self._tiles) == 1:
            return 0
        if not self._round:
            self._round = torch.randperm(len(self._tiles), generator=self._rng).tolist()
        return self._round.pop()

    def _window(self) -> tuple[slice, ...]:
        starts = [self._random(d - s + 1) for d, s in zip(self._tile.y.shape, self._size, strict=True)]
        return tuple(slice(a, a + s) for a, s in zip(starts, self._size, strict=True))

    def _random(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self._rng))


def training_patch(problem: Problem, domain: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a training patch (z) y x: as configured, or large enough for the PSF.

    Raises
    ------
    ConfigError
        A configured patch (or the domain itself) is not larger than the PSF.
    """
    size = patch_needs(problem.config).cut((1,) * (3 - len(domain)) + domain)[-len(domain) :]
    radius, stride = problem.forward.radius, network_stride(problem.config.network.levels)
    if problem.config.training.patch is None:
        least = (-(-(3 * r + _PATCH_MARGIN) // stride) * stride for r in radius)
        size = tuple(min(max(s, n), d) for s, n, d in zip(size, least, domain, strict=True))
    if any(s <= 2 * r for s, r in zip(size, radius, strict=True)):
        raise ConfigError(
            f"training.patch is {size}, but the PSF spans {tuple(2 * r + 1 for r in radius)} pixels and only pixels "
            "whose whole PSF is in the patch can be learnt from: leave training.patch out, or enlarge it"
        )
    return size
