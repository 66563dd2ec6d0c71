"""Build f of a tile from the parameters of a trained network, as it is or corrected by the data."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ssi_pipeline.inversion.classical.observation import observation_of
from ssi_pipeline.inversion.linear.part import LinearPart
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.network.averaged import averaged, finished
from ssi_pipeline.inversion.network.beyond import beyond
from ssi_pipeline.inversion.network.consistency import Correction, chosen_weight
from ssi_pipeline.inversion.network.training import State, build_inverse
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.inversion.tile import TileTensors, heldout_errors

F = Callable[[LinearPart, Tensor], Tensor]
"""f as a function of an image's linear part and of its observed pixels: a bounded estimate (z) y x."""


def plain_f(problem: Problem, tile: TileTensors, state: State, origin: State | None) -> F:
    """Return f with the parameters ``state``; outside the image of a tile with ``origin``, those before training.

    It is not corrected by the data.
    """
    estimate = _network(problem, tile, state, origin)
    return lambda part, observed: finished(problem, part.channels[0], observed, estimate(part))


def corrected_f(problem: Problem, tile: TileTensors, state: State, origin: State | None) -> tuple[F, Tensor]:
    """Return f, corrected by the data as far as V tells that it helps, and its squared errors on V."""
    estimate, correction = _network(problem, tile, state, origin), Correction(problem.forward, tile.y)
    seen = problem.remaining(tile.observed, tile.heldout)
    masked = estimate(tile.masked)

    def with_weight(part: LinearPart, observed: Tensor, found: Tensor, weight: float) -> Tensor:
        """Return a bounded estimate from one of the network."""
        given = observation_of(part, observed)
        return finished(problem, part.channels[0], observed, correction(found, given.repaired, given.known, weight))

    def errors_with(weight: float) -> Tensor:
        return heldout_errors(problem, tile, with_weight(tile.masked, seen, masked, weight))

    weight, errors = chosen_weight(errors_with)
    return lambda part, observed: with_weight(part, observed, estimate(part), weight), errors


def _network(problem: Problem, tile: TileTensors, state: State, origin: State | None) -> Callable[[LinearPart], Tensor]:
    """Return the network's estimate as a function of an image's linear part, without bound and light."""
    inverse = build_inverse(problem, generator(0), state)
    untrained = None if origin is None else build_inverse(problem, generator(0), origin)

    def estimate(part: LinearPart) -> Tensor:
        inputs = tile.inputs(part.channels)
        return averaged(problem, inputs, inverse, beyond(untrained, tile, inputs))

    return estimate
