"""Clip gradients at twice the running mean of their norm, so that single steps do not destabilise training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_LIMIT = 2.0
"""Limit as a factor of the mean norm: ordinary noisy masks stay below it, rare destabilising steps do not."""

_MEMORY = 0.1
"""Weight of the latest step in the running mean."""

_FIRST = 10
"""Initial steps: their arithmetic mean starts the running mean, and they are not clipped (the rate is low)."""


class AdaptiveGradientClip:
    """Clips the norm of the gradient at twice its running mean, without synchronising the device."""

    def __init__(self, parameters: Iterable[nn.Parameter], device: str) -> None:
        self._parameters = list(parameters)
        self._mean_norm = torch.zeros((), device=device)
        self._steps = 0

    @torch.no_grad()
    def apply(self) -> None:
        """Clip the current gradients in place."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        self._steps += 1
        limit: Tensor = norm
        if self._steps > _FIRST:  # initial steps without gradients (empty patches) give no mean norm
            limit = torch.where(self._mean_norm > 0, _LIMIT * self._mean_norm, norm)
        scale = (limit / norm.clamp(min=torch.finfo(norm.dtype).tiny)).clamp(max=1)
        torch._foreach_mul_(gradients, scale)
        weight = _MEMORY if self._steps > _FIRST else 1 / self._steps
        self._mean_norm.lerp_(torch.minimum(norm, limit), weight)
