"""Input digests and versions of solved tiles, from the ledger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.storage.atomic import write_json
from ssi_pipeline.storage.state.ledger import read_heads

_DIGEST = 16 * "0"

UNREADABLE_READ = "-"
"""Placeholder for the digest of unreadable pixels."""


def pixel_digest(values: NDArray[Any], masked: NDArray[np.bool_] | None = None) -> str:
    """Return 16 hexadecimal digits of pixels, and of their mask, independent of the byte order in the file."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    # a view, as a copy of a large tile takes as long as its digest
    digest = hashlib.blake2b(little.reshape(-1).view(np.uint8).data, digest_size=8)
    if masked is not None:
        digest.update(np.packbits(masked).data)
    return digest.hexdigest()


def join_digests(digests: Sequence[str]) -> str:
    """Return the digests of all reads of a task in order, as in its record."""
    return ",".join(digests)


def same_pixels(recorded: str, now: str) -> bool:
    """Compare digests of reads one by one; unreadable pixels are damage, not a change."""
    before, after = recorded.split(","), now.split(",")
    pairs = zip(before, after, strict=False)
    return len(before) == len(after) and all(b == a or UNREADABLE_READ in (b, a) for b, a in pairs)


def tile_sources(ledgers: Sequence[Path], n_tiles: int, reads: int) -> tuple[NDArray[np.bytes_], int]:
    """Return each tile's last input digests, 16 bytes for each of at most ``reads``, empty if never solved.

    Also return the number of solved tiles without a digest (earlier releases). Invalidated tiles count:
    blocks may have been written from them.
    """
    sources, solved = np.zeros(n_tiles, f"S{len(join_digests([_DIGEST] * reads))}"), np.zeros(n_tiles, bool)
    for path in ledgers:
        for head in read_heads(path):
            if head.kind == "solve" and head.status == "done" and 0 <= head.index < n_tiles:
                sources[head.index], solved[head.index] = head.source, True
    return sources, int(np.count_nonzero(solved & (sources == b"")))


def read_stamp(path: Path) -> str | None:
    """Return the saved stamp; None if missing or unreadable, as it is only a hint."""
    try:
        return str(json.loads(path.read_text())["stamp"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save_stamp(path: Path, stamp: str) -> None:
    """Save the stamp of the input that all records are based on."""
    write_json(path, {"stamp": stamp})
