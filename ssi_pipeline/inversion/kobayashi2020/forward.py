"""Implement the forward model of the published recipe."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from ssi_pipeline.physics.convolution import Convolution

_BROADEN = np.array([[0.095, 0.14, 0.095], [0.14, 0.2, 0.14], [0.095, 0.14, 0.095]])
_BROADEN_OUTER = np.array([[0.095, 0.095, 0.095], [0.095, 0.14, 0.095], [0.095, 0.095, 0.095]])
"""Broadening kernels as published; in 3D the outer one is that of the planes above and below."""


class PublishedForward:
    """The published forward model: clamp to [0, 1], reflect at the borders, correlate with the broadened PSF.

    Parameters
    ----------
    psf
        Axes (z) y x, odd sizes, sum 1.
    device
        Torch device.
    """

    def __init__(self, psf: NDArray[np.floating], device: str) -> None:
        self.kernel = broadened(psf)
        self._convolution = Convolution(np.flip(self.kernel), device)  # convolve the mirrored PSF: correlation
        self._padding = [r for radius in reversed(self._convolution.radius) for r in (radius, radius)]

    def __call__(self, estimate: Tensor) -> Tensor:
        """Predict the measurement, 1 x 1 x (z) y x, shape of the estimate."""
        # the published code replicates the border in 3D
        mode = "reflect" if len(self._padding) == 4 else "replicate"
        result: Tensor = self._convolution(functional.pad(estimate.clamp(0, 1), self._padding, mode=mode))
        return result


def broadened(psf: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the PSF (z) y x blurred with a kernel of 3 pixels: one pixel larger at each end, sum 1."""
    small = _BROADEN if psf.ndim == 2 else np.stack([_BROADEN_OUTER, _BROADEN, _BROADEN_OUTER])
    wide = ndimage.convolve(np.pad(psf.astype(np.float64), 1), small, mode="constant")
    return np.asarray(wide / wide.sum())
