"""What an image says of itself and what the user says of the optics, as lines of a first configuration."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ssi_pipeline.commands.arguments import IMMERSIONS
from ssi_pipeline.config.template import Filling, Line, as_yaml
from ssi_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from ssi_pipeline.storage.inputs.facts import Facts

_COMPUTED = ("widefield", "gibson_lanni")
_KINDS = ("gaussian", *_COMPUTED, "identity")

_LEAST_PLANES = 8
"""Planes from which tiles span z with a PSF that is computed in 3D; fewer hold little of its axial spread."""

_WATER = 1.333
"""An aperture above it needs oil: glycerol and silicone objectives are rare and end below 1.35."""


def filling_for(options: argparse.Namespace, facts: Facts | None) -> Filling:
    """Return the lines of a configuration; a workflow (``--from``) keeps what neither image nor options say.

    Raises
    ------
    ConfigError
        The options of the PSF contradict each other.
    """
    given = {name: value for name in ("na", "wavelength_um", "immersion") if (value := getattr(options, name))}
    kind = _kind_of(options.psf, sorted(given))
    optics = facts.layout.optics if facts is not None else {}
    own, new = options.source is not None, options.psf or (facts is not None and options.source is None)
    psf = _psf(kind, given, optics, options) if new else {}
    if facts is None:
        return Filling(psf=psf)
    spans_z = kind in _COMPUTED and facts.volume.shape[2] >= _LEAST_PLANES and not own
    tiling = {"dimensions": Line("3", "2: each plane is processed on its own, faster; 3: tiles span z y x")}
    return Filling(
        input=_input(facts, kind in _COMPUTED or own, options.config.parent),
        output={"path": Line(as_yaml(f"{_stem(facts.path)}-deconvolved.zarr"), "OME-Zarr image")},
        psf=psf,
        tiling=tiling if spans_z else {},
    )


def _kind_of(psf: str | None, optics: list[str]) -> str:
    kind = "gaussian" if psf is None else psf if psf in _KINDS else "file"
    if kind == "file" and not Path(psf or "").is_file():
        raise ConfigError(f"--psf {psf}: expected {', '.join(_KINDS)}, or a file with a measured PSF (TIFF, npy)")
    if optics and kind not in _COMPUTED:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in optics)
        raise ConfigError(f"{named}: only a computed PSF needs them: expected --psf {' or '.join(_COMPUTED)}")
    return kind


def _input(facts: Facts, in_um: bool, folder: Path) -> dict[str, Line]:
    shape = " x ".join(str(n) for n in facts.volume.shape if n > 1)
    lines = {"path": Line(as_yaml(_from(facts.path, folder)), f"{facts.layout.format}, {facts.volume.describe()}")}
    if facts.scene is not None:
        lines["scene"] = Line(str(facts.scene), "image of a file with several", shown=True)
    if facts.unnamed:
        lines["path"] = Line(lines["path"].value, facts.layout.format)
        lines["axes"] = Line(
            None, f"order of the axes of {shape}, e.g. {facts.volume.axes}; the file does not name them"
        )
    sizes = {axis: f"{facts.known_um[axis]:g}" if axis in facts.known_um else "" for axis in facts.volume.axes}
    text = f"{{{', '.join(f'{axis}: {sizes[axis]}' for axis in 'zyx' if axis in sizes)}}}"
    lacking = ", ".join(facts.lacking_um)
    if not lacking:
        lines["voxel_size_um"] = Line(text, "micrometres, from the file", shown=True)
    elif in_um or facts.known_um:
        lines["voxel_size_um"] = Line(None, f"micrometres, {{z: 0.3, y: 0.1, x: 0.1}}; not in the file: {lacking}")
    return lines


def _psf(
    kind: str, given: Mapping[str, float], found: Mapping[str, float], options: argparse.Namespace
) -> dict[str, Line]:
    lines = {"kind": Line(kind, "or gaussian, widefield, gibson_lanni (computed), file (measured), identity (no blur)")}
    if kind == "gaussian":
        lines["fwhm_px"] = Line(None, "full width at half maximum in pixels, {y: 3.0, x: 3.0}; add z for 3D tiles")
    elif kind == "file":
        lines["path"] = Line(as_yaml(_from(Path(options.psf), options.config.parent)), "TIFF or npy, 2D or 3D")
    elif kind in _COMPUTED:
        na = given.get("na", found.get("na"))
        lines["numerical_aperture"] = _number("na", given, found, "of the objective, for instance 1.4")
        lines["wavelength_um"] = _number("wavelength_um", given, found, "emission, in micrometres, for instance 0.52")
        media = ", ".join(f"{name} {index:g}" for name, index in IMMERSIONS.items())
        index = _number("immersion", given, found, f"of the immersion: {media}")
        if index.value is None and na is not None and na > _WATER:
            index = Line(f"{IMMERSIONS['oil']:g}", "oil, as the aperture is above that of water")
        lines["refractive_index" if kind == "widefield" else "immersion_index"] = index
    return lines


def _number(name: str, given: Mapping[str, float], found: Mapping[str, float], comment: str) -> Line:
    if name in given:
        return Line(f"{given[name]:g}", comment.partition(",")[0].partition(":")[0])
    return Line(f"{found[name]:g}", "from the file") if name in found else Line(None, comment)


def _from(path: Path, folder: Path) -> str:
    """Return a path as seen from the configuration's folder: absolute where it is not below it."""
    whole, base = path.resolve(), folder.resolve()
    return os.path.relpath(whole, base) if whole.is_relative_to(base) else str(whole)


def _stem(path: Path) -> str:
    return path.name.partition(".")[0] or path.name
