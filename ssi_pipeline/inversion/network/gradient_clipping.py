"""Keep single steps of training from undoing many: a limit on the gradient that follows its usual length."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_LIMIT = 2.0
"""Times the usual length: noisy masks stay below, the rare step that throws a network off does not."""

_MEMORY = 0.1
"""Weight of the latest step in the usual length."""

_FIRST = 10
"""Steps whose plain mean starts the usual length; they are not limited (the rate is still low)."""


class AdaptiveGradientClip:
    """Shortens gradients longer than twice their running mean; nothing waits for the device."""

    def __init__(self, parameters: Iterable[nn.Parameter], device: str) -> None:
        self._parameters = list(parameters)
        self._usual = torch.zeros((), device=device)
        self._steps = 0

    @torch.no_grad()
    def apply(self) -> None:
        """Limit the gradients that were just computed."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        length = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
        self._steps += 1
        # a start without any gradient (empty patches) sets no usual length
        known = (self._usual > 0) & (self._steps > _FIRST)
        limit: Tensor = torch.where(known, _LIMIT * self._usual, length)
        scale = (limit / length.clamp(min=torch.finfo(length.dtype).tiny)).clamp(max=1)
        for gradient in gradients:
            gradient.mul_(scale)
        weight = _MEMORY if self._steps > _FIRST else 1 / self._steps
        self._usual.lerp_(torch.minimum(length, limit), weight)
