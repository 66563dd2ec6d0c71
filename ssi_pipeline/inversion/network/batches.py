"""Draw training batches: random patches of a tile under the current mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.inversion.masking import draw_mask
from ssi_pipeline.inversion.network.beyond import Beyond, beyond
from ssi_pipeline.inversion.network.inverse import Inverse, compose
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.inversion.tile import TileTensors
from ssi_pipeline.needs import patch_needs
from ssi_pipeline.physics.forward import ForwardModel

_LEAST_ALONE, _LEAST_STEPS = 16, 4
"""Fewest steps per mask, on one tile and on several: preparing the input of f for a mask costs as much as one to three
steps. One tile of 512 x 512 pixels takes .82 of the time with 16 that it takes with 4, and is as good; a shared network
has to see other tiles soon."""

_ROUNDS = 4
"""Fewest visits per tile in training on several tiles, so that no tile is seen at a low learning rate only."""

_SMALL = 256 * 256
"""Pixels of a plane on which the configured steps are enough."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One training batch of b patches.

    Attributes
    ----------
    x
        Input of f, randomly flipped, b x c x (z) y x.
    y, hidden
        Measurement and mask J (0 or 1) of the patches without a margin of the PSF's radius, not flipped, b x (z) y x.
    estimate
        Maps the output of the trained part on ``x`` to f, in the orientation of the measurement.
    forward
        Forward model of these patches.
    """

    x: Tensor
    y: Tensor
    hidden: Tensor
    estimate: Callable[[Tensor], Tensor]
    forward: ForwardModel


@dataclass(frozen=True, slots=True)
class Schedule:
    """Length of a training: ``steps`` steps on ``batch`` patches each."""

    steps: int
    batch: int

    @classmethod
    def of(cls, config: RunConfig, tiles: Sequence[TileTensors]) -> Schedule:
        """Return the schedule of a training that starts from no other: longer where there is more to learn.

        On one tile the steps grow with the root of its sides beyond 256 pixels (docs/experiments.md). On many tiles
        there are more steps, on half of the patches: they teach more than one tile, and all tiles of the channel
        profit. Measured on 16 tiles of nuclei: 1200 steps on 2 patches are worth 1000 on 4.
        """
        steps, batch = config.recipe.steps, config.training.batch
        if len(tiles) == 1:
            return cls(math.ceil(steps * max(1.0, _pixels(tiles[0]) / _SMALL) ** 0.25), batch)
        return cls(math.ceil(steps * math.sqrt(len(tiles))), max(1, batch // 2))


def _pixels(tile: TileTensors) -> float:
    """Return the measured pixels of a tile, in the mean of its planes."""
    return int(tile.observed.sum()) / math.prod(tile.y.shape[:-2])


class Batches:
    """Sampler of training batches, which draws masks J for whole tiles.

    A mask is used until as many pixels are drawn as the tile has, for at least 16 steps, of several tiles four, and so
    that each tile is visited at least four times. The order of several tiles is shuffled in each round. ``origin``: see
    ``beyond``.
    """

    def __init__(
        self,
        problem: Problem,
        tiles: Sequence[TileTensors],
        schedule: Schedule,
        rng: torch.Generator,
        origin: Inverse | None = None,
    ) -> None:
        self._problem, self._tiles, self._rng, self._origin = problem, tiles, rng, origin
        steps, self._batch = schedule.steps, schedule.batch
        alone = len(tiles) == 1
        self._most = steps if alone else steps // (_ROUNDS * len(tiles))
        self._least = _LEAST_ALONE if alone else _LEAST_STEPS
        self._round: list[int] = []
        self._symmetries = problem.forward.symmetries
        self._steps_left = 0

    def draw(self) -> Batch:
        """Return the next batch."""
        problem = self._problem
        if self._steps_left == 0:
            self._draw_mask()
            once = self._tile.y.numel() // (self._batch * math.prod(self._size))
            self._steps_left = max(min(once, self._most), self._least)
        self._steps_left -= 1
        windows = [self._window() for _ in range(self._batch)]
        patches = torch.stack([self._cut[(slice(None), *w)] for w in windows])
        x = patches[:, : self._inputs]  # b c (z) y x
        y, hidden, *outer = patches[:, self._inputs :].unbind(1)
        chosen = [flip for flip in self._symmetries if self._random(2)]
        forward = problem.forward.at([tuple(s.start for s in w) for w in windows])

        def estimate(output: Tensor) -> Tensor:
            upright = compose(chosen[::-1], output)
            return Beyond(*outer).around(upright) if outer else upright

        crop = problem.forward.crop
        return Batch(compose(chosen, x), crop(y), crop(hidden), estimate, forward)

    def _draw_mask(self) -> None:
        """Draw a mask J for the next tile, and compute the input of f from the image without J and V."""
        problem = self._problem
        self._cut = torch.empty(0)  # the last mask's: as large as what is computed here
        tile = self._tiles[self._next_tile()]
        drawn = draw_mask(tuple(tile.y.shape), problem.config.masking, self._rng, problem.footprint)
        mask = drawn.to(problem.device)
        hidden = problem.hide(tile.y, mask | tile.heldout, self._rng, tile.gaps)
        inputs = tile.inputs(problem.linear(hidden, tile.gaps))  # c (z) y x
        scored, outer = mask & tile.usable & ~tile.heldout, beyond(self._origin, tile, inputs)
        others = (tile.y, scored, *(() if outer is None else (outer.inside, outer.values)))
        # cut into patches as one: on a GPU most of a step is launches
        self._tile, self._inputs, self._cut = tile, len(inputs), torch.cat([inputs, *(other[None] for other in others)])
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
    """Return the shape of a training patch, (z) y x in pixels: as configured, or large enough for the PSF.

    Raises
    ------
    ConfigError
        The configured patch, or the domain, is not larger than the PSF.
    """
    flat, radius = (0,) * (3 - len(domain)), problem.forward.radius
    size = patch_needs(problem.config, (*flat, *radius)).cut((*(1 for _ in flat), *domain))[-len(domain) :]
    if any(s <= 2 * r for s, r in zip(size, radius, strict=True)):
        raise ConfigError(
            f"training.patch is {size}, but the PSF spans {tuple(2 * r + 1 for r in radius)} pixels and only pixels "
            "whose whole PSF is inside the patch carry loss: leave training.patch out, or enlarge it"
        )
    return size
