"""Train by the published recipe, with all constants as published."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ssi_pipeline.errors import GeometryError, TrainingError
from ssi_pipeline.inversion.kobayashi2020.forward import PublishedForward
from ssi_pipeline.inversion.kobayashi2020.network import PublishedUNet
from ssi_pipeline.inversion.masking import Stream, generator
from ssi_pipeline.inversion.measurement import to_tensor
from ssi_pipeline.inversion.solver import OnValidation
from ssi_pipeline.methods import PUBLISHED_LEAST_SIDE

_LARGEST_SIDE = 1024
_VALIDATION_SHARE = 0.1
_DENSITY_AT_FIRST, _DENSITY_AT_LAST, _DENSITY_RATE = 0.5, 0.05, 0.005
_INPUT_NOISE, _INPUT_NOISE_DECAY = 0.1, 1e4
_LEARNING_RATE, _WEIGHT_DECAY, _PARAMETER_NOISE = 0.01, 1e-6, 0.1
_BOUNDS_WEIGHT = 0.1
_PATIENCE = 300
_RATE_PATIENCE, _RATE_FACTOR = 150, 0.9

_TRACE_EVERY = 25


@dataclass(frozen=True, slots=True)
class PublishedTile:
    """The tensors of one tile, in [0, 1].

    Attributes
    ----------
    whole
        The observed box, 1 x 1 x (z) y x.
    y
        The part of it that is trained on.
    valid, fitted
        1 at validation pixels, and at all others; 0 where nothing was observed; shape of ``y``.
    """

    whole: Tensor
    y: Tensor
    valid: Tensor
    fitted: Tensor

    @property
    def axes(self) -> int:
        """Number of spatial axes."""
        return self.y.ndim - 2

    @classmethod
    def of(
        cls, y: NDArray[np.float32], observed: NDArray[np.bool_], axes: int, seed: int, device: str
    ) -> PublishedTile:
        """Take the first square of a measurement (z y x, in [0, 1]) and draw its validation pixels.

        Raises
        ------
        GeometryError
            An axis has fewer than ``PUBLISHED_LEAST_SIDE`` pixels.
        """
        side = min(_LARGEST_SIDE, *y.shape[3 - axes :])
        if side < PUBLISHED_LEAST_SIDE:
            raise GeometryError(
                f"the published network needs {PUBLISHED_LEAST_SIDE} pixels along each axis, found {side}"
            )
        whole = to_tensor(y, axes, device)[None, None]
        first: Any = (..., *(slice(0, side),) * axes)
        part, seen = whole[first], to_tensor(observed, axes, device)[first]
        count = int(_VALIDATION_SHARE * part.numel())
        drawn = torch.randint(
            part.numel(), (count,), generator=generator(seed, Stream.PUBLISHED, 2)
        )  # with replacement, as published
        valid = torch.zeros(part.numel(), dtype=torch.bool)
        valid[drawn] = True
        valid = valid.to(device).reshape(part.shape)
        return cls(whole, part, (valid & seen).float(), (~valid & seen).float())


def density_at(step: int) -> float:
    """Return the share of pixels hidden at a step, counted from 0: from about 0.5 down to 0.05."""
    decay = (1 - _DENSITY_RATE) ** (step + 1)
    return _DENSITY_AT_LAST + (_DENSITY_AT_FIRST - _DENSITY_AT_LAST) * decay


def hide_by_zeros(image: Tensor, density: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the image with a random share of its pixels set to zero, and the mask of these pixels (True)."""
    hidden = (torch.rand(image.shape, generator=rng) < density).to(image.device)
    return image * ~hidden, hidden


def train_published(
    network: PublishedUNet,
    model: PublishedForward,
    tile: PublishedTile,
    steps: int,
    rng: torch.Generator,
    masked: bool,
    low_precision: bool,
    on_validation: OnValidation | None,
    estimate: Callable[[], NDArray[np.float32]],
) -> tuple[list[tuple[int, float, float]], int]:
    """Train the network in place and load its parameters of least validation loss; return the trace and the step count.

    Parameters
    ----------
    network, model, tile
        Network, forward model and tensors of the tile.
    steps
        Largest number of steps.
    rng
        Source of masks and noise.
    masked
        False: all pixels carry loss.
    low_precision
        Evaluate the network in bfloat16; losses, parameters and the forward model stay in float32.
    on_validation
        Callback at each step, called with ``estimate``.
    estimate
        Function that returns the current estimate.

    Raises
    ------
    TrainingError
        No validation loss was finite.
    """
    optimiser = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, "min", _RATE_FACTOR, _RATE_PATIENCE)
    computed = torch.autocast(tile.y.device.type, dtype=torch.bfloat16, enabled=low_precision)
    best, kept, stalled, step = math.inf, None, 0, 0
    trace: list[tuple[int, float, float]] = []
    for step in range(steps):
        density = density_at(step) if masked else 0.0
        level = _INPUT_NOISE / (1 + _INPUT_NOISE_DECAY * step / steps)
        noisy = tile.y + level * torch.randn(tile.y.shape, generator=rng).to(tile.y)
        shown, hidden = hide_by_zeros(noisy, density, rng)
        weight = tile.fitted * hidden if masked else tile.fitted
        with computed:
            found = network.train()(shown)
        loss = _loss(found.float(), model, tile.y, weight)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        _perturb(network, optimiser.param_groups[0]["lr"] * _PARAMETER_NOISE / (1 + step), rng)
        shown, _ = hide_by_zeros(noisy, density, rng)
        with computed:
            found = apply_published(network, shown)
        value = float(((model(found.float()) - tile.y) * tile.valid).square().mean())  # synchronises the device
        scheduler.step(value)
        if step % _TRACE_EVERY == 0 or step == steps - 1:
            trace.append((step + 1, float(loss.detach()), value))
        if on_validation is not None:
            on_validation(step + 1, estimate)
        if value < best:
            best, stalled = value, 0
            kept = {name: p.clone() for name, p in network.state_dict().items()}
            continue
        if stalled > _PATIENCE:
            break
        stalled += 1
    if kept is None:
        raise TrainingError("the published recipe failed: no validation loss was finite")
    network.load_state_dict(kept)
    return trace, step + 1


def _loss(estimate: Tensor, model: PublishedForward, y: Tensor, weight: Tensor) -> Tensor:
    excess = (functional.relu(-estimate) + functional.relu(estimate - 1)).mean()
    return ((model(estimate) - y) * weight).square().mean() + _BOUNDS_WEIGHT * excess**2


@torch.no_grad()
def apply_published(network: PublishedUNet, image: Tensor) -> Tensor:
    """Apply the network with its running statistics."""
    result: Tensor = network.eval()(image)
    return result


@torch.no_grad()
def _perturb(network: PublishedUNet, scale: float, rng: torch.Generator) -> None:
    for p in network.parameters():
        p.add_(torch.randn(p.shape, generator=rng).to(p), alpha=scale)
