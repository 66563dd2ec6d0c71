"""Chunks of a zarr array in an object store: by a list of the objects, or asked for by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from ssi_pipeline.storage.store import FileStore, Store

Cell = tuple[int, ...]

_THREADS = 32
"""Requests at a time: each takes tens of milliseconds, and a store answers many in parallel."""


def listed_keys(store: Store, grid: Sequence[int], prefix: str, separator: str) -> Iterator[tuple[str, bool]]:
    """Yield the key of every object that is named like a chunk, and whether it is inside the grid."""
    for entry in store.list(prefix if prefix and separator == "/" else ""):
        first, *numbers = entry.key.split(separator) if prefix else ("", *entry.key.split(separator))
        if first == prefix and len(numbers) == len(grid) and all(map(is_number, numbers)):
            yield entry.key, all(int(n) < size for n, size in zip(numbers, grid, strict=True))


def are_there(store: Store, cells: Iterable[Cell], name: Callable[[Cell], str]) -> Iterator[tuple[Cell, bool]]:
    """Yield chunks with whether their files exist; where each is a request, many are asked for at a time."""
    if isinstance(store, FileStore):
        yield from ((cell, store.exists(name(cell))) for cell in cells)
        return
    left = iter(cells)
    with ThreadPoolExecutor(_THREADS) as threads:
        while part := list(islice(left, _THREADS)):
            yield from zip(part, threads.map(store.exists, map(name, part)), strict=True)


def is_number(name: str) -> bool:
    """Tell whether a name is an index as zarr writes it."""
    return name.isascii() and name.isdigit() and len(name) < 20 and str(int(name)) == name
