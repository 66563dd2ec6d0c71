"""What an output carries along from its input: label images, cut to its region, and tables."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import OutputConfig
from ssi_pipeline.config.fingerprint import short_digest
from ssi_pipeline.config.url import Place
from ssi_pipeline.geometry import Box
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.geometry.pyramid import PyramidPlan
from ssi_pipeline.storage.inputs.labels import KINDS, Label
from ssi_pipeline.storage.inputs.source_protocol import Source
from ssi_pipeline.storage.inputs.zarr_node import ZarrNode
from ssi_pipeline.storage.outputs.checksums import with_checksums
from ssi_pipeline.storage.outputs.multiscales import multiscales
from ssi_pipeline.storage.outputs.output import add_provenance, create_level, read_provenance
from ssi_pipeline.storage.outputs.output_store import output_store
from ssi_pipeline.storage.store import store_of

if TYPE_CHECKING:
    import zarr
    from zarr.abc.buffer import Buffer

_KEY = "carried"
"""Of what was carried along, in the provenance: number of files, bytes, and a digest of all of them."""

_OLD = "outdated"
"""In such counts: the output has grown since."""

_METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup")
_BAND = 1024
"""Most rows that are read at a time for a coarser level."""

Span = tuple[int, int]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Frame:
    """Region of the output in its input (start, stop along t c z y x), its metadata, pyramid and chunk (z y x)."""

    region: tuple[Span, ...]
    metadata: Mapping[str, Any]
    pyramid: PyramidPlan
    chunk: Ints


@dataclass
class _Count:
    """Number, bytes and digest of files, whatever their order."""

    lines: list[str] = field(default_factory=list)
    size: int = 0

    def add(self, name: str, content: bytes) -> None:
        """Count a file."""
        self.lines.append(f"{name} {hashlib.blake2b(content, digest_size=16).hexdigest()}\n")
        self.size += len(content)

    def document(self) -> dict[str, Any]:
        """Return the counts as they are recorded."""
        digest = short_digest("".join(sorted(self.lines)).encode())
        return {"files": len(self.lines), "bytes": self.size, "digest": digest}


def write_carried(output: Place, kind: str, files: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
    """Write a group beside the image, whole or not at all, and then record it; returns its counts."""
    count = _Count()

    def counted() -> Iterator[tuple[str, bytes]]:
        """Yield the files, counting them."""
        for name, content in files:
            count.add(name, content)
            yield name, content

    output_store(output).replace(kind, counted())
    _record(output, {kind: count.document()})
    return count.document()


def forget_carried(output: Place, kinds: Collection[str]) -> None:
    """Forget groups that are damaged, so that the next run writes them again."""
    if kinds:
        add_provenance(output, {_KEY: {k: v for k, v in recorded(output).items() if k not in kinds}})


def outdate_carried(output: Place) -> None:
    """Note that the output grows: what was carried along is copied again at its end."""
    if made := recorded(output):
        _record(output, {kind: {**counts, _OLD: True} for kind, counts in made.items()})


def _record(output: Place, found: Mapping[str, Any]) -> None:
    add_provenance(output, {_KEY: {**recorded(output), **found}})


def recorded(output: Place) -> dict[str, Any]:
    """Return the counts of what was carried along, by kind."""
    found = read_provenance(output).get(_KEY, {})
    return dict(found) if isinstance(found, dict) else {}


def carried_kinds(provenance: Mapping[str, Any]) -> list[str]:
    """Return what of ``output.carry`` an output with this provenance has."""
    found = provenance.get(_KEY, {})
    return [kind for kind in KINDS if kind in found]


def problem(output: Place, kind: str, read: bool) -> str | None:
    """Return what is wrong with a group that was recorded, None if nothing is; ``read``: compare every byte."""
    expected, store = recorded(output)[kind], store_of(output / kind)
    if _OLD in expected:
        return f"{output / kind} was copied before the output grew"
    count = _Count()
    try:
        entries = list(store.list())
        for entry in entries if read else ():
            count.add(entry.key, store.read(entry.key))
    except FileNotFoundError:
        return f"{output / kind} has lost files"
    found = count.document() if read else {"files": len(entries), "bytes": sum(entry.size for entry in entries)}
    wrong = {key for key, value in found.items() if expected.get(key) != value}
    if not wrong:
        return None
    return (
        f"{output / kind} differs from what was copied: {expected.get('files')} files of {expected.get('bytes')} bytes "
        f"expected, {found['files']} of {found['bytes']} found"
    )


def table_files(group: ZarrNode) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a group of tables as they are."""
    store = store_of(group.folder)
    for key in sorted(entry.key for entry in store.list()):
        if not any(part.startswith(".") and not part.startswith(".z") for part in key.split("/")):
            yield key, store.read(key)


