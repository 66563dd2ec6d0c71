"""The estimate of a tile and how it came about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.measurement import to_volume
from ssi_pipeline.inversion.network.checkpoint import Model


@dataclass(frozen=True, slots=True)
class Solution:
    """The estimate of one tile and how it came about.

    ``method``: one of ``methods.RESULTS``.

    ``estimate``: float32, z y x, the domain's shape, raw units. ``heldout_*``: mean squared error of
    g f m_V(y) on the held-out pixels V, normalised units squared, None where not measured:
    ``before`` training, ``after`` it (of what was returned), and of the ``wiener`` solution on the same V.
    ``trace``: (step, training loss, held-out loss) at each validation of the attempt that was kept.
    ``note``: why it is not what was asked for, or empty. ``training_seconds``: of all attempts;
    ``inference_seconds``: of the estimate that was returned. ``invert``: what made the estimate, of a normalised
    image and where it was observed, both (z) y x; None where there is no such function. ``scores``: what ``judge``
    says of the estimate, by name. ``baseline``: the estimate that was not taken, where two were compared.
    ``uncertainty``: the typical error of each pixel, as ``estimate``; None where it was not asked for, 0 where
    nothing was inverted.
    """

    estimate: NDArray[np.float32]
    method: str
    attempts: int = 0
    steps: int = 0
    heldout_before: float | None = None
    heldout_after: float | None = None
    heldout_wiener: float | None = None
    trace: list[tuple[int, float, float]] = field(default_factory=list)
    model: Model | None = None
    note: str = ""
    training_seconds: float = 0.0
    inference_seconds: float = 0.0
    invert: Callable[[Tensor, Tensor], Tensor] | None = field(default=None, repr=False, compare=False)
    scores: dict[str, float] = field(default_factory=dict)
    baseline: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    uncertainty: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)


def raw_estimate(calibration: ChannelCalibration, estimate: Tensor) -> NDArray[np.float32]:
    """Return a normalised estimate, (z) y x, as a volume z y x in raw units."""
    return (to_volume(estimate) * calibration.scale + calibration.offset).astype(np.float32)
