"""Resolve the floating-point precision of training steps."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

Precision = Literal["float32", "bfloat16"]


def resolved_precision(wanted: Literal["auto", "float32", "bfloat16"], kind: str) -> Precision:
    """Return the precision that ``training.precision`` means on a kind of device ('cpu', 'cuda').

    'auto' is bfloat16 on GPUs with native support, and float32 on CPUs, where the output is byte-identical on any
    machine. On CPUs with bfloat16 instructions a training in bfloat16 takes three
    quarters of the time.
    """
    if wanted == "auto":
        return "bfloat16" if kind == "cuda" and _gpu_has_bfloat16() else "float32"
    return wanted


def published_precision(wanted: Literal["auto", "float32", "bfloat16"]) -> Precision:
    """Return the precision of the published recipe: float32, as published, unless configured."""
    return "float32" if wanted == "auto" else wanted


_PLACES: tuple[Any, Any] = (getattr(torch.backends.cudnn, "conv", torch.backends.cudnn), torch.backends.cuda.matmul)
_FLAG, _EXACT = ("fp32_precision", "ieee") if hasattr(_PLACES[0], "fp32_precision") else ("allow_tf32", False)
"""torch's flags: since 2.9 one a place, whose older names raise in a program that has set these."""

_lock = threading.Lock()
_users, _before = 0, (_EXACT, _EXACT)


@contextmanager
def float32_means_float32(device: str) -> Iterator[None]:
    """Compute in float32 on a GPU: convolutions would round their inputs to the 10 bits of TF32 by default.

    The flags belong to the process, and so to the caller's program: the first of several threads sets them, the last
    one restores them.
    """
    global _users, _before
    if device == "cpu":
        yield
        return
    with _lock:
        if _users == 0:
            _before = (getattr(_PLACES[0], _FLAG), getattr(_PLACES[1], _FLAG))
            _set_flags((_EXACT, _EXACT))
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _set_flags(_before)


def _set_flags(values: tuple[Any, Any]) -> None:
    for place, value in zip(_PLACES, values, strict=True):
        setattr(place, _FLAG, value)


@functools.cache
def _gpu_has_bfloat16() -> bool:
    """Return whether the GPU supports bfloat16 natively (compute capability 8.0); older ones emulate it."""
    return torch.cuda.get_device_capability() >= (8, 0)
