"""Build the forward model of a channel. No other module names an implementation."""

from __future__ import annotations

from ssi_pipeline.physics.forward import ForwardModel
from ssi_pipeline.physics.psf import Psf, psf_values
from ssi_pipeline.physics.sensor import CensoredSensor
from ssi_pipeline.physics.shift_invariant import ShiftInvariantModel


def build_forward_model(psf: Psf | None, axes: int, sensor: CensoredSensor, device: str) -> ForwardModel:
    """Return the forward model g of a channel.

    Parameters
    ----------
    psf
        None for no blur.
    axes
        Number of spatial axes: 2 (y x) or 3 (z y x).
    sensor
        Noise and limits in the units of the estimate.
    device
        Torch device.
    """
    return ShiftInvariantModel(psf_values(psf, axes), sensor, device)
