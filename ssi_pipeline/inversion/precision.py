"""In which precision the steps of a training are computed."""

from __future__ import annotations

import functools
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


def resolved_precision(wanted: Literal["auto", "float32", "bfloat16"], kind: str) -> Precision:
    """Return what ``training.precision`` means on a kind of device ('cpu', 'cuda').

    'auto' is bfloat16 where a step is faster in it.
    """
    if wanted == "auto":
        return "bfloat16" if _has_bfloat16(kind) else "float32"
    return wanted


@functools.cache
def _has_bfloat16(kind: str) -> bool:
    """Whether a step is faster in bfloat16: on GPUs, and on processors with its instructions (measured: twice)."""
    if kind == "cuda":
        return True
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # torch has no public name for it
    return bool(supported and supported())
