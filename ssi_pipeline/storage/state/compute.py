"""What a run is computed on: settled at its first start, and the same for every tile since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Compute:
    """The kind of device, and the precision of training steps (float32 where nothing is trained)."""

    device: Literal["cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]

    def __str__(self) -> str:
        return f"{self.device} in {self.precision}"


def compute_of(basis: Mapping[str, Any]) -> Compute | None:
    """Return what a run's basis holds of it; None before it is settled, or in a state folder of an earlier release.

    Raises
    ------
    ValueError
        Something else stands there.
    """
    found = basis.get("compute")
    if found is None:
        return None
    device, precision = (found.get(key) if isinstance(found, Mapping) else None for key in ("device", "precision"))
    if device not in ("cpu", "cuda") or precision not in ("float32", "bfloat16"):
        raise ValueError(f"compute is {found}: expected device cpu or cuda, and precision float32 or bfloat16")
    return Compute(device, precision)
