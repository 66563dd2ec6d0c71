"""The PSF as an argument: an array, a file, a width, a model or a section of a configuration; a list: by channel."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from ssi_pipeline.config import COMPUTED_KINDS, PsfConfig
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.physics.psf_file import read_psf_file
from ssi_pipeline.psf import MeasuredPsf, by_axis, varying

OnePsf = NDArray[Any] | str | os.PathLike[str] | float | tuple[float, ...] | Mapping[str, Any] | PsfConfig | MeasuredPsf
PsfArgument = OnePsf | list[Any]

_EXPECTED = (
    "expected an array (z) y x, the path of a TIFF or npy file, a full width at half maximum (a number, or a tuple "
    "(z) y x), ssi.psf.gaussian(...) and the like, or a list of these with one for each channel"
)


def psf_document(psf: PsfArgument, in_um: bool) -> tuple[list[dict[str, Any]], list[NDArray[Any] | Psf | None]]:
    """Return the sections ``psf`` of a configuration, and for each its values where they are in memory.

    ``in_um``: widths are in micrometres, else in pixels.

    Raises
    ------
    ConfigError
        An argument is no PSF.
    """
    pairs = [_one(item, in_um) for item in (psf if isinstance(psf, list) else [psf])]
    return [section for section, _ in pairs], [values for _, values in pairs]


def has_depth(sections: Sequence[Mapping[str, Any]], arrays: Sequence[Any], voxel_size_known: bool) -> bool:
    """Return whether every PSF extends along z."""
    return all(_has_depth(*pair, voxel_size_known) for pair in zip(sections, arrays, strict=True))


def _has_depth(section: Mapping[str, Any], values: Any, voxel_size_known: bool) -> bool:
    kind = section.get("kind")
    if isinstance(values, Psf):
        return bool(values.values.shape[0] > 1)
    if kind == "file":
        shape = np.shape(read_psf_file(Path(section["path"]))[0] if values is None else values)
        return len(shape) == 3 and section.get("plane") is None
    if kind == "gaussian":
        return "z" in (section.get("fwhm_um") or section.get("fwhm_px") or {})
    if kind == "varying":
        return all(_has_depth(part["psf"], None, voxel_size_known) for part in section["by"])
    return kind in COMPUTED_KINDS and voxel_size_known


def _one(psf: Any, in_um: bool) -> tuple[dict[str, Any], NDArray[Any] | Psf | None]:
    if isinstance(psf, MeasuredPsf):
        return {**psf.section.model_dump(mode="json"), "path": "array"}, _array(psf.values)
    if isinstance(psf, Psf):
        return {"kind": "file", "path": "array"}, psf
    if isinstance(psf, BaseModel):
        return psf.model_dump(mode="json"), None
    if isinstance(psf, Mapping):
        parts = varying(psf.get("by") or ()).model_dump(mode="json") if psf.get("kind") == "varying" else psf
        return dict(parts), None
    if isinstance(psf, str | os.PathLike):
        return {"kind": "file", "path": os.fspath(psf)}, None
    if isinstance(psf, bool) or psf is None:
        raise ConfigError(f"psf is {psf}: {_EXPECTED}")
    if isinstance(psf, tuple) or np.ndim(psf) == 0:
        return _gaussian(psf, in_um), None
    return {"kind": "file", "path": "array"}, _array(psf)


def _gaussian(widths: Any, in_um: bool) -> dict[str, Any]:
    try:
        lengths = by_axis(float(widths) if np.ndim(widths) == 0 else widths)
    except (TypeError, ValueError):
        raise ConfigError(f"psf is {str(widths)[:60]!r}: {_EXPECTED}") from None
    return {"kind": "gaussian", "fwhm_um" if in_um else "fwhm_px": lengths}


def _array(values: Any) -> NDArray[Any]:
    found = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if found.dtype.kind not in "iuf":
        raise ConfigError(f"psf is an array of {found.dtype}: {_EXPECTED}")
    return found
