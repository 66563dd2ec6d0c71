"""Resolve the floating-point precision of training steps."""

from __future__ import annotations

import functools
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


def resolved_precision(wanted: Literal["auto", "float32", "bfloat16"], kind: str) -> Precision:
    """Return the precision that ``training.precision`` means on a kind of device ('cpu', 'cuda').

    'auto' is bfloat16 on GPUs with native support, and float32 on CPUs, where the output is byte-identical on any
    machine. On CPUs with bfloat16 instructions a step in bfloat16 takes half the time.
    """
    if wanted == "auto":
        return "bfloat16" if kind == "cuda" and _gpu_has_bfloat16() else "float32"
    return wanted


def published_precision(wanted: Literal["auto", "float32", "bfloat16"]) -> Precision:
    """Return the precision of the published recipe: float32, as published, unless configured."""
    return "float32" if wanted == "auto" else wanted


def use_float32(device: str) -> None:
    """Have float32 mean float32 on a GPU: convolutions would round their inputs to the 10 bits of TF32 by default."""
    if device != "cpu":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


@functools.cache
def _gpu_has_bfloat16() -> bool:
    """Return whether the GPU supports bfloat16 natively (compute capability 8.0); older ones emulate it."""
    return torch.cuda.get_device_capability() >= (8, 0)
