"""Say what of a run was not measured: fill and masked pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.geometry import TilePlan
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


def describe_unmeasured(metrics: Mapping[str, NDArray[np.float32]], plan: TilePlan) -> list[str]:
    """Return the share of the volume that is fill or masked, and the number of tiles; nothing without any.

    ``metrics``: by name, on the tile grid (t c z y x); tiles that are not done do not count.
    """
    shares = metrics.get("fill_share")
    if shares is None or not (shares > 0).any():
        return []
    some, whole = int((shares > 0).sum()), int((metrics["method"] == METHODS[UNMEASURED]).sum())
    known = np.isfinite(shares)
    voxels = np.broadcast_to(_core_voxels(plan), shares.shape)[known]
    part = float((voxels * shares[known]).sum() / voxels.sum())
    return [
        f"{100 * part:.3g} % of the volume is fill or masked and is written as it was: in {some} of "
        f"{int(known.sum())} tiles, of which {whole} consist of it and were not solved"
    ]


def _core_voxels(plan: TilePlan) -> NDArray[np.float64]:
    """Return the voxels of each core (z y x): those at the end of an axis are smaller."""
    grid = zip(plan.tile_grid[2:], plan.core, plan.extent, strict=True)
    z, y, x = (np.minimum(core, extent - core * np.arange(n)).astype(np.float64) for n, core, extent in grid)
    return z[:, None, None] * y[:, None] * x
