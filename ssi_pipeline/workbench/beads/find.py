"""Find beads, and reject those that are cut, saturated, dim or close to others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import InputError
from ssi_pipeline.physics.widths import fwhm
from ssi_pipeline.workbench.beads.bead import Bead, Image, is_inside, window

_SMOOTH = 1.0
"""Standard deviation in pixels of the filter before maxima are searched: half of a bead that is sampled by Nyquist."""

_DETECTED, _BRIGHT = 8.0, 15.0
"""Peak in units of the noise from which a maximum (of the filtered image) is a bead, and a bead is good enough."""

_LOBE, _AXIAL_LOBE = 0.1, 0.6
"""Share of the peak up to which a maximum within the box belongs to the PSF: rings of light out of focus, and anything
straight above or below, where spherical aberration has a second maximum."""

_CLIP = 3.0
"""Standard deviations beyond which voxels are no background."""

_SAMPLE = 2_000_000
"""Voxels from which level and noise of the background are estimated."""

_PLATEAU = 4
"""Voxels of the largest value that make it a limit of the camera."""

_AXIAL_WIDTHS, _LATERAL_WIDTHS = 4.0, (6.0, 4.5, 3.0)
"""Half size of a bead's box in its widths: the largest that leaves ``_ENOUGH`` beads. A circle of six widths has 96 %
of the light of an Airy pattern, one of three 93 %."""

_ENOUGH = 5

_FIRST = 25
"""Brightest maxima from which the width of the beads is estimated."""

_REACH = (30, 15, 15)
"""Voxels around a maximum in which its width is read."""


@dataclass(frozen=True)
class Scene:
    """An image of beads: its background and noise, the width of the beads and the half size of their boxes, voxels."""

    image: Image
    level: float
    noise: float
    limit: float
    fwhm: tuple[float, ...]
    half: tuple[int, ...]

    @property
    def core(self) -> tuple[int, ...]:
        """Half size of the part of the box that positions and widths are fitted in."""
        return tuple(max(2, round(w)) for w in self.fwhm)


def background(values: NDArray[np.floating]) -> tuple[float, float]:
    """Return level and noise of the background: mean and standard deviation within three of the latter."""
    from scipy.stats import sigmaclip

    flat = values.ravel()
    kept = sigmaclip(flat[:: max(1, flat.size // _SAMPLE)].astype(np.float64), _CLIP, _CLIP).clipped
    return float(kept.mean()), float(kept.std())


def find_beads(image: Image, limit: float, half: tuple[int, ...] | None) -> tuple[Scene, list[Bead]]:
    """Return the scene and all beads, those that cannot be used with the reason.

    Parameters
    ----------
    image
        Axes z y x, or y x.
    limit
        Value from which a voxel is clipped.
    half
        Half of the size of a bead's box, voxels; None: derived from their width.

    Raises
    ------
    InputError
        There are no beads.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.feature import peak_local_max

    smooth = gaussian_filter(image, _SMOOTH)
    level, noise = background(smooth)
    floor = max(noise, 1e-6 * float(np.abs(image).max()))
    peaks = peak_local_max(smooth, min_distance=2, threshold_abs=level + _DETECTED * floor, exclude_border=False)
    if not len(peaks):
        raise InputError(
            f"no beads found: expected spots that are {_DETECTED:g} times the noise ({noise:.3g}) above a background "
            f"of {level:.3g}; the brightest is {smooth.max() - level:.3g} above it"
        )
    peaks = sorted(peaks.tolist(), key=lambda p: -smooth[tuple(p)])
    beads = [Bead(tuple(p), float(smooth[tuple(p)] - level)) for p in peaks]
    width = _typical_width(image, beads, background(image)[0])
    for size in [half] if half else _default_halves(width):
        scene = Scene(image, *background(image), limit, width, _fitting(size, width, image, beads))
        found = _judged(scene, _without_lobes(scene, [replace(bead) for bead in beads]))
        if sum(bead.status == "used" for bead in found) >= _ENOUGH:
            break
    return scene, found


def clipping_limit(image: NDArray[Any]) -> float:
    """Return the value from which a voxel is clipped: the largest one where it occurs often, or that of the type."""
    largest = image.max()
    if int((image == largest).sum()) >= _PLATEAU and largest > image.min():
        return float(largest)
    return float(np.iinfo(image.dtype).max) if image.dtype.kind in "iu" else float("inf")


def _typical_width(image: Image, beads: list[Bead], level: float) -> tuple[float, ...]:
    reach = _REACH[-image.ndim :]
    widths = []
    for bead in beads[:_FIRST]:
        box = image[window(image, bead.peak, reach)].astype(np.float64) - level
        at = [min(m, h) for m, h in zip(bead.peak, reach, strict=True)]
        lines = [box[tuple(slice(None) if i == axis else at[i] for i in range(box.ndim))] for axis in range(box.ndim)]
        widths.append([fwhm(line) for line in lines])
    return tuple(float(w) for w in np.median(widths, axis=0))


def _default_halves(width: tuple[float, ...]) -> list[tuple[int, ...]]:
    lateral = [round(n * max(width[-2:])) for n in _LATERAL_WIDTHS]
    return [(n, n) if len(width) == 2 else (round(_AXIAL_WIDTHS * width[0]), n, n) for n in lateral]


def _fitting(half: tuple[int, ...], width: tuple[float, ...], image: Image, beads: list[Bead]) -> tuple[int, ...]:
    """Return the half size of the boxes, along z not larger than what most beads have around them."""
    if image.ndim == 2:
        return half
    room = int(np.median([min(bead.peak[0], image.shape[0] - 1 - bead.peak[0]) for bead in beads]))
    return max(min(half[0], room), min(half[0], round(1.5 * width[0]))), *half[1:]


def _without_lobes(scene: Scene, beads: list[Bead]) -> list[Bead]:
    """Drop maxima that belong to the PSF of a brighter bead; of other ones in its box both are a cluster."""
    kept: list[Bead] = []
    positions = np.empty((0, scene.image.ndim))
    for bead in beads:
        near = np.abs(positions - bead.peak)
        others = [kept[i] for i in np.nonzero((near <= scene.half).all(axis=1))[0]]
        if any(_is_lobe(bead, other, scene) for other in others):
            continue
        for one in [bead, *others] if others else []:
            one.status = "cluster"
        kept.append(bead)
        positions = np.vstack([positions, bead.peak])
    return kept


def _is_lobe(bead: Bead, other: Bead, scene: Scene) -> bool:
    share = bead.amplitude / other.amplitude
    lateral = np.abs(np.subtract(bead.peak, other.peak))[-2:]
    above = scene.image.ndim == 3 and bool((lateral <= np.array(scene.fwhm[-2:]) / 2).all())
    return share < (_AXIAL_LOBE if above else _LOBE)


def _judged(scene: Scene, beads: list[Bead]) -> list[Bead]:
    for bead in beads:
        core = scene.image[window(scene.image, bead.peak, tuple(max(1, round(w / 2)) for w in scene.fwhm))]
        if core.max() >= scene.limit:
            bead.status = "saturated"
        elif not is_inside(scene.image, bead.peak, scene.half):
            bead.status = "cut"
        elif bead.status == "used" and core.max() - scene.level < _BRIGHT * scene.noise:
            bead.status = "dim"
    return beads
