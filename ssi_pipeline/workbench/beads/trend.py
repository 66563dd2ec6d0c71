"""Say whether widths of beads depend on their position in the field."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.workbench.beads.bead import Bead

_LEAST_BEADS = 12

_CHANCE = 0.01
"""Probability of a rank correlation by chance, over all that are looked at, below which it is said."""


def field_dependence(beads: Sequence[Bead], shape: tuple[int, ...], unit_um: tuple[float, ...] | None) -> list[str]:
    """Return a line for each width that changes over the field; one line where none does, or beads are few.

    Parameters
    ----------
    beads
        Fitted ones.
    shape
        Of the image.
    unit_um
        Voxel size; None: widths are given in pixels.
    """
    from scipy.stats import spearmanr

    if len(beads) < _LEAST_BEADS:
        return [f"not tested: {len(beads)} beads, expected {_LEAST_BEADS} or more"]
    axes = SPATIAL[-len(shape) :]
    places = np.array([bead.centre for bead in beads])
    widths = np.array([bead.fwhm for bead in beads]) * np.array(unit_um or (1.0,) * len(shape))
    from_middle = np.hypot(*(places[:, -2:] - (np.array(shape[-2:]) - 1) / 2).T)
    against = [(f"along {axis}", places[:, i]) for i, axis in enumerate(axes)]
    against.append(("away from the middle of the field", from_middle))
    found = []
    for i, axis in enumerate(axes):
        for name, place in against:
            chance = float(spearmanr(place, widths[:, i]).pvalue)
            if chance * len(axes) * len(against) < _CHANCE:
                order = np.argsort(place)
                third = max(1, len(order) // 3)
                near, far = np.median(widths[order[:third], i]), np.median(widths[order[-third:], i])
                unit = "µm" if unit_um else "pixels"
                found.append(
                    f"the width along {axis} changes {name}: {near:.3g} to {far:.3g} {unit} "
                    f"(median of the first and last third, p = {chance:.1g})"
                )
    return found or ["none: no width changes along an axis, or from the middle of the field to its edge"]
