"""Describe the metrics of a run: number of flagged tiles, and whether the PSF fits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.quality.alarms import count_alarms
from ssi_pipeline.results.finish import METHODS

_CHI2 = 1.25
"""With the right PSF 0.85 to 1.15, with one 1.5 times as wide 1.3 to 56 (two images, classical solvers)."""

_WHITENESS = 0.3
"""With the right PSF 0.1, with the wide one 0.4 to 12. A narrow PSF is not detected: a blurred estimate fits too."""


def describe_quality(metrics: Mapping[str, NDArray[np.float32]]) -> list[str]:
    """Return the alarms and warnings for the end of a run; none if there are none."""
    flag = metrics["flag"]
    counts = count_alarms(flag)
    lines = [f"alarms: {describe_alarms(int((flag > 0).sum()), int(flag.size), counts)}"] if counts else []
    return lines + _nonfinite(metrics) + psf_doubts(metrics)


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


def psf_doubts(metrics: Mapping[str, NDArray[np.float32]]) -> list[str]:
    """Return a warning for each channel whose residuals are large in most tiles; alarms compare tiles with each other.

    Blank tiles do not count: without signal any PSF fits.
    """
    lines = []
    full = metrics["method"] != METHODS["blank"] if "method" in metrics else np.ones(metrics["status"].shape, bool)
    for c in range(metrics["status"].shape[1]):
        chi2, white = (_median(metrics[name][:, c][full[:, c]]) for name in ("chi2", "whiteness"))
        if chi2 > _CHI2 or white > _WHITENESS:
            lines.append(
                f"channel {c}: in most tiles the estimate does not fit the measurement (residual variance "
                f"{chi2:.3g} times that of the noise, residual correlation {white:.3g}, expected 0): check the PSF's "
                "width, voxel size and units; correlated noise is another possible cause"
            )
    return lines


def _median(values: NDArray[np.float32]) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else 0.0
