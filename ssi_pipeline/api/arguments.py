"""Turn the arguments of ``deconvolve`` into a run configuration, with the same errors as those of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel

from ssi_pipeline.api.psfs import PsfArgument, has_depth, psf_document
from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.psf import Lengths, by_axis
from ssi_pipeline.storage.inputs.array_source import NAME, ArraySource, array_source

AXES = "tczyx"
"""Axes of an array by its number of dimensions: the last ones."""

_COLOURS = (3, 4)
"""Length of a last axis that holds red, green, blue, and perhaps opacity."""

_OPTIONS = {
    "input": ("nonfinite", "fill", "mask"),
    "output": ("dtype", "shard", "chunk"),
    "executor": ("threads", "memory_gib"),
}
"""Options of sections whose other options concern files and workers."""

_OF_RUNS = ("training.retrain", "training.keep_models", "training.start_from", "on_end", "schema_version")


def axes_of(image: Any, axes: str | None) -> str:
    """Return the axes of an array, one letter for each dimension.

    Raises
    ------
    ConfigError
        It has too few or too many, or ``axes`` does not fit it.
    """
    if image.ndim == 0 and image.dtype.kind in "UO":  # what numpy makes of a path
        raise ConfigError(f"the image is {str(image)!r}: expected an array; ssi.run works with files")
    if axes is None and image.ndim > 2 and image.shape[-1] in _COLOURS:
        raise ConfigError(
            f"the image has {image.shape[-1]} pixels along x, its last axis: expected (..., y, x). Of colours: "
            "np.moveaxis(image, -1, 0), with axes='cyx'"
        )
    if axes is None and not 2 <= image.ndim <= len(AXES):
        raise ConfigError(
            f"the image has {image.ndim} dimensions {image.shape}: expected 2 to 5, the last of t c z y x"
        )
    names = AXES[-image.ndim :] if axes is None else axes
    if len(names) != image.ndim or len(set(names)) < len(names) or not {"y", "x"} <= set(names) <= set(AXES):
        raise ConfigError(
            f"axes is {names!r}, but the image has {image.ndim} dimensions {image.shape}: expected a letter for each, "
            "of t, c, z, y, x, with y and x"
        )
    return names


def make_config(
    image: Any,
    axes: str,
    psf: PsfArgument,
    voxel_size_um: Lengths | None,
    named: Mapping[str, Any],
    options: Mapping[str, Any],
) -> tuple[RunConfig, ArraySource, list[Any]]:
    """Return the configuration, the source of the image, and the values of PSFs in memory (None: not in memory).

    ``named``: options that have arguments of their own, by dotted name; None where they were not given.

    Raises
    ------
    ConfigError, InputError
        An option is unknown, has no meaning here or is invalid, or the image is none.
    """
    document = nested(options)
    _refuse_foreign(document)
    size = _voxel_size(voxel_size_um, axes)
    source = array_source(image, axes, None if size is None else (size.get("z", 0.0), size["y"], size["x"]))
    sections, arrays = psf_document(psf, size is not None)
    merge(document, nested({name: value for name, value in named.items() if value is not None}))
    if "dimensions" not in document.get("tiling", {}):
        deep = source.volume.shape[2] > 1 and has_depth(sections, arrays, source.volume.voxel_size_um is not None)
        merge(document, {"tiling": {"dimensions": 3 if deep else 2}})
    merge(document, {"input": {"path": str(NAME), "axes": axes, "voxel_size_um": size}, "psf": sections})
    merge(document, {"output": {"path": f"{NAME}.zarr"}})
    config = parse_config(document, name="the call")
    # not below the current folder, which parse_config looks up: no such files exist
    named_so = config.with_input(NAME, config.input.mask).with_output(NAME.with_suffix(".zarr"))
    return named_so.with_psf_paths([None if values is None else NAME for values in arrays]), source, arrays


def nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options by section, from nested ones and from dotted names, as plain values.

    >>> nested({"training.steps": 200, "training": {"batch": 2}})
    {'training': {'steps': 200, 'batch': 2}}
    """
    found: dict[str, Any] = {}
    for key, value in options.items():
        plain = nested(value) if isinstance(value, Mapping) else _plain(value)
        for part in reversed(key.split(".")):
            plain = {part: plain}
        merge(found, plain)
    return found


def merge(document: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Add the options of another document to one; they count more."""
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(document.get(key), dict):
            merge(document[key], value)
        else:
            document[key] = value


def _plain(value: Any) -> Any:
    """Return numpy's numbers and arrays, and sections such as ``ssi.psf.gaussian(...)``, as plain values."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _refuse_foreign(document: Mapping[str, Any]) -> None:
    """Refuse options that concern files, workers and whole runs.

    Raises
    ------
    ConfigError
        There is one.
    """
    names = [f"{section}.{key}" for section, part in document.items() if isinstance(part, dict) for key in part]
    for name in (*names, *document):
        section, _, key = name.partition(".")
        if name in _OF_RUNS or (key and key not in _OPTIONS.get(section, (key,))):
            allowed = _OPTIONS.get(section)
            instead = f"expected {section}.{f', {section}.'.join(allowed)}, or " if allowed else ""
            raise ConfigError(f"{name} has no meaning for an image in memory: {instead}ssi.run with files")


def _voxel_size(given: Lengths | None, axes: str) -> dict[str, float] | None:
    """Return the voxel size by axis; of one number the same along z, y and x."""
    if isinstance(given, float | int):
        return {axis: float(given) for axis in "zyx" if axis in axes}
    found = by_axis(_plain(given))
    if found is not None and not {"y", "x"} <= set(found) <= set("zyx"):
        raise ConfigError(
            f"voxel_size_um is {given!r}: expected a number, (z, y, x), (y, x) or a mapping of these axes"
        )
    return None if found is None else {axis: size for axis, size in found.items() if axis in axes}
