"""What the tiles were made from, and by which versions, as the ledger has it."""

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

UNREADABLE_READ = "-"
"""Stands for the digest of pixels that could not be read."""


def pixel_digest(values: NDArray[Any]) -> str:
    """Return 16 hexadecimal digits of pixels as they were read, whatever their byte order in the file."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    # as bytes in place: a copy of a large tile costs as much as its digest
    return hashlib.blake2b(little.reshape(-1).view(np.uint8).data, digest_size=8).hexdigest()


def join_digests(digests: Sequence[str]) -> str:
    """Return the digests of all that a task read, in its order, as a record keeps them."""
    return ",".join(digests)


def same_pixels(recorded: str, now: str) -> bool:
    """Compare digests of reads one by one; what could not be read then, or cannot now, is damage and no change."""
    before, after = recorded.split(","), now.split(",")
    pairs = zip(before, after, strict=False)
    return len(before) == len(after) and all(b == a or UNREADABLE_READ in (b, a) for b, a in pairs)


def tile_sources(ledgers: Sequence[Path], n_tiles: int) -> tuple[NDArray[np.bytes_], int]:
    """Return the digest that each tile was last solved from, 16 bytes each, empty where it never was.

    Also the number of solved tiles without one, which a release made that kept none. A tile that was taken back counts:
    blocks may have been written from it.
    """
    sources, solved = np.zeros(n_tiles, "S16"), np.zeros(n_tiles, bool)
    for path in ledgers:
        for head in read_heads(path):
            if head.kind == "solve" and head.status == "done" and 0 <= head.index < n_tiles:
                sources[head.index], solved[head.index] = head.source, True
    return sources, int(np.count_nonzero(solved & (sources == b"")))


def read_stamp(path: Path) -> str | None:
    """Return the stamp that ``save_stamp`` wrote; None where there is none, or it cannot be read: it is only a hint."""
    try:
        return str(json.loads(path.read_text())["stamp"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save_stamp(path: Path, stamp: str) -> None:
    """Remember the stamp of the input that everything recorded so far was made from."""
    write_json(path, {"stamp": stamp})
