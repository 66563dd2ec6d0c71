"""Scenes with truth, measured as real microscopes do it: what a run has to restore, or to refuse."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Floats = NDArray[np.float64]

SIDE, MARGIN, WIDTH = 128, 24, 4.0
"""Pixels: side of an image, margin that is cut off (so that borders lie inside a scene), FWHM of the PSF."""

DARK, GAIN, READ = 100.0, 2.0, 1.5
"""Camera: offset in counts, counts per electron, read noise in electrons."""

SIGMA = WIDTH / 2.3548
GAUSSIAN = {"kind": "gaussian", "fwhm_px": {"y": WIDTH, "x": WIDTH}}
PHOTONS = {"dim": 90.0, "bright": 600.0}
_BACKGROUND = 20.0


@dataclass(frozen=True)
class Case:
    """An image (z) y x with its truth in the same units.

    ``psf``: section of the configuration, or an array that is written to a file. ``sections``: further sections.
    ``goal``: kind of the expected behaviour, a key of ``real_data.GOALS``. Truth is NaN where nothing was measured.
    """

    image: NDArray[Any]
    truth: Floats
    goal: str
    psf: dict[str, Any] | NDArray[np.float32] = field(default_factory=lambda: dict(GAUSSIAN))
    sections: dict[str, Any] = field(default_factory=dict)
    axes: str = "yx"


def light(seed: int, peak: float, shape: tuple[int, ...] = (SIDE, SIDE)) -> Floats:
    """Return photons per pixel before the blur, with a margin on each side of y and x: cells, fibres and points."""
    rng = np.random.default_rng((seed, 13))
    size = (*shape[:-2], shape[-2] + 2 * MARGIN, shape[-1] + 2 * MARGIN)
    field = [ndimage.gaussian_filter(rng.standard_normal(size), s) for s in (9.0, 7.0, 1.5)]
    large, curve, fine = (f / f.std() for f in field)
    scene = np.where(large > 0.8, 0.4 * peak * (1 + 0.3 * np.clip(fine, -2, 2)), 0.0)
    steep = np.sqrt(sum(d**2 for d in np.gradient(curve)))
    scene = np.where(np.abs(curve) < 0.6 * steep, 0.9 * peak, scene)  # the zero line, about a pixel wide
    points = rng.random(size) < 1e-3
    return np.asarray(scene + np.where(points, 4 * peak, 0.0) + _BACKGROUND)


def blurred(scene: Floats, width: float = WIDTH) -> Floats:
    """Return a scene as the PSF leaves it, in y and x."""
    return np.asarray(ndimage.gaussian_filter(scene, (0,) * (scene.ndim - 2) + (width / 2.3548,) * 2))


def camera(photons: Floats, seed: int) -> Floats:
    """Return counts, not rounded, of expected photons."""
    rng = np.random.default_rng((seed, 14))
    return np.asarray(GAIN * (rng.poisson(photons) + READ * rng.standard_normal(photons.shape)) + DARK)


def digitised(counts: Floats) -> NDArray[np.uint16]:
    """Return counts as a camera writes them."""
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


def inside(image: NDArray[Any]) -> NDArray[Any]:
    """Return the image without its margin."""
    return image[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


def shot(seed: int, peak: float) -> tuple[Floats, Floats]:
    """Return truth and measurement in counts, both with their margin."""
    scene = light(seed, peak)
    return GAIN * scene + DARK, camera(blurred(scene), seed)


def jpeg(counts: Floats) -> Floats:
    """Return counts after JPEG compression of quality 60 in 8 bits."""
    top = float(counts.max())
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.rint(counts / top * 255), 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer), np.float64) * top / 255


def demosaiced(counts: Floats) -> Floats:
    """Return counts with every other pixel, as in a chequerboard, replaced by the mean of its four neighbours."""
    y, x = np.indices(counts.shape)
    cross = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]) / 4
    return np.where((y + x) % 2 == 0, counts, ndimage.convolve(counts, cross))


def sheared(image: Floats) -> Floats:
    """Return an image sheared along x by bilinear interpolation, as a light sheet's stack is deskewed."""
    return np.asarray(ndimage.affine_transform(image, [[1, 0], [0.35, 1]], order=1, cval=0.0))


SMOOTHERS: dict[str, Callable[[Floats], Floats]] = {
    "mean of 2 x 2": lambda a: ndimage.uniform_filter(a, 2),
    "Gaussian, sigma .7": lambda a: ndimage.gaussian_filter(a, 0.7),
    "Gaussian, sigma 1": lambda a: ndimage.gaussian_filter(a, 1.0),
    "3 pixels along rows": lambda a: ndimage.uniform_filter1d(a, 3, axis=1),
}


def correlated(seed: int) -> Iterator[tuple[str, Case]]:
    """Yield images whose noise is correlated between pixels; linear filters act on the truth as well."""
    truth, image = shot(seed, PHOTONS["dim"])
    for name, smooth in SMOOTHERS.items():
        yield name, Case(digitised(inside(smooth(image))), inside(smooth(truth)), "correlated")
    yield "deskewed, bilinear", Case(digitised(inside(sheared(image))), inside(sheared(truth)), "correlated")
    yield "demosaiced", Case(digitised(inside(demosaiced(image))), inside(truth), "correlated")
    yield "JPEG, quality 60", Case(digitised(inside(jpeg(image))), inside(truth), "correlated")
    rows = np.random.default_rng((seed, 15)).normal(0, 12.0, (image.shape[0], 1))
    yield "offsets of rows", Case(digitised(inside(image + rows)), inside(truth), "correlated")


