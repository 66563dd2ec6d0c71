"""PSFs to look at: those of a configuration, or a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import IdentityPsf, PsfConfig, RunConfig, VaryingPsf, load_config, parse_config, varies
from ssi_pipeline.config.changes import with_changes
from ssi_pipeline.config.psf_varying import words
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.physics.psf import Psf, VoxelSize
from ssi_pipeline.physics.psf_by_depth import whole_in_plane
from ssi_pipeline.physics.psf_file import read_psf_file
from ssi_pipeline.physics.psf_loader import load_psf
from ssi_pipeline.physics.psf_whole import cropped, finished, load_whole
from ssi_pipeline.workbench.facts import PsfFacts

_FILES = (".tif", ".tiff", ".npy", ".zarr")

_DEFAULT_Z = 1.0
"""Voxel size along z where a PSF is 2D: it is not used."""


def psfs_of(path: Path, changes: Sequence[str], voxel_um: tuple[float, ...] | None = None) -> list[PsfFacts]:
    """Return the PSFs of a configuration, one for each channel that has its own, or the one of a file.

    Parameters
    ----------
    path
        Configuration, or PSF: TIFF, npy, zarr.
    changes
        ``key=value`` in place of what the configuration says; of a file, keys of ``psf``.
    voxel_um
        Of a file, (z) y x; None: as it says itself.

    Raises
    ------
    ConfigError, InputError
        There is no PSF, or it cannot be meant.
    """
    if path.suffix.lower() in _FILES:
        return [_of_file(path, changes, voxel_um)]
    if voxel_um is not None:
        raise ConfigError("--voxel-size-um is for files and kinds: of a configuration, --set input.voxel_size_um=...")
    return of_config(load_config(path, changes))


def of_config(config: RunConfig) -> list[PsfFacts]:
    """Return the PSFs of a configuration; its image is opened for the voxel size.

    Raises
    ------
    ConfigError, InputError
        There is no PSF, or it cannot be meant.
    """
    from ssi_pipeline.storage.inputs.source import open_source, spec_of

    volume = open_source(spec_of(config.input)).volume
    found = []
    for index, section in enumerate(config.psf):
        name = f"channel {index}" if len(config.psf) > 1 else "all channels"
        place = (volume.voxel_size_um, config.tiling.dimensions, volume.shape[2:])
        if varies(section):
            found += describe_varying(name, section, *place)
        elif not isinstance(section, IdentityPsf):
            found.append(describe(name, section, *place))
    if not found:
        raise ConfigError("psf.kind is identity: there is no PSF to show")
    return found


def of_kind(kind: str, voxel_um: tuple[float, ...], changes: Sequence[str], given: dict[str, float]) -> PsfFacts:
    """Return a computed PSF without an image.

    Parameters
    ----------
    kind
        ``psf.kind``.
    voxel_um
        (z) y x: two numbers for a PSF of one plane.
    changes
        ``psf.key=value``.
    given
        Further options of ``psf``.
    """
    section = _section({"kind": kind, **given}, changes)
    return describe(kind, section, three_um(voxel_um), len(voxel_um))


def describe(
    name: str,
    section: PsfConfig,
    voxel_um: VoxelSize | None,
    dimensions: int,
    image_shape: Ints | None = None,
    array: NDArray[np.floating] | None = None,
) -> PsfFacts:
    """Return the facts of a PSF; ``array``: its values where they are in memory.

    Raises
    ------
    ConfigError, InputError
        It is no blur, or cannot be meant.
    """
    if isinstance(section, IdentityPsf) or isinstance(section, VaryingPsf) or varies(section):  # noqa: SIM101
        raise ConfigError(f"{name}: expected a PSF of one place, found kind {section.kind}, none or several")
    whole = load_whole(section, voxel_um, dimensions, image_shape, array)
    values, size, notes = whole
    return PsfFacts.of(name, section, Psf(cropped(values, 1.0), size, notes), finished(section, whole, image_shape))


def describe_varying(
    name: str, section: PsfConfig, voxel_um: VoxelSize | None, dimensions: int, image_shape: Ints
) -> list[PsfFacts]:
    """Return the facts of the PSFs of a section that varies: of each part, or of three depths.

    Raises
    ------
    ConfigError, InputError
        One cannot be meant, or together they do not fit the image.
    """
    load_psf(section, voxel_um, dimensions, image_shape)  # refuses what cannot be meant
    if isinstance(section, VaryingPsf):
        return [
            describe(f"{name}, {words(part.ranges)}", part.psf, voxel_um, dimensions, image_shape)
            for part in section.by
        ]
    found = []
    for plane in sorted({0, image_shape[0] // 2, image_shape[0] - 1}):
        fixed, whole = whole_in_plane(section, plane, voxel_um, dimensions, image_shape)
        used = finished(fixed, whole, image_shape)
        label = f"{name}, plane {plane} at a depth of {fixed.depth:g} µm"
        found.append(PsfFacts.of(label, fixed, Psf(cropped(whole[0], 1.0), *whole[1:]), used))
    return found


def _of_file(path: Path, changes: Sequence[str], voxel_um: tuple[float, ...] | None) -> PsfFacts:
    values, known = read_psf_file(path)
    section = _section({"kind": "file", "path": str(path.absolute())}, changes)
    if voxel_um is None and {"y", "x"} <= set(known) and (values.ndim == 2 or "z" in known):
        voxel_um = tuple(known[axis] for axis in SPATIAL[3 - values.ndim :])
    plane = getattr(section, "plane", None)
    dimensions = 2 if plane is not None else values.ndim
    return describe(path.name, section, three_um(voxel_um), dimensions)


def _section(psf: dict[str, Any], changes: Sequence[str]) -> PsfConfig:
    document: dict[str, Any] = {"input": {"path": "image"}, "output": {"path": "output.zarr"}, "psf": psf}
    if changes:
        document = with_changes(document, changes, lambda part: part)
    return parse_config(document, name="the PSF").psf[0]


def three_um(voxel_um: tuple[float, ...] | None) -> VoxelSize | None:
    """Return a voxel size z y x from (z) y x."""
    if voxel_um is None:
        return None
    z, y, x = (_DEFAULT_Z, *voxel_um)[-3:]
    return z, y, x
