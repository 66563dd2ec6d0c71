"""What a run's metrics say, in words: how many tiles stand out, and whether the PSF can be right."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.quality.alarms import count_alarms
from ssi_pipeline.results.finish import METHODS

_CHI2 = 1.25
"""With the right PSF 0.85 to 1.15, with one 1.5 times as wide 1.3 to 56 (two images, classical solvers)."""

_WHITENESS = 0.3
"""With the right PSF 0.1, with the wide one 0.4 to 12. One too narrow is not seen: a blurred estimate explains all."""


def describe_quality(metrics: Mapping[str, NDArray[np.float32]]) -> list[str]:
    """Return the lines that a run ends with: alarms, and what is off everywhere; none where all is well."""
    flag = metrics["flag"]
    counts = count_alarms(flag)
    lines = [f"alarms: {describe_alarms(int((flag > 0).sum()), int(flag.size), counts)}"] if counts else []
    return lines + _nonfinite(metrics) + psf_doubts(metrics)


def _nonfinite(metrics: Mapping[str, NDArray[np.float32]]) -> list[str]:
    count = int((metrics["nonfinite"] > 0).sum()) if "nonfinite" in metrics else 0
    if not count:
        return []
    return [
        f"{count} of {metrics['nonfinite'].size} tiles read NaN or infinite pixels: these are restored from the pixels "
        "around them, and have no weight in training (`ssi export` has the counts; input.nonfinite: fail refuses them)"
    ]


def describe_alarms(flagged: int, tiles: int, counts: Mapping[str, int]) -> str:
    """Return the number of tiles that stand out, and of each alarm."""
    each = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"{flagged} of {tiles} tiles stand out ({each}); `ssi export` lists them"


def psf_doubts(metrics: Mapping[str, NDArray[np.float32]]) -> list[str]:
    """Return a sentence for each channel whose residuals are off everywhere: alarms see only what differs.

    Blank tiles do not count: where there is nothing, any PSF explains it.
    """
    lines = []
    full = metrics["method"] != METHODS["blank"] if "method" in metrics else np.ones(metrics["status"].shape, bool)
    for c in range(metrics["status"].shape[1]):
        chi2, white = (_median(metrics[name][:, c][full[:, c]]) for name in ("chi2", "whiteness"))
        if chi2 > _CHI2 or white > _WHITENESS:
            lines.append(
                f"channel {c}: in most tiles the estimate does not explain the measurement (residual {chi2:.3g} times "
                f"the noise's variance, correlation {white:.3g} where noise has 0): the PSF probably does not fit, "
                "check its width, voxel size and units; or the noise is correlated"
            )
    return lines


def _median(values: NDArray[np.float32]) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else 0.0
