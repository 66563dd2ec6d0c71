"""Gather what a channel's metrics, calibration and PSF say about it: the signs that alarms and causes are based on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.methods import UNMEASURED
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.physics.widths import fwhm, profile_through_peak
from ssi_pipeline.results.finish import METHODS, STATUSES

Metrics = Mapping[str, NDArray[np.float32]]

SIGN_METRICS = (
    "status",
    "method",
    "chi2",
    "whiteness",
    "light_ratio",
    "impulse_light",
    "impulses",
    "clipped_share",
    "clipped_light",
    "saturated_share",
)
"""Metrics that are read."""

_WITHOUT_SIGNAL = ("blank", "constant", UNMEASURED)
"""Methods of tiles that do not count: any PSF fits them."""

FEWEST_TILES = 8
"""Fewest tiles whose median is the channel's: of fewer the worst one counts, as each is a large part of the image."""


@dataclass(frozen=True, slots=True)
class PsfSigns:
    """Signs of a PSF.

    ``fwhm_px``: along y and x. ``pedestal``: share of the light in a level that its whole border has. ``off_centre``:
    distance in pixels of the peak from the middle. ``planes``: along z.
    """

    fwhm_px: tuple[float, float]
    pedestal: float
    off_centre: float
    planes: int


@dataclass(frozen=True, slots=True)
class Signs:
    """Signs of one channel. Tiles of noise alone, of one value and of fill do not count; NaN where nothing is known.

    ``chi2``, ``whiteness``: of most tiles, or of the worst of a few; ``most``: which. ``light``: light of the
    prediction over that of the measurement. ``clipped``: share of voxels outside the output's dtype,
    ``clipped_light``: of light above it. ``impulses``, ``impulse_light``: share of pixels and of light.
    ``saturated``: share of voxels at the tiles' highest value, 0 without a sensor limit. ``correlated``: the noise is.
    ``psf_width``, ``weight_at_end``: as in the calibration. ``linear``: most tiles have the linear solution.
    """

    chi2: float
    whiteness: float
    most: bool
    light: float
    clipped: float
    clipped_light: float
    impulses: float
    impulse_light: float
    saturated: float
    correlated: bool
    psf_width: float
    weight_at_end: str | None
    linear: bool
    psf: PsfSigns | None


def signs_of(metrics: Metrics, c: int, channel: Mapping[str, Any], psf: Psf | None) -> Signs:
    """Return the signs of a channel.

    Parameters
    ----------
    metrics
        By name, on the tile grid (t c z y x); absent ones are unknown.
    c
        Index of the channel.
    channel
        Its calibration, as plain values; may be empty.
    psf
        Its PSF; None for no blur.
    """
    counted = metrics["status"][:, c] == STATUSES["done"]
    if "method" in metrics:
        counted &= ~np.isin(metrics["method"][:, c], [METHODS[name] for name in _WITHOUT_SIGNAL])
    tiles = {name: _finite(values[:, c][counted]) for name, values in metrics.items()}

    def typical(name: str, expected: float = 0.0) -> float:
        """Return the median of a metric, or of few tiles the value that is furthest from the expected one."""
        values = tiles.get(name, _NONE)
        if not values.size:
            return np.nan
        worst = values[np.argmax(np.abs(values - expected))]
        return float(np.median(values) if values.size >= FEWEST_TILES else worst)

    def mean(name: str) -> float:
        """Return the mean of a metric."""
        values = tiles.get(name, _NONE)
        return float(values.mean()) if values.size else np.nan

    width = channel.get("psf_width")
    return Signs(
        chi2=typical("chi2", 1.0),
        whiteness=typical("whiteness"),
        most=int(counted.sum()) >= FEWEST_TILES,
        light=typical("light_ratio", 1.0),
        clipped=mean("clipped_share"),
        clipped_light=typical("clipped_light"),
        impulses=mean("impulses"),
        impulse_light=mean("impulse_light"),
        saturated=mean("saturated_share") if channel.get("clip_high") is not None else 0.0,
        correlated=channel.get("correlation") is not None,
        psf_width=np.nan if width is None or not counted.any() else float(width),
        weight_at_end=channel.get("weight_at_end") if counted.any() else None,
        linear=2 * int((tiles.get("method", _NONE) == METHODS["wiener"]).sum()) > int(counted.sum()),
        psf=signs_of_psf(psf),
    )


def signs_of_psf(psf: Psf | None) -> PsfSigns | None:
    """Return the signs of a PSF; None for no blur."""
    if psf is None:
        return None
    values = psf.values
    border = np.ones(values.shape, bool)
    border[tuple(slice(1, -1) if n > 2 else slice(None) for n in values.shape)] = False
    level = float(np.min(values[border])) if border.any() else 0.0
    peak = np.unravel_index(int(values.argmax()), values.shape)
    distance = float(np.linalg.norm([p - n // 2 for p, n in zip(peak, values.shape, strict=True)]))
    y, x = (fwhm(profile_through_peak(values, axis)) for axis in (1, 2))
    return PsfSigns((y, x), max(level, 0.0) * values.size / float(values.sum()), distance, values.shape[0])


_NONE = np.zeros(0, np.float32)


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values[np.isfinite(values)]


def all_signs(metrics: Metrics, channels: Sequence[Mapping[str, Any]], psfs: Sequence[Psf | None]) -> list[Signs]:
    """Return the signs of every channel; channels without calibration or PSF have none of these."""
    count = metrics["status"].shape[1]
    known = [*channels, *({} for _ in range(count))][:count]
    given = [*psfs, *(None for _ in range(count))][:count]
    return [signs_of(metrics, c, channel, psf) for c, (channel, psf) in enumerate(zip(known, given, strict=True))]
