"""What the linear inverse makes of one image, computed at first use and kept."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from ssi_pipeline.inversion.linear.inverse import LinearInverse


class LinearPart:
    """The impulses, the repaired image and the linear solution of one image.

    Parameters
    ----------
    inverse
        Linear inverse of the channel.
    image
        (Z) y x, normalised.
    gaps
        Pixels without a measurement, None without any.
    """

    def __init__(self, inverse: LinearInverse, image: Tensor, gaps: Tensor | None = None) -> None:
        self.image = image
        self._inverse, self._gaps = inverse, gaps

    def by(self, inverse: LinearInverse) -> LinearPart:
        """Return that of a linear inverse with another filter; the impulses are the same."""
        other = LinearPart(inverse, self.image, self._gaps)
        other._examined = self._examined
        return other

    @property
    def impulses(self) -> Tensor:
        """Mask of the impulses, (z) y x."""
        return self._examined[0]

    @property
    def repaired(self) -> Tensor:
        """The image with impulses repaired, (z) y x."""
        return self._examined[1]

    @cached_property
    def channels(self) -> Tensor:
        """[r, w], 2 x (z) y x: the repaired image corrected for the bias of clipping, and its linear solution."""
        return self._inverse.of_repaired(self.repaired, self._gaps)

    @cached_property
    def _examined(self) -> tuple[Tensor, Tensor]:
        return self._inverse.impulses.examine(self.image)
