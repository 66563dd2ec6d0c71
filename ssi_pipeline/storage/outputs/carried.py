"""What an output carries along from its input: label images, cut to its region, and tables."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ssi_pipeline.config import OutputConfig
from ssi_pipeline.config.fingerprint import short_digest
from ssi_pipeline.config.url import Place
from ssi_pipeline.geometry import Box
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.storage.inputs.labels import KINDS, Label
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

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Frame:
    """The region of the output in its input (start and stop along t c z y x), its metadata, chunk and shard (z y x)."""

    region: tuple[Span, ...]
    metadata: Mapping[str, Any]
    chunk: Ints
    shard: Ints


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
    """Yield the files of the group ``labels``, one shard at a time, cut to the region of the output."""
    import zarr
    from zarr.storage import MemoryStore

    made: dict[str, Buffer] = {}
    version = section.ome_zarr
    zarr_format: Literal[2, 3] = 3 if version == "0.5" else 2
    root, names = zarr.create_group(MemoryStore(made), zarr_format=zarr_format), []
    for label in labels:
        names.append(label.name)
        kept = _kept(label, frame.region)
        group = root.create_group(label.name)
        group.attrs.update(_attributes(label, kept, version, frame))
        for number, region in enumerate(kept):
            shape = tuple(stop - start for start, stop in region)
            source = label.levels[number]
            volume = source.volume
            create_level(group, number, volume.axes, shape, volume.dtype, frame.shard, frame.chunk, section)
            array = with_checksums(zarr.open_array(MemoryStore(made), path=f"{label.name}/{number}"))
            array = array.with_config({"write_empty_chunks": True})
            for unit in _units(array):
                array[unit] = _read(label, number, region, unit)
                yield from _taken(made, f"{label.name}/{number}/")
    root.attrs.update({"ome": {"version": version, "labels": names}} if version == "0.5" else {"labels": names})
    yield from ((name, content.to_bytes()) for name, content in made.items())


def _taken(made: dict[str, Buffer], prefix: str) -> Iterator[tuple[str, bytes]]:
    """Yield chunks that were just written, and forget them; metadata stay for the end."""
    for name in [n for n in made if n.startswith(prefix) and n.rpartition("/")[2] not in _METADATA]:
        yield name, made.pop(name).to_bytes()


_METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup")


def _kept(label: Label, region: tuple[Span, ...]) -> list[tuple[Span, ...]]:
    """Return the region of each level that has it exactly; from the first on that does not, none is kept."""
    kept: list[tuple[Span, ...]] = []
    for source, factor in zip(label.levels, label.factors, strict=True):
        shape, full = source.volume.shape, label.levels[0].volume.shape
        spans = []
        for (start, stop), n, whole, step in zip(region, shape, full, factor, strict=True):
            a, b = (0, 1) if whole == 1 else (start, stop)  # an axis that the labels lack
            if a % step or (b % step and b != whole):
                return kept
            spans.append((a // step, n if b == whole else b // step))
        kept.append(tuple(spans))
    return kept


def _attributes(label: Label, kept: list[tuple[Span, ...]], version: str, frame: Frame) -> dict[str, Any]:
    first = label.levels[0]
    factors = tuple(factor[2:] for factor in label.factors[: len(kept)])
    origin = dict(zip("tczyx", (start for start, _ in frame.region), strict=True))
    document = multiscales(version, label.name, first.volume, frame.metadata, factors, origin)
    del document["type"]  # how the levels were made is not known
    for number, dataset in enumerate(document["datasets"]):
        scale, shift = dataset["coordinateTransformations"]
        _place(scale["scale"], shift["translation"], label, number, frame, origin)
    about = {"image-label": dict(label.document)}
    return (
        {"ome": {"version": version, "multiscales": [document], **about}}
        if version == "0.5"
        else {
            "multiscales": [document],
            "image-label": {"version": version, **label.document},
        }
    )


def _place(
    scale: list[float], shift: list[float], label: Label, number: int, frame: Frame, origin: Mapping[str, int]
) -> None:
    """Set scale and translation of a level: in voxels of the image, it lies where it lay in the input."""
    own, first = label.levels[number].metadata, label.levels[0].metadata
    for i, axis in enumerate(label.levels[0].volume.axes):
        size = float(frame.metadata.get("scale", {}).get(axis, 1.0))
        begin = float(frame.metadata.get("translation", {}).get(axis, 0.0)) + size * origin.get(axis, 0)
        voxels = (own.translation.get(axis, 0.0) - first.translation.get(axis, 0.0)) / first.scale.get(axis, 1.0)
        scale[i] = size * label.factors[number]["tczyx".index(axis)]
        shift[i] = begin + size * voxels


def _units(array: zarr.Array[Any]) -> Iterator[tuple[slice, ...]]:
    """Yield the boxes of the files of an array."""
    step = array.shards or array.chunks
    for cell in np.ndindex(*(-(-n // s) for n, s in zip(array.shape, step, strict=True))):
        yield tuple(slice(i * s, min((i + 1) * s, n)) for i, s, n in zip(cell, step, array.shape, strict=True))


def _read(label: Label, number: int, region: tuple[Span, ...], unit: tuple[slice, ...]) -> np.ndarray[Any, Any]:
    """Return the values of a box of the new array, axes as it has them."""
    source = label.levels[number]
    axes = source.volume.axes
    inside = dict(zip(axes, unit, strict=True))
    spans = [
        (start + inside[axis].start, start + inside[axis].stop) if axis in axes else (0, 1)
        for axis, (start, _) in zip("tczyx", region, strict=True)
    ]
    box = Box(tuple(a for a, _ in spans[2:]), tuple(b for _, b in spans[2:]))
    planes = [[source.read(t, c, box) for c in range(*spans[1])] for t in range(*spans[0])]
    return np.asarray(planes).reshape([s.stop - s.start for s in unit])
