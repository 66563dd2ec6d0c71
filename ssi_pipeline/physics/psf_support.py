"""Choose how far a computed widefield PSF reaches, from aperture, wavelength and index.

Laterally: the circle that holds 98 % of the light in focus. The share outside a circle of radius r is
lambda / (pi^2 NA r), by the wings of the Airy pattern (Born and Wolf, 8.5.2).

Axially every plane of a widefield PSF has the same light, so that no share of it says where to stop. But the light of
a plane spreads over a cone, and its level falls: at the distance z from the focus the level on the axis is
(lambda n / (pi NA^2 z))^2 of the peak, by geometrical optics. Below 1/400 it counts as background. Planes farther away
than the image is deep reach none of its pixels from another.

Both were measured on stacks blurred by a PSF of 20 times lambda / NA (NA 1.2, two seeds of objects in 12 planes,
Richardson-Lucy at its best by the truth): with 2 % and 1/400 24.5 and 25.7 dB, with half of the axial reach 22.3 and
24.8 dB, with three times the lateral reach 23.6 and 25.1 dB.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import ComputedPsf, GibsonLanniPsf, LightSheetPsf, WidefieldPsf

_OUTSIDE = 0.02
"""Share of the light in focus outside the lateral reach."""

_LEVEL = 1 / 400
"""Level on the axis, as a share of the peak, below which a plane's light is background."""

_STEEPEST = 0.95
"""Largest sine of the cone's angle: rays beyond carry little light."""

_SHEETS = 1.5
"""Axial reach in widths of a light sheet: 0.2 % of its peak."""

_SCAN = 400
"""Planes in the search for the brightest one."""

STEPS = 64
"""Distances per wavelength / NA at which an intensity is computed: a cubic spline between them is exact to 2e-5."""

Intensity = Callable[[NDArray[np.float64], float], NDArray[np.float64]]


def support_um(
    section: ComputedPsf, intensity: Intensity, dimensions: int, depth_um: float | None, spread_um: float = 0.0
) -> tuple[float, float]:
    """Return the axial and lateral reach of a computed PSF from its central voxel, micrometres.

    Parameters
    ----------
    section
        Optics.
    intensity
        Function of distances from the axis and height above the central plane, micrometres.
    dimensions
        Number of spatial axes of a tile: for 2 only the central plane counts.
    depth_um
        Distance between the first and the last plane of the image, None if unknown.
    spread_um
        Distance along the axis over which aberrated rays focus.
    """
    aperture, wavelength, index = section.numerical_aperture, section.wavelength_um, _index(section)
    lateral = wavelength / (math.pi**2 * aperture * _OUTSIDE)
    axial = wavelength * index / (math.pi * aperture**2 * math.sqrt(_LEVEL))
    if isinstance(section, LightSheetPsf):
        axial = min(axial, _SHEETS * section.sheet_fwhm_um)
    shift = abs(brightest_um(section, intensity, axial)) + spread_um
    if dimensions == 2:
        sine = min(aperture / index, _STEEPEST)
        return 0.0, lateral + shift * sine / math.sqrt(1 - sine**2)
    return min(axial + shift, math.inf if depth_um is None else max(depth_um, shift)), lateral


def brightest_um(section: ComputedPsf, intensity: Intensity, reach_um: float) -> float:
    """Return the height of the brightest point on the axis: layers off their design move the focus."""
    farthest = abs(section.defocus_um) if isinstance(section, WidefieldPsf | GibsonLanniPsf) else 0.0
    if isinstance(section, GibsonLanniPsf):
        immersion_index, cover_index, cover_um = section.design
        cover, other = section.cover_um - cover_um, immersion_index - section.immersion_index
        farthest += section.depth + abs(cover) + section.working_distance_um * abs(other)
        farthest += section.cover_um * abs(cover_index - section.cover_index)
    if not farthest:
        return 0.0
    heights = np.linspace(-1, 1, _SCAN + 1) * (farthest + reach_um / 4)
    axis = np.zeros(1)
    levels = [float(intensity(axis, float(z))[0]) for z in heights]
    return float(heights[int(np.argmax(levels))])


def _index(section: ComputedPsf) -> float:
    return section.immersion_index if isinstance(section, GibsonLanniPsf) else section.refractive_index
