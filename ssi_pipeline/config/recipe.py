"""Resolve how a network is trained: the parameters it starts from, and the options that are 'auto'.

The package comes with parameters that were trained on simulated scenes (docs/start.md). They fit one network: that of
the defaults in 2D. A training from there takes a third of the steps, at half the rate, and needs less variation.
"""

from __future__ import annotations

from dataclasses import dataclass

from ssi_pipeline.config.sections import NetworkConfig, TrainingConfig

_AXES, _WIDTH, _LEVELS = 2, 16, 3
"""Of the network that the parameters fit."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained.

    Attributes
    ----------
    simulated
        Start from the parameters that come with the package, else from random ones.
    steps
        Steps on one tile of up to 256 x 256 pixels.
    learning_rate
        Highest learning rate, normalised units.
    total_variation
        Weight of the variation of the estimate, in units of the variance of the noise.
    """

    simulated: bool
    steps: int
    learning_rate: float
    total_variation: float


def recipe_of(dimensions: int, network: NetworkConfig, training: TrainingConfig) -> Recipe:
    """Return how a network of 2 or 3 dimensions is trained.

    A model that the user gives (``training.start_from``) is trained like the simulated one: it is no beginning either.

    Raises
    ------
    ValueError
        The simulated start is asked for, and does not fit the network.
    """
    this = (dimensions, network.features(dimensions), network.levels)
    fits = this == (_AXES, _WIDTH, _LEVELS)
    if training.start == "simulated" and not fits:
        raise ValueError(
            f"training.start: simulated, but the weights that come with the package fit a network of {_AXES} "
            f"dimensions, width {_WIDTH} and {_LEVELS} levels, and this one has {this[0]}, {this[1]} and {this[2]}: "
            "expected start: auto or random, or that network"
        )
    simulated = fits and training.start != "random"
    steps, rate, variation = (200, 2e-3, 0.3) if simulated or training.start_from is not None else (600, 4e-3, 1.0)
    return Recipe(
        simulated=simulated,
        steps=steps if training.steps == "auto" else training.steps,
        learning_rate=rate if training.learning_rate == "auto" else training.learning_rate,
        total_variation=variation if training.total_variation == "auto" else training.total_variation,
    )
