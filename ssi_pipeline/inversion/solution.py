"""Represent the estimate of a tile, with its losses and scores."""

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
    """The estimate of one tile, with losses, scores and timings.

    Attributes
    ----------
    estimate
        float32, z y x, shape of the domain, raw units.
    method
        One of ``methods.RESULTS``.
    attempts, steps
        Attempts of training, and steps of the one that was kept.
    heldout_before, heldout_after, heldout_wiener
        Mean squared error of g f m_V(y) on the held-out pixels V, squared normalised units: before training, of the
        returned estimate, and of the Wiener solution on the same V. None where not measured.
    trace
        (step, training loss, held-out loss) at each validation of the attempt that was kept.
    model
        Parameters of the trained network.
    note
        Reason why the estimate is not that of the configured solver, or empty.
    training_seconds, inference_seconds
        Time of all attempts of training, and of computing the returned estimate.
    invert
        The inverse f as a function of a normalised image and its observed pixels, both (z) y x; None without one.
    scores
        Blind metrics of the estimate, by name.
    errors
        Squared errors on V of ``heldout_after``, flat, float64; None where not measured.
    alternative
        The rejected estimate where network and baseline were compared: as ``estimate``.
    uncertainty
        Typical error of each pixel, as ``estimate``; None where not requested, 0 where nothing was inverted.
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
    errors: Tensor | None = field(default=None, repr=False, compare=False)
    alternative: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    uncertainty: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)


def raw_estimate(calibration: ChannelCalibration, estimate: Tensor) -> NDArray[np.float32]:
    """Convert a normalised estimate (z) y x to a volume z y x in raw units, float32."""
    return (to_volume(estimate) * calibration.scale + calibration.offset).astype(np.float32)
