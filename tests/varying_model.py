"""A second forward model, for tests only: the PSF widens along the first axis of the field."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssi_pipeline.physics.convolution import Convolution
from ssi_pipeline.physics.forward import ForwardModel
from ssi_pipeline.physics.sensor import CensoredSensor


def gaussian(radius: tuple[int, ...], sigma: float) -> NDArray[np.float32]:
    """Return a Gaussian PSF (z) y x, sum 1."""
    squared = sum(axis**2 for axis in np.ogrid[tuple(slice(-r, r + 1) for r in radius)])
    values = np.exp(-0.5 * squared / sigma**2)
    return (values / values.sum()).astype(np.float32)


class VaryingModel(ForwardModel):
    """B x = (1 - w) (narrow * x) + w (wide * x), w rising from 0 to 1 along the first axis of the field.

    ``pixels``: size of the field along that axis.
    """

    def __init__(
        self,
        narrow: NDArray[np.float32],
        wide: NDArray[np.float32],
        sensor: CensoredSensor,
        pixels: int,
        origins: Sequence[tuple[int, ...]] = (),
    ) -> None:
        self.radius = tuple(n // 2 for n in narrow.shape)
        self.sensor = sensor
        self.approximate_psf = (narrow + wide) / 2
        self.digest = hashlib.sha256(narrow.tobytes() + wide.tobytes() + str(pixels).encode()).hexdigest()[:16]
        mirrored = all(np.allclose(psf, np.flip(psf, -1)) for psf in (narrow, wide))
        self.symmetries = [lambda image: image.flip(-1)] if mirrored else []
        self.origins = origins or [(0,) * len(self.radius)]
        self._psfs, self._pixels = (narrow, wide), pixels
        self._narrow, self._wide = Convolution(narrow), Convolution(wide)

    def level(self, estimate: Tensor) -> Tensor:
        w = self._share(estimate.shape[-self.axes] - 2 * self.radius[0])
        return (1 - w) * self._narrow(estimate) + w * self._wide(estimate)

    def adjoint(self, image: Tensor) -> Tensor:
        w = self._share(image.shape[-self.axes])
        return self._narrow.adjoint((1 - w) * image) + self._wide.adjoint(w * image)

    def at(self, origins: Sequence[tuple[int, ...]]) -> VaryingModel:
        """Return the model of windows of a field that may itself be a window."""
        (own,) = self.origins
        moved = [tuple(a + b for a, b in zip(own, origin, strict=True)) for origin in origins]
        return VaryingModel(*self._psfs, self.sensor, self._pixels, moved)

    def power_bound(self, size: tuple[int, ...]) -> Tensor:
        """Return a bound by |(1 - w) a + w b|^2 <= (1 - w) |a|^2 + w |b|^2 <= |a|^2 + |b|^2."""
        return self._narrow.power(size) + self._wide.power(size)

    def _share(self, predicted: int) -> Tensor:
        """Return w at the predicted pixels, n x 1 (x 1), with a leading batch axis for several windows."""
        first = torch.tensor([origin[0] for origin in self.origins])[:, None] + self.radius[0]
        w = ((first + torch.arange(predicted)) / (self._pixels - 1)).clamp(0, 1)
        w = w.reshape(len(self.origins), predicted, *(1,) * (self.axes - 1))
        return w if len(self.origins) > 1 else w[0]
