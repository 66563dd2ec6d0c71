"""Compute the gradients that total variation penalises: by voxel size, and none across the border of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ssi_pipeline.inversion.classical.observation import Observation
from ssi_pipeline.inversion.differences import across, box_of, differences, differences_adjoint
from ssi_pipeline.inversion.linear.narrow import is_narrow
from ssi_pipeline.inversion.problem import Problem


@dataclass(frozen=True, slots=True)
class Slopes:
    """The operator D: forward differences along each axis, per length of the smallest voxel side.

    Attributes
    ----------
    scales
        Smallest side of a voxel over its side along each axis, (z) y x: 1 for cubes. A penalty on differences between
        neighbours alone would make a coarse axis as smooth as a fine one in pixels, three times smoother in
        micrometres where planes are three times as far apart as pixels.
    ends
        Where differences are not taken: indices of D x.
    """

    scales: tuple[float, ...]
    ends: Sequence[tuple[int | slice, ...]] = ()

    @property
    def cuts(self) -> list[tuple[int, ...]]:
        """For each axis where differences along it are not taken."""
        found: list[tuple[int, ...]] = [()] * len(self.scales)
        for axis, *_, at in self.ends:
            if isinstance(axis, int) and isinstance(at, slice):
                found[axis] = tuple(range(at.start, at.stop, at.step))
        return found

    def __call__(self, x: Tensor) -> Tensor:
        """Return D x: one component per axis first, then (z) y x."""
        slopes = differences(x)
        for end in self.ends:
            slopes[end].zero_()
        for axis, scale in enumerate(self.scales):
            if scale != 1:
                slopes[axis].mul_(scale)
        return slopes

    def adjoint(self, p: Tensor) -> Tensor:
        """Return D* p, (z) y x: <D x, p> = <x, D* p> for every p that is 0 across the border, as D x is."""
        return differences_adjoint(p, self.scales)


def slopes_of(problem: Problem, observation: Observation) -> Slopes:
    """Return the operator D of an image, which ignores the border of the observed region.

    The region is the smallest box that contains all known pixels. The light outside, which reaches the image, is
    estimated without a penalty on the step across the border, since a scene may end there. Not so if the image is
    narrow for the PSF: most of its light could then be explained from outside (measured on five planes with a PSF of
    21: a third of the light was left inside, and 1.7 dB lost).
    """
    if is_narrow(observation.known, problem.forward.radius):
        return Slopes(problem.scales)
    return Slopes(problem.scales, across(box_of(observation.known), tuple(observation.known.shape)))
