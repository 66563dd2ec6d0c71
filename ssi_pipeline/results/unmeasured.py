"""Say what of a run was not measured: fill and masked pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.methods import UNMEASURED
from ssi_pipeline.results.finish import METHODS


def describe_fill(fills: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each channel with fill, or with areas of a constant value that are not taken for it.

    ``fills``: by channel, as in the calibration.
    """
    lines = []
    for c, fill in enumerate(fills):
        share = f"{100 * fill['share']:.3g} %"
        if fill["value"] is not None:
            rim = f", with {fill['rim']} pixel(s) around them" if fill["rim"] else ""
            lines.append(
                f"channel {c}: areas of the value {fill['value']:g} are fill{rim} ({share} of the samples): they "
                "count as not measured and are written as they are (input.fill: none solves them)"
            )
        elif fill["doubt"]:
            lines.append(f"channel {c}: {fill['doubt']} ({share} of the samples); if they are fill, set input.fill")
    return lines


def describe_unmeasured(metrics: Mapping[str, NDArray[np.float32]]) -> list[str]:
    """Return the share of the volume that is fill or masked, and the number of tiles; nothing without any."""
    shares = metrics.get("fill_share")
    if shares is None or not (shares > 0).any():
        return []
    some, whole = int((shares > 0).sum()), int((metrics["method"] == METHODS[UNMEASURED]).sum())
    return [
        f"about {100 * float(np.nanmean(shares)):.2g} % of the volume is fill or masked and is written as it was: part "
        f"of {some} of {shares.size} tiles; {whole} consist of it and were not solved"
    ]
