"""Compute the PSF of Gibson and Lanni: a scalar model with sample, cover glass and immersion off their design values.

S. F. Gibson, F. Lanni, J. Opt. Soc. Am. A 9, 154 (1992), eqs. 2 and 11: an integral over the pupil with the optical
path difference between the actual layers and those of the objective's design as phase. It is evaluated directly; Li,
Xue and Blu (J. Opt. Soc. Am. A 34, 1029, 2017) expand the same integral in Bessel functions.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import GibsonLanniPsf

_NODES = 32
"""Gauss-Legendre nodes per panel of the pupil radius."""

_CYCLES_PER_PANEL = 4.0
"""Largest number of phase cycles per panel: with eight nodes per cycle the rule is exact to double precision."""

_FOCUS_PANELS = 4
"""Panels of the pupil for the best focus, whose integrand has no oscillation."""

_INNER = 0.95
"""Share of the pupil's radius whose rings count: at total reflection the outermost focus at infinity."""


def gibson_lanni_intensity(section: GibsonLanniPsf, radius_um: NDArray[np.float64], z_um: float) -> NDArray[np.float64]:
    """Return the intensity at distances from the optical axis, up to a factor.

    Without aberrations this is the integral of ``pupil_intensity``.

    Parameters
    ----------
    section
        Objective and layers.
    radius_um
        Distances from the axis in micrometres, any shape.
    z_um
        Position of the stage in micrometres, added to ``section.defocus_um``.

    Returns
    -------
    intensity
        float64, >= 0, shape of ``radius_um``.
    """
    k = 2 * np.pi / section.wavelength_um
    aperture = section.numerical_aperture
    if section.magnification is not None:  # sine condition, with the angle at the camera
        aperture *= section.magnification / math.hypot(section.magnification, section.numerical_aperture)
    distinct, where = np.unique(radius_um, return_inverse=True)
    outermost = _open_pupil(section)
    probe = _path_um(section, np.linspace(0, outermost, 1000), z_um)
    cycles = (np.abs(np.diff(probe)).sum() + distinct[-1] * aperture) / section.wavelength_um
    panels = math.ceil(cycles / _CYCLES_PER_PANEL) + 1
    rho, weight = _quadrature(outermost, panels)
    wave = np.exp(1j * k * _path_um(section, rho, z_um)) * rho * weight
    intensity = np.abs(_bessel(k * aperture, outermost, panels, distinct.tobytes()) @ wave) ** 2
    return np.asarray(intensity[where].reshape(radius_um.shape))


@lru_cache(maxsize=8)  # the same for most heights and depths of a PSF, and nearly all of its time
def _bessel(scale: float, outermost: float, panels: int, radius_um: bytes) -> NDArray[np.float64]:
    """Return J0(scale radius rho) at float64 distances and at the nodes of the pupil."""
    from scipy.special import j0  # 0.2 s of imports, only for this kind of PSF

    rho, _ = _quadrature(outermost, panels)
    return np.asarray(j0(scale * np.frombuffer(radius_um)[:, None] * rho))


def _path_um(section: GibsonLanniPsf, rho: NDArray[np.float64], z_um: float) -> NDArray[np.float64]:
    """Return the optical path difference from the design (eq. 2 of the paper), at pupil radii from 0 to 1."""

    def axial(index: float) -> NDArray[np.float64]:
        """Return index times cosine of the ray angle in a medium of that index, for each of ``rho``."""
        return np.sqrt(np.maximum(index**2 - (section.numerical_aperture * rho) ** 2, 0.0))

    design_index, cover_index, cover_um = section.design
    immersion_um = section.working_distance_um + section.defocus_um + z_um
    immersion = immersion_um * axial(section.immersion_index) - section.working_distance_um * axial(design_index)
    cover = section.cover_um * axial(section.cover_index) - cover_um * axial(cover_index)
    path: NDArray[np.float64] = section.depth * axial(section.sample_index) + immersion + cover
    return path


def focus_um(section: GibsonLanniPsf) -> tuple[float, float]:
    """Return the position of the stage at best focus without ``defocus_um``, and how far rays focus from it.

    The best focus is the one of least mean square path difference over the pupil, which has a closed form and moves
    smoothly with the depth, unlike the brightest point, which jumps between maxima. The second length is the largest
    distance to the focus of a ring of the pupil, micrometres: 0 without aberration.
    """
    focused = section.in_focus()
    rho, weight = _quadrature(_open_pupil(section), _FOCUS_PANELS)
    here, further = _path_um(focused, rho, 0.0), _path_um(focused, rho, 1.0)
    per_um, share = further - here, rho * weight / (rho * weight).sum()
    centred = per_um - share @ per_um
    best = -float((share * centred) @ here / ((share * centred) @ per_um))
    rings = -np.diff(here)[rho[1:] < _INNER * rho[-1]] / np.diff(per_um)[rho[1:] < _INNER * rho[-1]]
    return best, float(np.abs(rings - best).max())


def _open_pupil(section: GibsonLanniPsf) -> float:
    """Return the radius of the illuminated pupil, 0 to 1: rays beyond the smallest index are totally reflected."""
    indices = [section.sample_index, section.immersion_index, section.cover_index]
    return min(1.0, min(indices) / section.numerical_aperture)


@lru_cache(maxsize=8)
def _quadrature(stop: float, panels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes and weights of a composite Gauss-Legendre rule on 0 to ``stop``."""
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    edges = np.linspace(0, stop, panels + 1)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (node + 1)).ravel(), (half * weight).ravel()
