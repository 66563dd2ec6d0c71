"""Identity of an input, cheap enough to compute at every start."""

from __future__ import annotations

from typing import Any

from ssi_pipeline.config.fingerprint import short_digest
from ssi_pipeline.errors import CorruptDataError
from ssi_pipeline.geometry import Box
from ssi_pipeline.storage.inputs.source import open_source
from ssi_pipeline.storage.inputs.source_protocol import Source, SourceSpec

SAMPLES = 8
"""Number of sampled regions: enough to notice another acquisition, and fast."""

_REGION = 64
UNREADABLE = "unreadable"
"""Placeholder for the digest of an unreadable region."""


def identity(spec: SourceSpec) -> dict[str, Any]:
    """Return a JSON document that identifies an input, for the run's fingerprint.

    It holds the path, level, shape, dtype, axes and voxel size, digests of the metadata, and a digest of
    each of up to 8 regions of 1 x 64 x 64 pixels (``unreadable`` if a chunk is corrupt, which
    affects a tile, not the run). It contains no times: a copy of the input is the same input.

    Raises
    ------
    InputError
        The source cannot be opened.
    """
    source = open_source(spec)
    volume = source.volume
    return {
        "path": str(spec.path),
        "level": spec.level,
        **({} if spec.scene is None else {"scene": spec.scene}),
        "axes": volume.axes,
        "shape": list(volume.shape),
        "dtype": volume.dtype,
        "voxel_size_um": list(volume.voxel_size_um) if volume.voxel_size_um else None,
        **source.stamp(),
        "content": [_digest(source, t, c, box) for t, c, box in regions(volume.shape)],
    }


def as_far_as_readable(earlier: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Return ``now`` without differences in regions that are or were unreadable: repaired damage is not a change.

    Both documents have an identity under ``input``.
    """
    before, after = earlier["input"]["content"], now["input"]["content"]
    if len(before) != len(after):
        return now
    content = [b if UNREADABLE in (b, a) else a for b, a in zip(before, after, strict=True)]
    return {**now, "input": {**now["input"], "content": content}}


def regions(shape: tuple[int, int, int, int, int]) -> list[tuple[int, int, Box]]:
    """Return up to 8 regions (t, c, z y x box), spread over the planes, and over y and x along diagonals."""
    planes = shape[0] * shape[1] * shape[2]
    found = []
    for i in range(SAMPLES):
        t, rest = divmod((2 * i + 1) * planes // (2 * SAMPLES), shape[1] * shape[2])
        c, z = divmod(rest, shape[2])
        # 3 and 5 are coprime to 8: no two samples share a row or a column
        shares = (3 * i % SAMPLES, 5 * i % SAMPLES)
        corner = [max(0, n - _REGION) * share // (SAMPLES - 1) for n, share in zip(shape[3:], shares, strict=True)]
        start = (z, *corner)
        stop = tuple(min(a + n, m) for a, n, m in zip(start, (1, _REGION, _REGION), shape[2:], strict=True))
        found.append((t, c, Box(start, stop)))
    return list(dict.fromkeys(found))


def _digest(source: Source, t: int, c: int, box: Box) -> str:
    try:
        values = source.read(t, c, box)
    except CorruptDataError:
        return UNREADABLE
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return short_digest(little.tobytes())
