"""Name the causes of a channel's alarms, the likeliest first: a table of signs, cause and remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ssi_pipeline.results.signs import PsfSigns, Signs

PEDESTAL = 0.05
"""Share of a PSF's light in its border's level above which it is a pedestal: computed widefield PSFs cut off at 95 to
99.5 % of their light have up to 0.005, Gaussian ones 0.001."""

OFF_CENTRE = 1.0
"""Pixels of the peak from the middle: the estimate is shifted by that."""

SATURATED = 1e-3
"""Share of saturated pixels that counts; not measured: a tenth of a percent of an image is worth a line."""

IMPULSES = 0.01
"""Share of impulses that counts: images of few points and cells with the right PSF had 0.002."""

IMPULSE_LIGHT = 0.02
"""Share of the light in impulses that counts: as for the light that is lost."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause: the signs that make it likely, and what to say."""

    likely: Callable[[Signs], bool]
    text: Callable[[Signs], str]


def _psf(test: Callable[[PsfSigns], bool]) -> Callable[[Signs], bool]:
    return lambda signs: signs.psf is not None and test(signs.psf)


def width_advice(psf: PsfSigns | None) -> str:
    """Return what to check where the PSF has a wrong width."""
    found = "" if psf is None else f" (FWHM {psf.fwhm_px[0]:.3g} x {psf.fwhm_px[1]:.3g} pixels, y x)"
    return f"check the PSF's width{found}, voxel size and units, aperture and wavelength"


def too_many_impulses(signs: Signs) -> bool:
    """Return whether impulses are so many, and hold so much light, that they are signal."""
    return signs.impulses > IMPULSES and signs.impulse_light > IMPULSE_LIGHT


MISFIT = (
    Cause(
        lambda s: s.correlated,
        lambda _: (
            "the noise is correlated between pixels, and the PSF need not be wrong: see sensor.correlation, or "
            "give the image as the camera took it"
        ),
    ),
    Cause(
        _psf(lambda p: p.off_centre > OFF_CENTRE),
        lambda s: (
            f"the PSF's peak is {s.psf.off_centre if s.psf else 0:.3g} pixels from the middle of its array: set "
            "psf.center: peak"
        ),
    ),
    Cause(
        _psf(lambda p: p.pedestal > PEDESTAL),
        lambda s: (
            f"the PSF has a pedestal ({s.psf.pedestal if s.psf else 0:.0%} of its light is the level of its "
            "border): set psf.background: border"
        ),
    ),
    Cause(
        lambda s: s.psf_width < 1,
        lambda s: f"the PSF is too wide: the image has detail that it would not pass; {width_advice(s.psf)}",
    ),
    Cause(
        lambda s: s.linear and s.psf is not None and s.psf.planes > 1,
        lambda s: (
            "the linear solution cannot fit where the PSF passes no detail along z (widefield): use solver tv_cg "
            f"or ssi, which are not linear; if they do not fit either, {width_advice(s.psf)}"
        ),
    ),
    Cause(
        lambda s: s.linear and s.psf is not None and s.psf.planes == 1 and s.psf_width >= 1,
        lambda s: (
            "either the linear solution, which smooths points far above the noise: compare with solver tv_cg or ssi, "
            f"which are not linear; or, if they do not fit either, the PSF: {width_advice(s.psf)}"
        ),
    ),
    Cause(too_many_impulses, lambda _: "light is taken for hot pixels: set sensor.impulse_share: 0"),
    Cause(
        lambda s: s.saturated > SATURATED,
        lambda s: f"{s.saturated:.1%} of the pixels are saturated and count as at least that bright: expose less",
    ),
)
"""Causes of a residual that is not noise; the first whose signs are there is the likeliest."""

OTHERWISE = Cause(lambda _: True, lambda s: f"{width_advice(s.psf)}; correlated noise is another possible cause")
"""Where no sign tells."""

OVERFIT = (
    Cause(
        lambda s: s.correlated,
        lambda _: "the noise is correlated between pixels, which hides it from the residual: see sensor.correlation",
    ),
    Cause(
        lambda s: s.weight_at_end == "sharpest",
        lambda _: "the weight is the least of its candidates, so that noise is fitted: set classical.weight",
    ),
)
"""Causes of a residual that is less than the noise."""

NOISE = Cause(
    lambda _: True,
    lambda _: (
        "the noise is overestimated, or the image was denoised before: set sensor.sigma and sensor.alpha, or "
        "give the image as the camera took it"
    ),
)

LIGHT = (
    Cause(
        too_many_impulses,
        lambda s: (
            f"{s.impulses:.1%} of the pixels are taken for hot or dead pixels, with {s.impulse_light:.0%} of the "
            "light: lone photons; set sensor.impulse_share: 0"
        ),
    ),
    Cause(
        lambda s: s.saturated > SATURATED,
        lambda s: f"{s.saturated:.1%} of the pixels are saturated, where the estimate is brighter than the report",
    ),
    Cause(lambda s: s.psf_width < 1, lambda s: f"the PSF is too wide; {width_advice(s.psf)}"),
)
"""Causes of light that is lost or gained."""

LEVELS = Cause(
    lambda _: True,
    lambda _: "the dark level or the PSF does not fit: set sensor.offset to the camera's dark level, and check the PSF",
)


def likeliest(causes: tuple[Cause, ...], otherwise: Cause, signs: Signs) -> str:
    """Return the likeliest cause, and then the others whose signs are there."""
    found = [cause.text(signs) for cause in causes if cause.likely(signs)] or [otherwise.text(signs)]
    also = f" (also possible: {'; '.join(found[1:])})" if found[1:] else ""
    return f"{found[0]}{also}"
