"""Output as a whole: creation, metadata and status. Only the client writes these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssi_pipeline.config import OutputConfig
from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import OutputError, StoreError
from ssi_pipeline.geometry import TilePlan, Volume
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.geometry.pyramid import PyramidPlan
from ssi_pipeline.storage.inputs.zarr_consolidated import renew_copies
from ssi_pipeline.storage.outputs.checksums import compressors
from ssi_pipeline.storage.outputs.multiscales import multiscales
from ssi_pipeline.storage.outputs.omero import omero_block
from ssi_pipeline.storage.outputs.zarr_metadata import Document, edit_attributes, read_attributes
from ssi_pipeline.storage.store import open_array

if TYPE_CHECKING:
    import zarr
    from zarr.abc.store import Store

UNCERTAINTY = "uncertainty"
"""Name of the uncertainty image in the output."""

_COMPRESSION_LEVEL = 3
"""zstd level, its default: noise does not compress better at higher levels."""

OWNER = "ssi_pipeline"
"""Attribute of the output's group that marks it as ours; contains status and provenance."""


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
    """Create the group and the arrays of all levels, marked as incomplete, in a folder or a zarr store.

    The uncertainty is a separate image inside, at full resolution only. ``token``: token of the run, also in its state
    folder.
    """
    import zarr  # in functions: `ssi plan` and `ssi status` of a running run open no array, and zarr takes long to load

    version = section.ome_zarr
    group = zarr.create_group(path, zarr_format=3 if version == "0.5" else 2)
    document: Any = multiscales(version, section.path.stem, volume, metadata, pyramid.factors, origin)
    omero = omero_block(volume.axes, metadata.get("omero"), plan.shape, dtype, origin)
    ome: dict[str, Any] = {"multiscales": [document]} | ({"omero": omero} if omero else {})
    ours: dict[str, Any] = {OWNER: {"status": "incomplete", "token": token, "provenance": dict(provenance)}}
    group.attrs.update({"ome": {"version": version, **ome}, **ours} if version == "0.5" else {**ome, **ours})
    for level, shape in enumerate(pyramid.shapes):
        create_level(group, level, volume.axes, (*pyramid.planes, *shape), dtype, pyramid.shard, plan.chunk, section)
    if section.uncertainty:
        beside = group.create_group(UNCERTAINTY)
        document = multiscales(version, UNCERTAINTY, volume, metadata, pyramid.factors[:1], origin)
        ome = {"multiscales": [document]}
        beside.attrs.update({"ome": {"version": version, **ome}} if version == "0.5" else ome)
        whole = (*pyramid.planes, *pyramid.shapes[0])
        create_level(beside, 0, volume.axes, whole, "float32", pyramid.shard, plan.chunk, section)


def create_level(
    group: zarr.Group, level: int, axes: str, shape: Ints, dtype: str, shard: Ints, chunk: Ints, section: OutputConfig
) -> None:
    """Create the array of a level; ``shape``: t c z y x, ``shard`` and ``chunk``: z y x."""

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
            # format 2 has no dimension names; xarray uses this attribute
            attributes={"_ARRAY_DIMENSIONS": list(axes)},
        )


def is_ours(path: Place) -> bool:
    """Tell whether a path is an output of this package."""
    return bool(_ours(path))


def read_status(path: Place) -> str:
    """Return the recorded status."""
    return str(_ours(path).get("status"))


def read_fingerprint(path: Place) -> str:
    """Return the fingerprint of an output's run, or 'unknown'."""
    return str(read_provenance(path).get("fingerprint", "unknown"))


def read_provenance(path: Place) -> dict[str, Any]:
    """Return the provenance of an output; empty for folders of others."""
    found = _ours(path).get("provenance", {})
    return dict(found) if isinstance(found, dict) else {}


def read_token(path: Place) -> str | None:
    """Return the token of an output's run; None if it has none (earlier releases) or is unreadable."""
    token = _ours(path).get("token")
    return None if token is None else str(token)


def set_token(path: Place, token: str) -> None:
    """Record the run's token in an output of an earlier release."""
    _edit_ours(path, lambda ours: {**ours, "token": token})


def refuse_missing_arrays(path: Place, names: Iterable[str]) -> None:
    """Refuse an output whose arrays (pyramid levels, uncertainty) or OME-Zarr metadata cannot be opened.

    Raises
    ------
    OutputError
        Metadata are missing or damaged.
    """
    for name in names:
        image = (path / name).parent
        if not _has_multiscales(image):
            raise OutputError(
                f"{image} has lost its OME-Zarr metadata (multiscales): restore them, or start over "
                "with `ssi run --new`"
            )
        try:
            open_array(path / name)
        except StoreError:
            raise
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise OutputError(
                f"array {name} of {path} cannot be opened ({error}): restore it, or start over with `ssi run --new`"
            ) from error


def _has_multiscales(path: Place) -> bool:
    return has_multiscales(read_attributes(path) or {})


def has_multiscales(attributes: Mapping[str, Any]) -> bool:
    """Tell whether a group's attributes are those of an OME-Zarr image, 0.4 or 0.5."""
    inner = attributes.get("ome", attributes)
    return isinstance(inner, Mapping) and bool(inner.get("multiscales"))


def _ours(path: Place) -> dict[str, Any]:
    ours = (read_attributes(path) or {}).get(OWNER, {})
    return dict(ours) if isinstance(ours, dict) else {}


def note_compute(path: Place, compute: Mapping[str, str]) -> None:
    """Record device and precision in the output's provenance, if not recorded yet."""
    provenance = _ours(path).get("provenance")
    if provenance is None:
        raise _lost(path)
    basis = {**provenance["basis"], "compute": dict(compute)}
    if basis != provenance["basis"]:
        _edit_ours(path, lambda ours: {**ours, "provenance": {**provenance, "basis": basis}})


def set_status(path: Place, status: str) -> None:
    """Record the status of the output, ``incomplete`` or ``complete``."""
    _edit_ours(path, lambda ours: {**ours, "status": status})
    renew_copies(path)


def add_provenance(path: Place, facts: Mapping[str, Any]) -> None:
    """Record more facts in the provenance; those of the same names are replaced."""
    _edit_ours(path, lambda ours: {**ours, "provenance": {**ours.get("provenance", {}), **facts}})


def _edit_ours(path: Place, edit: Callable[[Document], Document]) -> None:
    """Edit our attribute of the output; synced before the rename, unlike zarr's own writer.

    Raises
    ------
    OutputError
        The output has lost it.
    """

    def edited(found: Document) -> Document:
        """Return the attributes with ours edited."""
        if OWNER not in found:
            raise _lost(path)
        return {**found, OWNER: edit(found[OWNER])}

    edit_attributes(path, edited)


def _lost(path: Place) -> OutputError:
    return OutputError(f"{path} has lost its metadata: restore it (is its disk mounted?), then run again")
