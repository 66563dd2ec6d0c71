"""Picture of a PSF: sections with the crop, profiles, and the transfer function."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.physics.widths import profile_through_peak
from ssi_pipeline.report.drawing import BLUE, GREY, ORANGE, new_figure
from ssi_pipeline.workbench.facts import PsfFacts
from ssi_pipeline.workbench.transfer import PASSED

_FAINTEST = 1e-4
"""Share of the peak that is still drawn."""

_COLOURS = (ORANGE, GREY, BLUE)
"""Of z y x."""


def draw_psf(facts: PsfFacts) -> Figure:
    """Return a figure of two rows: sections through the middle; profiles and transfer function."""
    deep = 0 in facts.axes
    figure = new_figure(10.0, 6.4)
    panels = figure.subplots(2, 3)
    sections = [(1, 2), (0, 2), (0, 1)] if deep else [(1, 2)]
    for axes, (row, column) in zip(panels[0], sections, strict=False):
        image = _section(axes, facts, row, column)
    figure.colorbar(image, ax=list(panels[0]), label="share of the peak", shrink=0.9)
    for axes in panels[0][len(sections) :]:
        axes.set_visible(False)
    _profiles(panels[1][0], facts)
    _transfer_section(panels[1][1], facts, deep)
    _transfer_profiles(panels[1][2], facts)
    return figure


def _section(axes: Axes, facts: PsfFacts, row: int, column: int) -> AxesImage:
    values = facts.whole.values
    (other,) = {0, 1, 2} - {row, column}
    plane = np.take(values, values.shape[other] // 2, other)
    steps = facts.voxel_um or (1.0, 1.0, 1.0)
    half = [values.shape[axis] * steps[axis] / 2 for axis in (row, column)]
    peak = float(values.max())
    image = axes.imshow(
        np.maximum(plane, _FAINTEST * peak) / peak,
        cmap="inferno",
        norm=LogNorm(_FAINTEST, 1),
        interpolation="none",
        extent=(-half[1], half[1], half[0], -half[0]),
        aspect="equal",
    )
    box = [facts.used.values.shape[axis] * steps[axis] / 2 for axis in (row, column)]
    if facts.used.values.shape != values.shape:
        axes.add_patch(
            Rectangle((-box[1], -box[0]), 2 * box[1], 2 * box[0], fill=False, edgecolor="#ffffff", linestyle="--")
        )
    unit = "µm" if facts.voxel_um else "pixels"
    names = SPATIAL[row], SPATIAL[column]
    axes.set(title=f"{names[0]} {names[1]} section", xlabel=f"{names[1]}, {unit}", ylabel=f"{names[0]}, {unit}")
    return image


def _profiles(axes: Axes, facts: PsfFacts) -> None:
    steps = facts.voxel_um or (1.0, 1.0, 1.0)
    for axis in facts.axes:
        profile = profile_through_peak(facts.whole.values, axis)
        at = (np.arange(profile.size) - profile.size // 2) * steps[axis]
        width = facts.fwhm_px[axis] * steps[axis]
        style = "--" if axis == 1 else "-"
        axes.plot(at, profile / profile.max(), style, color=_COLOURS[axis], label=f"{SPATIAL[axis]} {width:.3g}")
    axes.axhline(0.5, color=GREY, linewidth=0.6, linestyle=":")
    unit = "µm" if facts.voxel_um else "pixels"
    axes.set(
        title=f"profiles through the peak, FWHM in {unit}",
        xlabel=f"distance, {unit}",
        yscale="log",
        ylim=(_FAINTEST, 30),
    )
    axes.legend(fontsize=8, loc="upper center", ncols=3, handlelength=1.5)


def _transfer_section(axes: Axes, facts: PsfFacts, deep: bool) -> None:
    modulus = facts.transfer.modulus
    row, column = (0, 2) if deep else (1, 2)
    plane = np.take(modulus, modulus.shape[1 if deep else 0] // 2, 1 if deep else 0)
    ends = [float(facts.transfer.frequencies[axis][-1]) for axis in (row, column)]
    axes.imshow(
        np.maximum(plane, _FAINTEST),
        cmap="viridis",
        norm=LogNorm(_FAINTEST, 1),
        interpolation="none",
        extent=(-ends[1], ends[1], ends[0], -ends[0]),
        aspect="auto",
    )
    unit = "cycles / µm" if facts.voxel_um else "cycles / pixel"
    names = SPATIAL[row], SPATIAL[column]
    axes.set(title="transfer function (log)", xlabel=f"along {names[1]}, {unit}", ylabel=f"along {names[0]}, {unit}")


def _transfer_profiles(axes: Axes, facts: PsfFacts) -> None:
    limits = facts.nyquist_um
    for axis in facts.axes:
        frequencies, level = facts.transfer.profile(axis)
        style = "--" if axis == 1 else "-"
        axes.plot(frequencies, np.maximum(level, _FAINTEST / 10), style, color=_COLOURS[axis], label=SPATIAL[axis])
        if limits and axis != 1:
            axes.axvline(0.5 / limits[axis], color=_COLOURS[axis], linewidth=0.8, linestyle=":")
    axes.axhline(PASSED, color=GREY, linewidth=0.6)
    unit = "cycles / µm" if facts.voxel_um else "cycles / pixel"
    title = "transfer by axis; dotted: end of the optics" if limits else "transfer by axis"
    axes.set(title=title, xlabel=f"frequency, {unit}", yscale="log", ylim=(_FAINTEST, 1.5))
    axes.legend(fontsize=8, loc="upper right")
