"""Compare inverses of a tile by the pixels that were hidden from each: paired errors, on more masks where V is few.

V of a tile of 256 x 256 has 3,300 pixels, mostly noise: estimates that differ by 2 dB can tie on it
(docs/experiments.md). Other masks are then hidden as well. The network has seen their pixels in training, though only
as targets of predictions without them: V alone decides where it can, though the network's state and the weight of its
correction were chosen by V.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from ssi_pipeline.inversion.assess.blind_metrics import disjoint_masks
from ssi_pipeline.inversion.classical.solver import Prediction
from ssi_pipeline.inversion.masking import Stream, generator, heldout_share
from ssi_pipeline.inversion.network.training import SIGNIFICANT, deviations
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.inversion.solution import Solution
from ssi_pipeline.inversion.tile import TileTensors

_Invert = Callable[[Tensor, Tensor], Tensor]


def preferred(problem: Problem, tile: TileTensors, seed: int, candidates: Sequence[Prediction]) -> Prediction | None:
    """Return the first of the candidates, unless a later one predicts hidden pixels better for certain; None of none.

    Where losses tie, the estimate with the smaller one may be 2 dB worse (docs/experiments.md): hidden pixels hardly
    see what the PSF hides, and there the first candidate is the more regular one.

    Parameters
    ----------
    problem, tile, seed
        As for ``worse_by``.
    candidates
        In order of trust. Those without finite errors are taken only where no other is left.
    """
    known = [candidate for candidate in candidates if candidate.errors is not None] or candidates[:1]
    best = next(iter(known), None)
    for other in known[1:]:
        if best is not None and _is_ahead(other, best) and worse_by(problem, tile, seed, other, best) < -SIGNIFICANT:
            best = other
    return best


def _is_ahead(one: Prediction, other: Prediction) -> bool:
    """Return whether one has the smaller loss on V: without that, further masks are not worth their time."""
    return one.loss is not None and other.loss is not None and one.loss < other.loss


@torch.no_grad()
def worse_by(
    problem: Problem, tile: TileTensors, seed: int, one: Solution | Prediction, other: Solution | Prediction
) -> float:
    """Return by how many standard errors ``one`` predicts hidden pixels worse than ``other``, negative if better.

    Parameters
    ----------
    problem, tile
        Inverse problem of the channel, and the tile.
    seed
        Seed of the tile, which drew V.
    one, other
        Solutions or predictions with their squared errors on V.
    """
    if one.errors is None or other.errors is None:
        raise ValueError("expected solutions with squared errors on V")
    differences = one.errors - other.errors
    found = deviations(differences)
    if abs(found) > SIGNIFICANT or one.invert is None or other.invert is None:
        return found
    more = [mine.square() - theirs.square() for mine, theirs in _errors(problem, tile, seed, one.invert, other.invert)]
    return deviations(torch.cat([differences, *more]))


def _errors(
    problem: Problem, tile: TileTensors, seed: int, one: _Invert, other: _Invert
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the errors of both on the pixels of further masks, disjoint with V and each other; flat, float64."""
    forward, masks = problem.forward, disjoint_masks(tile, seed, heldout_share(problem.footprint))
    for k, mask in enumerate(islice(masks, 1, None), start=1):
        hidden = problem.hide(tile.y, mask, generator(seed, Stream.METRICS, k), tile.gaps)
        seen, scored = problem.remaining(tile.observed, mask), forward.crop(mask & tile.usable)
        mine, theirs = (
            (forward(invert(hidden, seen)) - forward.crop(tile.y))[scored].double() for invert in (one, other)
        )
        yield mine, theirs
