"""PSF section: the point spread functions in use."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib.colors import PowerNorm

from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.physics.psf_set import PsfSet
from ssi_pipeline.physics.widths import fwhm, profile_through_peak
from ssi_pipeline.report.drawing import new_figure, picture
from ssi_pipeline.report.facts import RunFacts
from ssi_pipeline.report.section import Section, render
from ssi_pipeline.report.words import sizes

_MOST = 8
_OF_SET = 4
"""PSFs shown of those that one varies between."""


def psf_section(facts: RunFacts) -> Section:
    """Draw central planes and list size and widths of each distinct PSF with its channels; of sets, some places."""
    users: dict[str, list[int]] = {}
    psfs: dict[str, Psf] = {}
    without = []
    for c in range(facts.context.plan.shape[1]):
        psf = facts.context.psf(c)
        if psf is None:
            without.append(c)
            continue
        users.setdefault(psf.digest, []).append(c)
        psfs[psf.digest] = psf
    shown = [(users[d], where, psf) for d, whole in psfs.items() for where, psf in _places(whole)]
    entries = [(_names(facts, c) + where, _rows(psf), _picture(psf, c)) for c, where, psf in shown[:_MOST]]
    html = render("psfs", entries=entries, without=_names(facts, without), left=max(0, len(shown) - _MOST))
    return Section("psf", "Point spread function", html)


def _places(psf: Psf) -> list[tuple[str, Psf]]:
    """Return a PSF, or some of those that it varies between, each with its place in words."""
    if not isinstance(psf, PsfSet):
        return [("", psf)]
    indices = psf.node_indices
    chosen = np.unique(np.linspace(0, len(indices) - 1, min(_OF_SET, len(indices))).round().astype(int))
    words = f" of {len(indices)} that vary along {', '.join(SPATIAL[axis] for axis in psf.varying)}"
    return [(f", at {psf.where(indices[i])} (one{words})", psf.node(indices[i])) for i in chosen]


def _names(facts: RunFacts, channels: list[int]) -> str:
    return ", ".join(facts.channel_name(c) for c in channels)


def _rows(psf: Psf) -> list[tuple[str, str]]:
    used = [axis for axis, n in enumerate(psf.values.shape) if n > 1] or [1, 2]
    voxel = psf.voxel_size_um
    widths = []
    for axis in used:
        width = fwhm(profile_through_peak(psf.values, axis))
        size = f" ({width * voxel[axis]:.3g} µm)" if voxel else ""
        widths.append(f"{'zyx'[axis]} {width:.2f} px{size}")
    rows = [
        ("size, z y x", f"{sizes(psf.values.shape)} px"),
        ("full width at half maximum", ", ".join(widths)),
        ("digest", psf.digest),
    ]
    if voxel:
        rows.insert(1, ("voxel size, z y x", " × ".join(f"{v:g}" for v in voxel) + " µm"))
    return rows


def _picture(psf: Psf, channels: list[int]) -> Markup:
    values = psf.values
    z, y, x = psf.radius
    planes = [("y x", values[z], 1, 2)]
    if values.shape[0] > 1:
        planes += [("z x", values[:, y], 0, 2), ("z y", values[:, :, x], 0, 1)]
    figure = new_figure(3.4 * len(planes), 3.0)
    voxel = psf.voxel_size_um or (1.0, 1.0, 1.0)
    norm = PowerNorm(0.5, 0, float(values.max()))
    panels = figure.subplots(1, len(planes), squeeze=False)[0]
    for axes, (name, plane, row, column) in zip(panels, planes, strict=True):
        h, w = psf.radius[row] + 0.5, psf.radius[column] + 0.5
        aspect = voxel[row] / voxel[column]
        image = axes.imshow(
            plane, cmap="viridis", norm=norm, interpolation="none", extent=(-w, w, h, -h), aspect=aspect
        )
        axes.set(title=f"central {name} plane", xlabel=f"{'zyx'[column]}, px", ylabel=f"{'zyx'[row]}, px")
    figure.colorbar(image, ax=list(panels), label="weight (square-root scale)", shrink=0.9)
    return picture(figure, f"Central planes of the PSF of channel {', '.join(map(str, channels))}")
