"""Say before a run what would take less time: another solver in 3D, another precision on this processor."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from ssi_pipeline.config import RunConfig

_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
"""Flags of Linux for processors that multiply bfloat16; without them torch emulates it, and steps take longer."""

_PROCESSORS = Path("/proc/cpuinfo")

_TRAINING = 0.75
"""Time of a training in bfloat16 over that in float32, measured (docs/gpu.md, Precision)."""


def hints_of(config: RunConfig, device: Literal["cpu", "cuda"] | None) -> list[str]:
    """Return the hints for a run, a line each. ``device``: of this machine; None: not known."""
    return [hint for hint in (volume_hint(config), bfloat16_hint(config, device)) if hint]


def volume_hint(config: RunConfig) -> str:
    """Return a line for networks of 3D tiles that total variation may replace; otherwise an empty string."""
    training, method = config.training, config.method
    replaced = training.scope == "per_tile" and training.select == "best" and training.start_from is None
    if not method.network or method.own_recipe or config.tiling.dimensions != 3 or not replaced:
        return ""
    return (
        "in 3D a run took total variation in place of the network on most stacks that were measured: "
        "solver: tv_cg takes about a tenth of the time on a CPU; compare both on a few tiles by `ssi preview`"
    )


def bfloat16_hint(config: RunConfig, device: Literal["cpu", "cuda"] | None) -> str:
    """Return a line for a run on this machine's CPU whose precision is left open; otherwise an empty string."""
    section = config.executor
    elsewhere = section.kind == "slurm" or section.address is not None
    if device != "cpu" or elsewhere or not config.method.network or config.training.precision != "auto":
        return ""
    found = bfloat16_instructions(_PROCESSORS)
    if not found:
        return ""
    return (
        f"this processor has bfloat16 ({found}): with training.precision: bfloat16 a training takes about {_TRAINING} "
        "of the time; it is off because the bytes of the output then depend on the processor"
    )


def bfloat16_instructions(path: Path) -> str:
    """Return the flag of the processor's bfloat16 instructions, as in /proc/cpuinfo; empty without any."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", path.read_text(), flags=re.MULTILINE)
    except OSError:
        return ""
    present = set() if flags is None else set(flags[1].split())
    return next((name for name in _INSTRUCTIONS if name in present), "")
