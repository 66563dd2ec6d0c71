"""Build the forward model of a channel: the one place that names implementations."""

from __future__ import annotations

from ssi_pipeline.physics.forward import ForwardModel
from ssi_pipeline.physics.psf import Psf, psf_values
from ssi_pipeline.physics.sensor import CensoredSensor
from ssi_pipeline.physics.shift_invariant import ShiftInvariantModel


def build_forward_model(psf: Psf | None, axes: int, sensor: CensoredSensor, device: str) -> ForwardModel:
    """Return g for tiles with ``axes`` spatial axes, ``sensor`` being in the units of the estimate.

    Parameters
    ----------
    psf
        None where there is no blur.
    axes
        2 (y x) or 3 (z y x).
    """
    return ShiftInvariantModel(psf_values(psf, axes), sensor, device)
