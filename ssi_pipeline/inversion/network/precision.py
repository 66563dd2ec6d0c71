"""In which precision the steps of a training are computed."""

from __future__ import annotations

import functools
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


def resolved_precision(wanted: Literal["auto", "float32", "bfloat16"], kind: str) -> Precision:
    """Return what ``training.precision`` means on a kind of device ('cpu', 'cuda').

    'auto' is bfloat16 on GPUs that compute in it, and float32 on processors, where runs promise the same bytes
    whichever machine a tile is solved on. On processors with its instructions a step in bfloat16 takes half the time.
    """
    if wanted == "auto":
        return "bfloat16" if kind == "cuda" and _gpu_has_bfloat16() else "float32"
    return wanted


def published_precision(wanted: Literal["auto", "float32", "bfloat16"]) -> Precision:
    """Return what ``training.precision`` means for the published recipe: float32, as published, unless asked for."""
    return "float32" if wanted == "auto" else wanted


@functools.cache
def _gpu_has_bfloat16() -> bool:
    """Whether the GPU has units for bfloat16 (compute capability 8.0): older ones emulate it."""
    return torch.cuda.get_device_capability() >= (8, 0)
