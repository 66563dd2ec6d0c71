"""Describe the PSFs of a run for `ssi plan`: size, width, and the sampling that their optics ask for."""

from __future__ import annotations

from collections.abc import Iterator

from ssi_pipeline.config import ComputedPsf, PsfConfig, RunConfig
from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.physics.optics_checks import nyquist_um
from ssi_pipeline.physics.psf import Psf, VoxelSize
from ssi_pipeline.physics.psf_checks import widths
from ssi_pipeline.physics.psf_set import PsfSet

COARSE = 1.25
"""Voxel in units of the Nyquist sampling that is said to be coarse; 20 % of rounding and of doubt about the optics."""


def psf_rows(config: RunConfig, psfs: tuple[Psf | None, ...], voxel_um: VoxelSize | None) -> list[tuple[str, str]]:
    """Return the rows of the plan, name and value: for all channels, or for each that has a PSF of its own."""
    single = len(set(psfs)) == 1
    rows = []
    for c, psf in enumerate(psfs[:1] if single else psfs):
        of = "" if single else f"channel {c}: "
        rows.append(("PSF", of + _describe(psf, voxel_um, config.tiling.dimensions)))
        sampling = _sampling(config.psf_of(c), voxel_um, config.tiling.dimensions)
        if sampling:
            rows.append(("sampling", of + sampling))
    return rows


def _describe(psf: Psf | None, voxel_um: VoxelSize | None, dimensions: int) -> str:
    if psf is None:
        return "identity (denoising)"
    if isinstance(psf, PsfSet):
        return _describe_set(psf, dimensions)
    found = list(zip(SPATIAL, widths(psf), voxel_um or (0.0, 0.0, 0.0), strict=True))[3 - dimensions :]
    size = " x ".join(str(n) for n in psf.values.shape)
    text = f"{size} (z y x), FWHM {_times(w for _, w, _ in found)} pixels"
    if voxel_um is not None:
        text += f", {_times(w * size for _, w, size in found)} µm"
    return f"{text} ({' '.join(axis for axis, _, _ in found)})"


def _describe_set(psf: PsfSet, dimensions: int) -> str:
    each = [widths(psf.node(index)) for index in psf.node_indices]
    ranges = [(min(along), max(along)) for along in zip(*each, strict=True)][3 - dimensions :]
    size = " x ".join(str(n) for n in psf.values.shape)
    along = ", ".join(SPATIAL[axis] for axis in psf.varying)
    width = " x ".join(f"{low:.3g} to {high:.3g}" for low, high in ranges)
    axes = " ".join(SPATIAL[3 - dimensions :])
    return f"varies along {along}: {len(each)} of {size} (z y x), FWHM {width} pixels ({axes})"


def _sampling(section: PsfConfig, voxel_um: VoxelSize | None, dimensions: int) -> str:
    """Return Nyquist's sampling and the image's as a multiple of it; empty for a PSF without optics."""
    if not isinstance(section, ComputedPsf) or voxel_um is None:
        return ""
    axial, lateral = nyquist_um(section)
    limits = list(zip(SPATIAL, (axial, lateral, lateral), voxel_um, strict=True))[3 - dimensions :]
    text = ", ".join(f"{size / limit:.2f} x {limit:.3g} µm along {axis}" for axis, limit, size in limits)
    coarse = [axis for axis, limit, size in limits if size > COARSE * limit]
    advice = f": too coarse along {', '.join(coarse)}, detail between the voxels was not recorded" if coarse else ""
    return f"{text} (Nyquist for NA {section.numerical_aperture:g}, {section.wavelength_um:g} µm){advice}"


def _times(values: Iterator[float]) -> str:
    return " x ".join(f"{v:.3g}" for v in values)
