"""Rows, document and page of measured beads."""

from __future__ import annotations

import base64
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import image as png
from matplotlib.figure import Figure

from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.report.drawing import drawing_style, new_figure, picture
from ssi_pipeline.workbench.beads.bead import REASONS, Bead, window
from ssi_pipeline.workbench.beads.measure import Measured
from ssi_pipeline.workbench.beads.trend import field_dependence
from ssi_pipeline.workbench.facts import PsfFacts
from ssi_pipeline.workbench.figure import draw_psf
from ssi_pipeline.workbench.page import write_page

_GAMMA = 0.5
"""Square root: the wings of a bead are visible beside its peak."""


@dataclass(frozen=True)
class BeadReport:
    """What is said of measured beads; ``voxel_um``: with the axes of the image."""

    found: Measured
    psf: PsfFacts
    voxel_um: tuple[float, ...] | None

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes of the image."""
        return SPATIAL[-self.found.scene.image.ndim :]

    @property
    def unit(self) -> str:
        """Unit of widths."""
        return "µm" if self.voxel_um else "pixels"

    def widths(self, bead: Bead) -> tuple[float, ...]:
        """Return the widths of a bead in ``unit``."""
        return tuple(w * v for w, v in zip(bead.fwhm, self.voxel_um or (1.0,) * len(bead.fwhm), strict=False))

    def trends(self) -> list[str]:
        """Return how widths depend on the position."""
        return field_dependence(self.found.used, self.found.scene.image.shape, self.voxel_um)

    def rows(self) -> list[tuple[str, str]]:
        """Return name and value of each row."""
        counts = Counter(bead.status for bead in self.found.beads)
        rows = [("beads", f"{len(self.found.beads)} found, {counts['used']} used")]
        rows += [("rejected", f"{counts[s]}: {text}") for s, text in REASONS.items() if s != "used" and counts[s]]
        each = np.array([self.widths(bead) for bead in self.found.used])
        spread = ", ".join(
            f"{axis} {np.median(column):.3g} ({column.min():.3g} to {column.max():.3g})"
            for axis, column in zip(self.axes, each.T, strict=True)
        )
        rows.append(("FWHM of beads", f"median {spread} {self.unit}"))
        rows += [("over the field", line) for line in self.trends()]
        psf = [row for row in self.psf.rows() if row[0] in ("voxel", "size", "FWHM", "cut-off", "digest")]
        return [*rows, *psf, *(("note", note) for note in dict.fromkeys((*self.found.notes, *self.psf.notes)))]

    def bead_rows(self) -> list[tuple[str, str]]:
        """Return a row for each bead."""
        return [(f"bead {i}", f"{bead.status}: {self._caption(bead)}") for i, bead in enumerate(self.found.beads)]

    def document(self) -> dict[str, Any]:
        """Return the object of ``--json``."""
        return {
            "beads": [self._bead(i, bead) for i, bead in enumerate(self.found.beads)],
            "used": len(self.found.used),
            "box": [2 * h + 1 for h in self.found.scene.half],
            "field_dependence": self.trends(),
            "psf": self.psf.document(),
            "notes": list(self.found.notes),
        }

    def _bead(self, number: int, bead: Bead) -> dict[str, Any]:
        place = bead.centre or tuple(float(p) for p in bead.peak)
        return {
            "number": number,
            "status": bead.status,
            "position_px": dict(zip(self.axes, place, strict=True)),
            "amplitude": bead.amplitude,
            "background": bead.background if bead.centre else None,
            "fwhm_px": dict(zip(self.axes, bead.fwhm, strict=False)) or None,
            "fwhm_um": dict(zip(self.axes, self.widths(bead), strict=False)) or None if self.voxel_um else None,
        }

    def write_page(self, path: Path, title: str) -> None:
        """Write the page with every bead."""
        with drawing_style():
            psf = picture(draw_psf(self.psf), "Measured PSF")
            field = picture(self._field(), "Widths over the field")
        table = [self._bead(i, bead) for i, bead in enumerate(self.found.beads)]
        entries = [
            (i, bead.status, REASONS[bead.status], self._caption(bead), self._thumbnail(bead))
            for i, bead in enumerate(self.found.beads)
        ]
        write_page(
            path,
            "beads",
            title=title,
            rows=self.rows(),
            psf=psf,
            field=field,
            beads=entries,
            table=table,
            axes=self.axes,
            unit="um" if self.voxel_um else "px",
        )

    def _caption(self, bead: Bead) -> str:
        place = ", ".join(f"{axis} {p:.1f}" for axis, p in zip(self.axes, bead.centre or bead.peak, strict=True))
        widths = " x ".join(f"{w:.3g}" for w in self.widths(bead))
        return f"{place}; FWHM {widths} {self.unit}" if widths else place

    def _thumbnail(self, bead: Bead) -> str:
        """Return a PNG of a bead as the address of an image: its brightest planes y x and z x, side by side."""
        scene = self.found.scene
        box = scene.image[window(scene.image, bead.peak, scene.half)].astype(np.float64) - scene.level
        panels = [box] if box.ndim == 2 else [box.max(axis=0), _stretched(box.max(axis=1), self.voxel_um)]
        height = max(panel.shape[0] for panel in panels)
        spare = [height - panel.shape[0] for panel in panels]
        rows = [np.pad(panel, [(n // 2, n - n // 2), (0, 1)]) for panel, n in zip(panels, spare, strict=True)]
        shown = np.clip(np.hstack(rows) / max(float(box.max()), 1e-12), 0, 1) ** _GAMMA
        stream = io.BytesIO()
        png.imsave(stream, shown, cmap="inferno", vmin=0, vmax=1, format="png")
        return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()

    def _field(self) -> Figure:
        """Return a figure with a map of the field for the width along each axis."""
        count = len(self.axes)
        figure = new_figure(3.4 * count, 3.2)
        steps = self.voxel_um or (1.0,) * count
        for i, (axes, name) in enumerate(zip(figure.subplots(1, count, squeeze=False)[0], self.axes, strict=True)):
            used = self.found.used
            places = np.array([bead.centre for bead in used])
            points = axes.scatter(
                places[:, -1] * steps[-1],
                places[:, -2] * steps[-2],
                c=[self.widths(b)[i] for b in used],
                cmap="viridis",
            )
            size = [n * s for n, s in zip(self.found.scene.image.shape, steps, strict=True)]
            axes.set(title=f"FWHM along {name}, {self.unit}", xlim=(0, size[-1]), ylim=(size[-2], 0), aspect="equal")
            axes.set(xlabel=f"x, {self.unit}", ylabel=f"y, {self.unit}")
            figure.colorbar(points, ax=axes, shrink=0.8)
        return figure


def _stretched(plane: np.ndarray[Any, np.dtype[np.float64]], voxel_um: tuple[float, ...] | None) -> Any:
    """Return a section z x with rows repeated, so that z has the scale of x."""
    times = max(1, round(voxel_um[0] / voxel_um[-1])) if voxel_um else 1
    return np.repeat(plane, times, axis=0)
