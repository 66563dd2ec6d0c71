"""Measure a PSF in an image of beads: find, fit, average."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import InputError
from ssi_pipeline.workbench.beads.average import (
    average,
    cleaned,
    peak_offset,
    radial_average,
    without_bead,
)
from ssi_pipeline.workbench.beads.bead import REASONS, Bead, Values
from ssi_pipeline.workbench.beads.find import Scene, clipping_limit, find_beads
from ssi_pipeline.workbench.beads.fit import gaussian_centre, local_background, occupied_by, template_fit
from ssi_pipeline.workbench.transfer import fine_widths

_DIFFERENT, _LEAST_DIFFERENT = 5.0, 0.25
"""A width is another one beyond five robust standard deviations from the median, and 25 %: over a field of view widths
do vary, and two beads in one are wider by more."""

_MISFIT = 0.1
"""Root mean square of what a stretched average leaves of a bead, beyond noise, as a share of its amplitude."""

_LARGEST_BEAD = 1.0
"""Largest diameter of a bead in lateral widths of its image; larger ones hide the PSF."""

_FEW = 5
"""Beads below which outliers cannot be told."""


@dataclass(frozen=True)
class Request:
    """What is asked for: ``bead_um`` and ``box_um`` (z y x, or y x) need ``voxel_um``."""

    voxel_um: tuple[float, ...] | None = None
    bead_um: float | None = None
    box_um: tuple[float, ...] | None = None
    radial: bool = False


@dataclass(frozen=True)
class Measured:
    """A measured PSF.

    Attributes
    ----------
    scene
        Image and what is common to all beads.
    beads
        All of them, brightest first.
    values
        PSF with the axes of the image, odd sizes, sum 1.
    fwhm
        Of the PSF along each axis, pixels.
    notes
        What is doubtful.
    """

    scene: Scene
    beads: list[Bead]
    values: NDArray[np.float32]
    fwhm: tuple[float, ...]
    notes: tuple[str, ...]

    @property
    def used(self) -> list[Bead]:
        """Beads in the average."""
        return [bead for bead in self.beads if bead.status == "used"]


def measure(image: NDArray[np.generic], request: Request) -> Measured:
    """Measure a PSF.

    Parameters
    ----------
    image
        Axes z y x, or y x.

    Raises
    ------
    InputError
        There are no beads, none can be used, or these are too large; says why.
    """
    half = None
    if request.box_um is not None and request.voxel_um is not None:
        half = tuple(max(2, round(b / 2 / v)) for b, v in zip(request.box_um, request.voxel_um, strict=True))
    scene, beads = find_beads(image.astype(np.float32), clipping_limit(image), half)
    usable = _usable(beads)
    occupied = occupied_by(scene, beads)
    for bead in usable:
        bead.background = local_background(scene, bead, occupied)
        bead.centre = gaussian_centre(scene, bead)
        bead.amplitude = float(scene.image[bead.peak]) - bead.background
    template = _fitted(scene, usable)
    mean, error = average(scene, _usable(beads))
    values = _as_asked(cleaned(mean, error), request)
    used = len(_usable(beads))
    notes = [] if used >= _FEW else [f"{used} beads were used: expected {_FEW} or more, so that outliers can be told"]
    fwhm = fine_widths(values)
    for bead in usable:
        bead.fwhm = tuple(s * w for s, w in zip(bead.stretch, fine_widths(template), strict=True))
    total = values.sum()
    return Measured(scene, beads, (values / total).astype(np.float32), fwhm, tuple(notes))


def _usable(beads: list[Bead]) -> list[Bead]:
    """Return the beads of the average.

    Raises
    ------
    InputError
        There are none.
    """
    found = [bead for bead in beads if bead.status == "used"]
    if not found:
        reasons = [f"{sum(b.status == s for b in beads)}: {text}" for s, text in REASONS.items() if s != "used"]
        raise InputError(
            f"none of the {len(beads)} beads can be used ({'; '.join(r for r in reasons if not r.startswith('0'))}): "
            "expected single beads with room around them. Smaller boxes: --box-um"
        )
    return found


def _fitted(scene: Scene, beads: list[Bead]) -> Values:
    """Fit centre, amplitude and widths of all beads by their own average; return it."""
    # the middle is where the peak is: that of a Gaussian is beside it where a PSF is not symmetric
    for bead in beads:
        bead.amplitude = max(bead.amplitude, scene.noise, 1e-12)
    first, _ = average(scene, beads)
    moved = peak_offset(first)
    for bead in beads:
        bead.centre = tuple(c + o for c, o in zip(bead.centre, moved, strict=True))
    template, _ = average(scene, beads)
    template /= template.max()
    misfits = np.array([template_fit(scene, bead, template) for bead in beads])
    _reject_others(scene, beads, misfits)
    return template


def _reject_others(scene: Scene, beads: list[Bead], misfits: Values) -> None:
    if len(beads) < _FEW:
        return
    stretch = np.log([bead.stretch for bead in beads])
    away = np.abs(stretch - np.median(stretch, axis=0))
    allowed = np.maximum(_DIFFERENT * 1.4826 * np.median(away, axis=0), np.log1p(_LEAST_DIFFERENT))
    for bead, far, misfit in zip(beads, away, misfits, strict=True):
        if (far > allowed).any() or misfit > _MISFIT + scene.noise / bead.amplitude:
            bead.status = "differs"


def _as_asked(values: Values, request: Request) -> Values:
    """Return the PSF averaged around the axis and without the size of the bead, where that is asked for."""
    voxel = request.voxel_um or (1.0,) * values.ndim
    if request.radial:
        values = radial_average(values, (voxel[-2], voxel[-1]))
    if request.bead_um is None:
        return values
    width = min(w * v for w, v in zip(fine_widths(values)[-2:], voxel[-2:], strict=True))
    if request.bead_um > _LARGEST_BEAD * width:
        raise InputError(
            f"beads of {request.bead_um:g} µm (--bead-um) are {width:.3g} µm wide in the image: expected a diameter "
            "below the width, or the PSF is hidden in it. Measure smaller beads, or check the voxel size"
        )
    return without_bead(values, request.bead_um, voxel)
