"""Describe the metrics of a run: number of flagged tiles, and what is wrong with a channel, by absolute limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.quality.alarms import count_alarms
from ssi_pipeline.results.causes import (
    LEVELS,
    LIGHT,
    MISFIT,
    NOISE,
    OTHERWISE,
    OVERFIT,
    SATURATED,
    likeliest,
    too_many_impulses,
    width_advice,
)
from ssi_pipeline.results.signs import PsfSigns, Signs, all_signs, signs_of_psf

_CHI2 = (0.7, 1.25)
"""With the right PSF 0.85 to 1.15, with one 1.5 times as wide 1.3 to 56 (two images, classical solvers)."""

_WHITENESS = 0.3
"""With the right PSF 0.1, with the wide one 0.4 to 12. A narrow PSF is not detected: a blurred estimate fits too."""

_LIGHT = 0.02
"""Share of the light that may be lost or gained: with the right PSF the predictions of wiener and tv_cg had
that of the measurement within about 0.005 (points and cells, 90 and 600 photons)."""

_CLIPPED = 0.2
"""Share of voxels outside the output's dtype that counts: linear solutions of dark scenes with the right PSF have up to
0.1 below 0, with one 1.5 times too wide 0.37."""


def describe_quality(
    metrics: Mapping[str, NDArray[np.float32]],
    channels: Sequence[Mapping[str, Any]] = (),
    psfs: Sequence[Psf | None] = (),
) -> list[str]:
    """Return the alarms and warnings for the end of a run; none if there are none.

    Parameters
    ----------
    metrics
        By name, on the tile grid (t c z y x).
    channels, psfs
        Calibration of each channel, as plain values, and its PSF. Causes that only they tell are not named without.
    """
    flag = metrics["flag"]
    counts = count_alarms(flag)
    lines = [f"alarms: {describe_alarms(int((flag > 0).sum()), int(flag.size), counts)}"] if counts else []
    return lines + _nonfinite(metrics) + channel_alarms(metrics, channels, psfs)


def _nonfinite(metrics: Mapping[str, NDArray[np.float32]]) -> list[str]:
    count = int((metrics["nonfinite"] > 0).sum()) if "nonfinite" in metrics else 0
    if not count:
        return []
    return [
        f"{count} of {metrics['nonfinite'].size} tiles contain NaN or infinite pixels: these are filled from their "
        "neighbours and have no weight in training (counts: `ssi export`; to refuse them: input.nonfinite: fail)"
    ]


def describe_alarms(flagged: int, tiles: int, counts: Mapping[str, int]) -> str:
    """Return the number of flagged tiles, and of each alarm."""
    each = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"{flagged} of {tiles} tiles flagged ({each}); `ssi export` lists them"


def channel_alarms(
    metrics: Mapping[str, NDArray[np.float32]],
    channels: Sequence[Mapping[str, Any]] = (),
    psfs: Sequence[Psf | None] = (),
) -> list[str]:
    """Return what is wrong with each channel by absolute limits, as in ``describe_quality``; one tile is enough.

    The alarms of tiles compare these with each other. Blank tiles do not count: without signal any PSF fits.
    """
    found = enumerate(all_signs(metrics, channels, psfs))
    return [f"channel {c}: {text}" for c, signs in found for text in _alarms(signs)]


def calibration_alarms(channels: Sequence[Mapping[str, Any]], psfs: Sequence[Psf | None]) -> list[str]:
    """Return what the calibration alone tells of each channel, for the start of a run.

    Correlated noise has a line of its own, and its spectrum is not known well enough to judge a width by it.
    """
    return [
        f"channel {c}: {width_alarm(float(channel['psf_width']), signs_of_psf(psf))}"
        for c, (channel, psf) in enumerate(zip(channels, psfs, strict=False))
        if (channel.get("psf_width") or 1) < 1 and channel.get("correlation") is None
    ]


def _alarms(signs: Signs) -> Iterator[str]:
    misfit = signs.chi2 > _CHI2[1] or signs.whiteness > _WHITENESS
    if misfit or signs.chi2 < _CHI2[0]:
        yield _residual(signs, misfit)
    if signs.psf_width < 1 and not misfit and not signs.correlated:
        yield width_alarm(signs.psf_width, signs.psf)
    if abs(signs.light - 1) > _LIGHT:
        yield (
            f"the estimate has {signs.light:.3g} times the light of the measurement, above the dark level: "
            f"{likeliest(LIGHT, LEVELS, signs)}"
        )
    yield from _ranges(signs)
    if signs.weight_at_end is not None:
        yield weight_note(signs.weight_at_end)


def _residual(signs: Signs, misfit: bool) -> str:
    """Return the alarm of a residual that is not the noise."""
    where = "in most tiles" if signs.most else "where it is worst"
    causes = likeliest(MISFIT, OTHERWISE, signs) if misfit else likeliest(OVERFIT, NOISE, signs)
    return (
        f"{where} the estimate does not fit the measurement (residual variance {signs.chi2:.3g} times that of the "
        f"noise, residual correlation {signs.whiteness:.3g}, expected 0): {causes}"
    )


def _ranges(signs: Signs) -> Iterator[str]:
    """Yield the alarms of values beyond a range: of the output, or of the sensor."""
    if signs.clipped_light > _LIGHT:
        yield f"{signs.clipped_light:.1%} of the light is above the output's range, clipped: set output.dtype: float32"
    if signs.clipped > _CLIPPED:
        yield f"{signs.clipped:.1%} of the voxels are outside the output's range and clipped: set output.dtype: float32"
    if signs.saturated > SATURATED:
        yield (
            f"{signs.saturated:.2%} of the pixels are saturated: they count as at least that bright, and what the "
            "estimate has there is a guess; expose less"
        )
    if too_many_impulses(signs):
        yield (
            f"{signs.impulses:.1%} of the pixels are taken for hot or dead pixels, with {signs.impulse_light:.0%} of "
            "the light: if they are signal, set sensor.impulse_share: 0"
        )


def width_alarm(factor: float, psf: PsfSigns | None) -> str:
    """Return the alarm of a PSF that is too wide; ``factor``: the largest width that fits."""
    return (
        f"the PSF is too wide: the image has detail that it would not pass, and only a PSF of at most {factor:.2g} "
        f"times its width fits (unless the object is a regular lattice or grating): {width_advice(psf)}"
    )


def weight_note(end: str) -> str:
    """Return the note on a tuned weight that is the last of its candidates."""
    if end == "smoothest":
        return (
            "the weight was tuned to the smoothest of its candidates: the samples are nearly noise alone, or smoother "
            "than the PSF; to choose another: classical.weight or classical.iterations"
        )
    return (
        "the weight was tuned to the sharpest of its candidates: the image has hardly any noise, or its noise is "
        "correlated; to choose another: classical.weight or classical.iterations"
    )
