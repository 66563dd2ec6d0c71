"""Device and precision of a run: determined at its first start, and the same for every tile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Compute:
    """Device type, and precision of training steps (float32 without training)."""

    device: Literal["cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]

    def __str__(self) -> str:
        return f"{self.device} in {self.precision}"


def compute_of(basis: Mapping[str, Any]) -> Compute | None:
    """Return device and precision from a run's basis; None before its first start or for earlier releases.

    Raises
    ------
    ValueError
        The entry is invalid.
    """
    found = basis.get("compute")
    if found is None:
        return None
    device, precision = (found.get(key) if isinstance(found, Mapping) else None for key in ("device", "precision"))
    if device not in ("cpu", "cuda") or precision not in ("float32", "bfloat16"):
        raise ValueError(f"compute is {found}: expected device cpu or cuda, and precision float32 or bfloat16")
    return Compute(device, precision)
