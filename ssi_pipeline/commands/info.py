"""Rows and document of ``ssi info``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ssi_pipeline.commands.documents import FORMAT, plain
from ssi_pipeline.config import parse_config
from ssi_pipeline.errors import SsiError
from ssi_pipeline.storage.inputs.facts import Facts
from ssi_pipeline.storage.outputs.scales import describe_voxel_size
from ssi_pipeline.words import size_of

Values = tuple[str, list[float]]
"""A plane, and its minimum, median and maximum; empty without finite pixels."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a run in 2D tiles, with the default solver and a PSF three pixels wide, would need; or why it is refused."""

    tiles: int = 0
    worker_memory: int = 0
    output: int = 0
    refusal: str = ""


def needs(facts: Facts, level: int, axes: str | None) -> Needs:
    """Plan a run of an image; nothing is written."""
    from ssi_pipeline.run.prepare import prepare

    path = facts.path.resolve()
    document = {
        "input": {"path": str(path), "level": level, "axes": axes, "scene": facts.scene},
        "output": {"path": str(path.with_name(f"{path.name}-deconvolved.zarr"))},
        "psf": {"kind": "gaussian", "fwhm_px": {"y": 3, "x": 3}},
    }
    try:
        prepared = prepare(parse_config(document))
    except SsiError as error:
        return Needs(refusal=str(error))
    cost = prepared.cost
    return Needs(prepared.document.plan.n_tiles, cost.bytes_worker_memory, cost.bytes_written + cost.bytes_pyramid)


def describe(facts: Facts, values: Values, run: Needs) -> list[tuple[str, str]]:
    """Return the rows, name and value."""
    volume, layout = facts.volume, facts.layout
    unnamed = f"{_times(_sizes(facts))} {volume.dtype}; not named: set input.axes, for instance {volume.axes}"
    chunks = _times(layout.chunk) + (f" in shards of {_times(layout.shard)}" if layout.shard else "")
    rows = [
        ("format", layout.format),
        ("OME version", layout.version or ""),
        ("axes", unnamed if facts.unnamed else volume.describe()),
        ("size", f"{size_of(volume.nbytes)} uncompressed"),
        ("chunks", f"{chunks} (order of the file)"),
        ("levels", ", ".join(f"{i}: {_times(shape) or 'missing'}" for i, shape in enumerate(layout.levels))),
        ("voxel size", _voxel(facts)),
        ("channels", ", ".join(volume.channel_names)),
        ("optics", ", ".join(f"{name} {value:g}" for name, value in layout.optics.items())),
        (values[0], " to ".join(f"{v:g}" for v in values[1][::2]) + f", median {values[1][1]:g}" if values[1] else "-"),
        *(("note", note) for note in facts.notes),
        ("a run", _run(run)),
    ]
    return [row for row in rows if row[1]]


def _voxel(facts: Facts) -> str:
    if facts.volume.voxel_size_um is not None or not facts.known_um:
        return describe_voxel_size(facts.volume.voxel_size_um, facts.volume.axes)
    known = ", ".join(f"{axis} {size:g} um" for axis, size in facts.known_um.items() if axis in "zyx")
    return f"{known}; unknown along {', '.join(facts.lacking_um)}: set input.voxel_size_um"


def _run(run: Needs) -> str:
    if run.refusal:
        return f"is refused: {run.refusal}"
    memory, output = size_of(run.worker_memory), size_of(run.output)
    return f"needs a PSF; in 2D {run.tiles} tiles, about {memory} of memory per worker, {output} of disk"


def document(facts: Facts, values: Values, run: Needs) -> dict[str, Any]:
    """Return the document of ``--json``."""
    volume, layout = facts.volume, facts.layout
    low, median, high = values[1] or (None, None, None)
    return plain(
        {
            "format": FORMAT,
            "path": facts.path.resolve(),
            "kind": layout.format,
            "ome_version": layout.version,
            "axes": volume.axes,
            "axes_named": not facts.unnamed,
            "shape": volume.shape,
            "dtype": volume.dtype,
            "bytes": volume.nbytes,
            "chunk": layout.chunk,
            "shard": layout.shard,
            "levels": layout.levels,
            "voxel_size_um": dict(facts.known_um),
            "channels": volume.channel_names,
            "optics": dict(layout.optics),
            "values": {"plane": values[0], "min": low, "median": median, "max": high},
            "notes": facts.notes,
            "run": None
            if run.refusal
            else {"tiles": run.tiles, "worker_memory_bytes": run.worker_memory, "output_bytes": run.output},
            "refusal": run.refusal or None,
        }
    )


def _sizes(facts: Facts) -> tuple[int, ...]:
    named = zip("tczyx", facts.volume.shape, strict=True)
    return tuple(n for axis, n in named if axis in facts.volume.axes)


def _times(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))
