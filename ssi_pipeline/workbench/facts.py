"""What a PSF is: size, widths, sampling, transfer function, what is cropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import ComputedPsf, FilePsf, GaussianPsf
from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.physics.optics_checks import nyquist_um
from ssi_pipeline.physics.psf import Psf, VoxelSize
from ssi_pipeline.run.psf_rows import COARSE
from ssi_pipeline.workbench.transfer import PASSED, Transfer, fine_widths, transfer_of

_LEAST_FWHM = 2.0
"""Pixels in a full width at half maximum below which a PSF is undersampled: the Nyquist sampling of an Airy disc has
2.06."""


@dataclass(frozen=True)
class PsfFacts:
    """A PSF as it is used, with the whole of it before it is cropped.

    Attributes
    ----------
    name
        Channel or file.
    section
        Its section of the configuration.
    whole, used
        Before and after the crop to ``energy``.
    transfer
        Of the whole.
    """

    name: str
    section: FilePsf | GaussianPsf | ComputedPsf
    whole: Psf
    used: Psf
    transfer: Transfer

    @classmethod
    def of(cls, name: str, section: FilePsf | GaussianPsf | ComputedPsf, whole: Psf, used: Psf) -> PsfFacts:
        """Return the facts of a PSF."""
        return cls(name, section, whole, used, transfer_of(whole.values, whole.voxel_size_um))

    @property
    def voxel_um(self) -> VoxelSize | None:
        """Voxel size z y x."""
        return self.used.voxel_size_um

    @property
    def axes(self) -> list[int]:
        """Positions in z y x of the axes along which it extends."""
        return [axis for axis, n in enumerate(self.whole.values.shape) if n > 1]

    @property
    def fwhm_px(self) -> tuple[float, ...]:
        """Full width at half maximum along z y x."""
        return fine_widths(self.used.values)

    @property
    def energy(self) -> float:
        """Share of the light of the whole that is in the box that is used."""
        kept = box_of(self.whole.values, self.used.values.shape)
        return float(kept.sum(dtype=np.float64) / self.whole.values.sum(dtype=np.float64))

    @property
    def nyquist_um(self) -> VoxelSize | None:
        """Nyquist sampling of its optics along z y x; None where these are unknown."""
        if not isinstance(self.section, ComputedPsf):
            return None
        axial, lateral = nyquist_um(self.section)
        return axial, lateral, lateral

    @property
    def notes(self) -> list[str]:
        """What is doubtful."""
        limits = self.nyquist_um
        if limits and self.voxel_um:
            sizes = self.voxel_um
            coarse = [axis for axis in self.axes if sizes[axis] > COARSE * limits[axis]]
            text = (
                f"the voxel is {self._by_axis(sizes, coarse)} µm, expected at most {self._by_axis(limits, coarse)} µm"
            )
        else:
            coarse = [axis for axis in self.axes if self.fwhm_px[axis] < _LEAST_FWHM]
            text = f"its FWHM is {self._by_axis(self.fwhm_px, coarse)} pixels, expected {_LEAST_FWHM:g} or more"
        lost = f"undersampled: {text}; detail between the voxels was not recorded"
        return [*self.used.notes, *([lost] if coarse else [])]

    def rows(self) -> list[tuple[str, str]]:
        """Return name and value of each row of the table."""
        unit = "/µm" if self.voxel_um else "/px"
        box, whole = _times(self.used.values.shape), _times(self.whole.values.shape)
        crop = "nothing is cropped" if box == whole else f"cropped from {whole}"
        rows = [
            ("PSF", self._optics()),
            ("size", f"{box} pixels (z y x), {crop}: {self.energy:.2%} of its light"),
            ("FWHM", f"{self._by_axis(self.fwhm_px)} pixels" + self._micrometres()),
        ]
        if self.voxel_um:
            rows.insert(1, ("voxel", f"{self._by_axis(self.voxel_um)} µm"))
        limits = self.nyquist_um
        if limits and self.voxel_um:
            ratios = tuple(v / n for v, n in zip(self.voxel_um, limits, strict=True))
            rows.append(("Nyquist", f"{self._by_axis(limits)} µm; the voxel is {self._by_axis(ratios)} times that"))
        cutoffs = tuple(self.transfer.cutoff(axis) for axis in range(3))
        ends = f"{self._by_axis(cutoffs)} {unit} at {PASSED:.0%}"
        if limits:
            ends += f"; of the optics {self._by_axis(tuple(0.5 / n for n in limits))}"
        ends += f"; of the voxels {self._by_axis(tuple(0.5 / v for v in self.voxel_um or (1.0, 1.0, 1.0)))}"
        return [*rows, ("cut-off", ends), ("digest", self.used.digest), *(("note", note) for note in self.notes)]

    def document(self) -> dict[str, Any]:
        """Return the object of ``--json``."""
        limits = self.nyquist_um
        fwhm = self.fwhm_px
        return {
            "name": self.name,
            "kind": self.section.kind,
            "shape": self.used.values.shape,
            "whole_shape": self.whole.values.shape,
            "voxel_size_um": self.voxel_um,
            "energy": self.energy,
            "fwhm_px": self._object(fwhm),
            "fwhm_um": self._object(tuple(w * v for w, v in zip(fwhm, self.voxel_um, strict=True)))
            if self.voxel_um
            else None,
            "nyquist_um": self._object(limits) if limits else None,
            "cutoff": self._object(tuple(self.transfer.cutoff(axis) for axis in range(3))),
            "cutoff_unit": "1/um" if self.voxel_um else "1/px",
            "digest": self.used.digest,
            "notes": self.notes,
        }

    def _object(self, values: tuple[float, ...]) -> dict[str, float]:
        return {SPATIAL[axis]: values[axis] for axis in self.axes}

    def _by_axis(self, values: tuple[float, ...], axes: Sequence[int] | None = None) -> str:
        """Return for instance ``z 0.2, y 0.1, x 0.1``."""
        return ", ".join(f"{SPATIAL[axis]} {values[axis]:.3g}" for axis in (self.axes if axes is None else axes))

    def _micrometres(self) -> str:
        if not self.voxel_um:
            return ""
        return f"; {self._by_axis(tuple(w * v for w, v in zip(self.fwhm_px, self.voxel_um, strict=True)))} µm"

    def _optics(self) -> str:
        given = self.section.model_dump(exclude={"kind", "energy", "support_um"}, exclude_none=True, mode="json")
        shown = ", ".join(f"{name} {value}" for name, value in given.items())
        return f"{self.section.kind}: {shown}"


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def box_of(values: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.floating]:
    """Return the central box of a shape."""
    cut = tuple(slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(values.shape, shape, strict=True))
    return values[cut]