def label_files(labels: Iterable[Label], section: OutputConfig, frame: Frame) -> Iterator[tuple[str, bytes]]:
    """Yield the files of the group ``labels``, one shard at a time, cut to the region of the output.

    They have the levels of the output, as readers expect: of a coarser one, every voxel is one of those in its place.
    """
    import zarr
    from zarr.storage import MemoryStore

    made: dict[str, Buffer] = {}
    version = section.ome_zarr
    zarr_format: Literal[2, 3] = 3 if version == "0.5" else 2
    root, names = zarr.create_group(MemoryStore(made), zarr_format=zarr_format), []
    for label in labels:
        names.append(label.name)
        group, volume = root.create_group(label.name), label.source.volume
        region = tuple((0, 1) if n == 1 else span for n, span in zip(volume.shape, frame.region, strict=True))
        group.attrs.update(_attributes(label, version, frame))
        for number, (factor, sizes) in enumerate(zip(frame.pyramid.factors, frame.pyramid.shapes, strict=True)):
            planes = tuple(stop - start for start, stop in region[:2])
            shape = (*planes, *sizes)
            create_level(group, number, volume.axes, shape, volume.dtype, frame.pyramid.shard, frame.chunk, section)
            array = with_checksums(zarr.open_array(MemoryStore(made), path=f"{label.name}/{number}"))
            array = array.with_config({"write_empty_chunks": True})
            for unit in _units(array):
                array[unit] = _read(label.source, region, (1, 1, *factor), unit)
                yield from _taken(made, f"{label.name}/{number}/")
    root.attrs.update({"ome": {"version": version, "labels": names}} if version == "0.5" else {"labels": names})
    yield from ((name, content.to_bytes()) for name, content in made.items())


def _taken(made: dict[str, Buffer], prefix: str) -> Iterator[tuple[str, bytes]]:
    """Yield chunks that were just written, and forget them; metadata stay for the end."""
    for name in [n for n in made if n.startswith(prefix) and n.rpartition("/")[2] not in _METADATA]:
        yield name, made.pop(name).to_bytes()


def _attributes(label: Label, version: str, frame: Frame) -> dict[str, Any]:
    origin = dict(zip("tczyx", (start for start, _ in frame.region), strict=True))
    volume, factors = label.source.volume, frame.pyramid.factors
    document = multiscales(version, label.name, volume, frame.metadata, factors, origin) | {"type": "nearest"}
    about = dict(label.document)
    if version == "0.5":
        return {"ome": {"version": version, "multiscales": [document], "image-label": about}}
    return {"multiscales": [document], "image-label": {"version": version, **about}}


def _units(array: zarr.Array[Any]) -> Iterator[tuple[slice, ...]]:
    """Yield the boxes of the files of an array."""
    step = array.shards or array.chunks
    for cell in np.ndindex(*(-(-n // s) for n, s in zip(array.shape, step, strict=True))):
        yield tuple(slice(i * s, min((i + 1) * s, n)) for i, s, n in zip(cell, step, array.shape, strict=True))


def _read(source: Source, region: tuple[Span, ...], factor: Ints, unit: tuple[slice, ...]) -> NDArray[Any]:
    """Return the values of a box of a level, axes as it has them."""
    inside = dict(zip(source.volume.axes, unit, strict=True))
    t, c, z, y, x = (
        np.minimum(start + np.arange(part.start, part.stop) * step + (step - 1) // 2, stop - 1)
        for (start, stop), step, part in (
            (span, step, inside.get(axis, slice(0, 1)))
            for axis, span, step in zip("tczyx", region, factor, strict=True)
        )
    )
    planes = [[_picked(source, int(i), int(k), z, y, x) for k in c] for i in t]
    return np.asarray(planes).reshape([part.stop - part.start for part in unit])


def _picked(source: Source, t: int, c: int, z: Indices, y: Indices, x: Indices) -> NDArray[Any]:
    """Return chosen voxels of a plane or stack, of coarser levels in bands, which bound the memory."""
    if all(len(axis) == axis[-1] - axis[0] + 1 for axis in (z, y, x)):
        return source.read(t, c, _around(z, y, x))
    bands = np.array_split(y, -(-int(y[-1] - y[0] + 1) // _BAND))
    return np.stack(
        [np.concatenate([_rows(source, t, c, z[i : i + 1], band, x) for band in bands]) for i in range(len(z))]
    )


def _rows(source: Source, t: int, c: int, z: Indices, y: Indices, x: Indices) -> NDArray[Any]:
    plane: NDArray[Any] = source.read(t, c, _around(z, y, x))[0]
    return plane[np.ix_(y - y[0], x - x[0])]


def _around(z: Indices, y: Indices, x: Indices) -> Box:
    return Box((int(z[0]), int(y[0]), int(x[0])), (int(z[-1]) + 1, int(y[-1]) + 1, int(x[-1]) + 1))
