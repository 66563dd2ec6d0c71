"""The output as a whole: its creation, its metadata, and what it says of itself. Only the client writes these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import zarr
from zarr.abc.store import Store

from ssi_pipeline.config import OutputConfig
from ssi_pipeline.errors import OutputError
from ssi_pipeline.geometry import TilePlan, Volume
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.geometry.pyramid import PyramidPlan
from ssi_pipeline.storage.inputs.zarr_consolidated import renew_copies
from ssi_pipeline.storage.outputs.checksums import compressors
from ssi_pipeline.storage.outputs.multiscales import multiscales
from ssi_pipeline.storage.outputs.omero import omero_block
from ssi_pipeline.storage.outputs.zarr_metadata import Document, edit_attributes, read_attributes

UNCERTAINTY = "uncertainty"
"""Name of the image in the output that says how far off each pixel may be."""

_COMPRESSION_LEVEL = 3
"""Of zstd: its own default. Noise does not compress any better at higher ones."""

OWNER = "ssi_pipeline"
"""Attribute of the output's group that marks it as ours; holds status and provenance."""


def create_output(
    path: Path | Store,
    section: OutputConfig,
    volume: Volume,
    dtype: str,
    plan: TilePlan,
    pyramid: PyramidPlan,
    metadata: Mapping[str, Any],
    origin: Mapping[str, int],
    provenance: Mapping[str, Any],
    token: str = "",
) -> None:
    """Create the group and the arrays of all levels, marked as incomplete, in a folder or a store of zarr.

    Its uncertainty is an image of its own inside, of the full resolution alone. ``token``: of the run, which its state
    folder has as well.
    """
    version = section.ome_zarr
    group = zarr.create_group(path, zarr_format=3 if version == "0.5" else 2)
    document: Any = multiscales(version, section.path.stem, volume, metadata, pyramid.factors, origin)
    omero = omero_block(volume.axes, metadata.get("omero"), plan.shape, dtype, origin)
    ome: dict[str, Any] = {"multiscales": [document]} | ({"omero": omero} if omero else {})
    ours: dict[str, Any] = {OWNER: {"status": "incomplete", "token": token, "provenance": dict(provenance)}}
    group.attrs.update({"ome": {"version": version, **ome}, **ours} if version == "0.5" else {**ome, **ours})
    for level, shape in enumerate(pyramid.shapes):
        _create_level(group, level, volume.axes, (*pyramid.planes, *shape), dtype, pyramid.shard, plan.chunk, section)
    if section.uncertainty:
        beside = group.create_group(UNCERTAINTY)
        document = multiscales(version, UNCERTAINTY, volume, metadata, pyramid.factors[:1], origin)
        ome = {"multiscales": [document]}
        beside.attrs.update({"ome": {"version": version, **ome}} if version == "0.5" else ome)
        whole = (*pyramid.planes, *pyramid.shapes[0])
        _create_level(beside, 0, volume.axes, whole, "float32", pyramid.shard, plan.chunk, section)


def _create_level(
    group: zarr.Group, level: int, axes: str, shape: Ints, dtype: str, shard: Ints, chunk: Ints, section: OutputConfig
) -> None:
    def on_disk(tczyx: Ints) -> Ints:
        """Return the entries of the axes that the output has."""
        return tuple(n for axis, n in zip("tczyx", tczyx, strict=True) if axis in axes)

    if section.ome_zarr == "0.5":
        group.create_array(
            str(level),
            shape=on_disk(shape),
            shards=on_disk((1, 1, *shard)),
            chunks=on_disk((1, 1, *chunk)),
            dtype=dtype,
            compressors=compressors(3, _COMPRESSION_LEVEL),
            dimension_names=tuple(axes),
        )
    else:
        group.create_array(
            str(level),
            shape=on_disk(shape),
            chunks=on_disk((1, 1, *chunk)),
            dtype=dtype,
            compressors=compressors(2, _COMPRESSION_LEVEL),
            chunk_key_encoding={"name": "v2", "separator": "/"},
            # format 2 has no names of dimensions; this is where xarray keeps them
            attributes={"_ARRAY_DIMENSIONS": list(axes)},
        )


def is_ours(path: Path) -> bool:
    """Tell whether a path holds an output of this package."""
    return bool(_ours(path))


def read_status(path: Path) -> str:
    """Return what ``set_status`` last recorded."""
    return str(_ours(path).get("status"))


def read_fingerprint(path: Path) -> str:
    """Return the fingerprint of the run that made an output, 'unknown' where it has none."""
    return str(_ours(path).get("provenance", {}).get("fingerprint", "unknown"))


def read_token(path: Path) -> str | None:
    """Return the token of the run that an output belongs to; None where it has none, or comes from an earlier release.

    Also where its metadata cannot be read.
    """
    token = _ours(path).get("token")
    return None if token is None else str(token)


def set_token(path: Path, token: str) -> None:
    """Record in an output of an earlier release to which run it belongs."""
    _edit_ours(path, lambda ours: {**ours, "token": token})


def refuse_missing_arrays(path: Path, names: Iterable[str]) -> None:
    """Refuse an output whose arrays (pyramid levels, uncertainty) cannot be opened, or that viewers cannot.

    Raises
    ------
    OutputError
        The metadata of one are gone or damaged.
    """
    for name in names:
        image = (path / name).parent
        if not _has_multiscales(image):
            raise OutputError(
                f"{image} has lost what makes it an OME-Zarr image (multiscales): put its metadata back, or start over "
                "with `ssi run --new`"
            )
        try:
            zarr.open_array(path / name, mode="r")
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise OutputError(
                f"array {name} of {path} cannot be opened ({error}): put it back, or start over with `ssi run --new`"
            ) from error


def _has_multiscales(path: Path) -> bool:
    return has_multiscales(read_attributes(path) or {})


def has_multiscales(attributes: Mapping[str, Any]) -> bool:
    """Tell whether a group's attributes are those of an OME-Zarr image, 0.4 or 0.5."""
    inner = attributes.get("ome", attributes)
    return isinstance(inner, Mapping) and bool(inner.get("multiscales"))


def _ours(path: Path) -> dict[str, Any]:
    ours = (read_attributes(path) or {}).get(OWNER, {})
    return dict(ours) if isinstance(ours, dict) else {}


def note_compute(path: Path, compute: Mapping[str, str]) -> None:
    """Record in the output's provenance what it is computed on; writes only what is not there."""
    provenance = _ours(path)["provenance"]
    basis = {**provenance["basis"], "compute": dict(compute)}
    if basis != provenance["basis"]:
        _edit_ours(path, lambda ours: {**ours, "provenance": {**provenance, "basis": basis}})


def set_status(path: Path, status: str) -> None:
    """Record in the output whether it is ``incomplete`` or ``complete``."""
    _edit_ours(path, lambda ours: {**ours, "status": status})
    renew_copies(path)


def set_made_by(path: Path, made_by: Sequence[Mapping[str, Any]]) -> None:
    """Record in the provenance each set of versions that tiles were solved by, and how many."""
    _edit_ours(path, lambda ours: {**ours, "provenance": {**ours.get("provenance", {}), "made_by": list(made_by)}})


def _edit_ours(path: Path, edit: Callable[[Document], Document]) -> None:
    """Change what the output says of itself; on disk before it gets its name, which zarr's own writer does not do."""
    edit_attributes(path, lambda found: {**found, OWNER: edit(found[OWNER])})
