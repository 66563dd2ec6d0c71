"""Represent the measurement of one tile, and convert between volumes and tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # planning and reporting import this module without torch
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Measurement:
    """The measurement on one tile's domain, axes z y x; z has length 1 in 2D.

    Attributes
    ----------
    y
        Raw intensities, float32, finite: padded by reflection outside the image, non-finite pixels replaced by local
        means.
    observed
        False at padded and replaced pixels, which carry no loss.
    neighbours
        Measurements y of neighbouring planes and frames on the same domain, as ``y``, in the order of
        ``NetworkConfig.neighbours``; None where there is none. Empty without any.
    place
        Middle of what is estimated from it, in the input image, for a PSF that varies; None: not known.

    Raises
    ------
    ValueError
        Shapes differ or do not have three axes.
    """

    y: NDArray[np.float32]
    observed: NDArray[np.bool_]
    neighbours: tuple[NDArray[np.float32] | None, ...] = ()
    place: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.y.ndim != 3 or self.y.shape != self.observed.shape:
            raise ValueError(f"expected y and observed of one shape z y x, found {self.y.shape}, {self.observed.shape}")

    @property
    def is_constant(self) -> bool:
        """Whether all observed pixels have the same value, or none is observed."""
        seen = self.y[self.observed]
        return seen.size == 0 or bool(seen.min() == seen.max())


def observed_box(measurement: Measurement) -> tuple[slice, ...]:
    """Return the smallest box (z y x) that contains all observed pixels; around it is padding."""
    box = []
    for axis in range(3):
        (inside,) = np.nonzero(measurement.observed.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0, 0))
    return tuple(box)


def gaps_of(measurement: Measurement) -> NDArray[np.bool_] | None:
    """Return the mask (z y x) of pixels without a measurement, the padding included; None without any."""
    return None if measurement.observed.all() else ~measurement.observed


def to_tensor(array: NDArray[np.generic], dimensions: int, device: str = "cpu") -> Tensor:
    """Convert an array z y x to a tensor with the tile's spatial axes: y x in 2D, z y x in 3D."""
    if dimensions == 2:
        if array.shape[0] != 1:
            raise ValueError(f"expected z of length 1 for a tile in 2D, found shape {array.shape}")
        array = array[0]
    import torch

    return torch.from_numpy(np.array(array, order="C")).to(device)


def to_volume(tensor: Tensor) -> NDArray[np.float32]:
    """Convert a tensor (z) y x to a float32 array z y x."""
    array = tensor.detach().float().cpu().numpy()
    return np.ascontiguousarray(array if array.ndim == 3 else array[None])