def filled(seed: int) -> Iterator[tuple[str, Case]]:
    """Yield images of which a part was never measured."""
    for name, peak in PHOTONS.items():
        truth, image = (inside(a) for a in shot(seed + 1, peak))
        y, x = np.indices(image.shape)
        wedge = y - x > 40
        for kind, value in (("black wedge", 0), ("the same as NaN", np.nan)):
            marked = np.where(wedge, value, digitised(image).astype(np.float32))
            typed = marked.astype(np.uint16) if value == 0 else marked.astype(np.float32)
            yield f"{kind}, {name}", Case(typed, np.where(wedge, np.nan, truth), "fill")
    truth, image = shot(seed + 2, PHOTONS["dim"])
    turned = [ndimage.rotate(a, 20, reshape=False, order=1, cval=0.0) for a in (image, truth)]
    seen = ndimage.rotate(np.ones_like(image), 20, reshape=False, order=1, cval=0.0) > 0.999
    at = np.s_[: SIDE + MARGIN, : SIDE + MARGIN]  # a corner, where the rotation leaves nothing
    yield "rotated", Case(digitised(turned[0][at]), np.where(seen, turned[1], np.nan)[at], "fill")


def faint(seed: int) -> Iterator[tuple[str, Case]]:
    """Yield counts of few photons, without offset or noise of a camera, and with them."""
    scene = light(seed + 3, PHOTONS["dim"])
    for mean in (1.0, 0.2, 0.05):
        photons = scene * mean / inside(scene).mean()
        counts = np.random.default_rng((seed, 16)).poisson(blurred(photons)).astype(np.uint16)
        yield f"{mean:g} photons", Case(inside(counts), inside(photons), "flux")
    photons = scene * 1.0 / inside(scene).mean()
    yield (
        "1 photon, camera",
        Case(digitised(inside(camera(blurred(photons), seed))), inside(GAIN * photons + DARK), "flux"),
    )


def spot(size: int, centre: tuple[int, int], pedestal: float = 0.0) -> NDArray[np.float32]:
    """Return a file's Gaussian PSF of peak 1000 on a pedestal."""
    values = np.zeros((size, size))
    values[centre] = 1
    values = ndimage.gaussian_filter(values, SIGMA)
    return (1000 * values / values.max() + pedestal).astype(np.float32)


def wrong_psfs(seed: int) -> Iterator[tuple[str, Case]]:
    """Yield images with a PSF that is not theirs."""
    truth, image = (inside(a) for a in shot(seed + 4, PHOTONS["dim"]))
    counts = digitised(image)
    for name, values in {
        "PSF 3 pixels off": spot(19, (6, 6)),
        "PSF in the corner": np.fft.ifftshift(spot(19, (9, 9))),
        "PSF on a pedestal": spot(33, (16, 16), pedestal=100.0),
    }.items():
        yield name, Case(counts, truth, "told before", values)
    for factor in (1.5, 2.0):
        wide = {"kind": "gaussian", "fwhm_px": {"y": factor * WIDTH, "x": factor * WIDTH}}
        yield f"PSF {factor:g} times too wide", Case(counts, truth, "told", wide)
    optics = {"kind": "widefield", "numerical_aperture": 1.4, "wavelength_um": 0.52}
    voxel = {"z": 0.2, "y": 0.1, "x": 0.1}
    nanometres = {axis: 1000 * size for axis, size in voxel.items()}
    yield (
        "wavelength in nm",
        Case(counts, truth, "refused", {**optics, "wavelength_um": 520}, {"input": {"voxel_size_um": voxel}}),
    )
    yield "voxels in nm", Case(counts, truth, "refused", optics, {"input": {"voxel_size_um": nanometres}})


def bright(seed: int) -> Iterator[tuple[str, Case]]:
    """Yield a bead far brighter than its scene."""
    scene = light(seed + 5, PHOTONS["dim"])
    scene[MARGIN + SIDE // 2, MARGIN + SIDE // 2] += 3e5
    yield "bright bead", Case(digitised(inside(camera(blurred(scene), seed))), inside(GAIN * scene + DARK), "bead")


def stacks(seed: int) -> Iterator[tuple[str, Case]]:
    """Yield stacks: of 24 planes with the right PSF, and of twelve, fewer than the PSF has."""
    wide = {"kind": "gaussian", "fwhm_px": {"z": 2 * WIDTH, "y": WIDTH, "x": WIDTH}}
    for name, planes, side in (("24 planes", 24, 64), ("12 planes, PSF of 29", 12, 64)):
        scene = light(seed + 6, PHOTONS["bright"], (planes + 16, side, side))
        blur = np.asarray(ndimage.gaussian_filter1d(blurred(scene), 2 * SIGMA, axis=0))
        image, truth = (inside(a)[8:-8] for a in (camera(blur, seed), GAIN * scene + DARK))
        sections = {"tiling": {"dimensions": 3}}
        yield name, Case(digitised(image), truth, "stack", wide, sections, "zyx")


def cases(seed: int = 0) -> Iterator[tuple[str, Case]]:
    """Yield name and case; ``seed``: of scenes and noise."""
    for name, peak in PHOTONS.items():
        truth, image = (inside(a) for a in shot(seed, peak))
        yield f"white noise, {name}", Case(digitised(image), truth, "control")
    for make in (correlated, filled, faint, wrong_psfs, bright, stacks):
        yield from make(seed)
