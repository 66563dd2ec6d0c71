"""Scratch array: the layers of each tile on its valid box, one chunk per tile, until its blocks are written."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import CorruptDataError, DamagedStateError, MissingStateError
from ssi_pipeline.geometry import Box, Tile, TilePlan
from ssi_pipeline.storage.outputs.zarr_metadata import Document, difference, read_document, write_document
from ssi_pipeline.storage.system_errors import writing

if TYPE_CHECKING:
    import zarr
    from zarr.abc.buffer import Buffer

_REST = ".0.0.0.0"
"""Suffix of a chunk's name after the tile number: the other axes have one chunk each."""


class ScratchError(CorruptDataError):
    """The scratch of one tile is missing or unreadable; the tile must be solved again."""

    def __init__(self, tile: int, reason: str) -> None:
        super().__init__(tile, reason)
        self.tile = tile

    def __str__(self) -> str:
        """Name the tile and the reason."""
        return f"cannot use the scratch of tile {self.tile}: {self.args[1]}"


@dataclass(frozen=True)
class Scratch:
    """float32, axes tile, layer, z, y, x; a tile's valid box lies at the start of its chunk, the rest is 0.

    Layers are the estimate and, if requested, its uncertainty. The fill value is NaN and layers are finite, so a
    missing chunk is never taken for data.
    """

    array: zarr.Array[Any]
    root: Path

    def write(self, tile: Tile, layers: NDArray[np.float32]) -> None:
        """Write the layers (layer z y x) on ``tile.valid`` as one whole chunk."""
        chunk = np.zeros(self.array.shape[1:], np.float32)
        chunk[tuple(slice(0, n) for n in layers.shape)] = layers
        with writing(self._path(tile.index)):
            self.array[tile.index] = chunk

    def read(self, tile: Tile, box: Box) -> NDArray[np.float32]:
        """Return the layers (layer z y x) on ``box``, which lies inside ``tile.valid``.

        Raises
        ------
        ScratchError
            The chunk is missing, empty or fails its checksum.
        """
        z, y, x = box.relative_to(tile.valid.start).slices
        try:
            values = np.asarray(self.array[tile.index, :, z, y, x], np.float32)
        except (ValueError, OSError, RuntimeError) as error:
            raise ScratchError(tile.index, str(error)) from error
        if not np.isfinite(values).all():
            raise ScratchError(tile.index, "its chunk is missing or not finite")
        return values

    def has(self, tile: int) -> bool:
        """Tell whether a tile's chunk exists and is not empty."""
        path = self._path(tile)
        return path.is_file() and path.stat().st_size > 0

    def present(self) -> frozenset[int]:
        """Return the tiles with a chunk by one listing: cheaper than a million stat calls."""
        with os.scandir(self.root) as entries:
            names = (entry.name.removesuffix(_REST) for entry in entries)
            return frozenset(int(name) for name in names if name.isdecimal())

    def release(self, tile: int) -> None:
        """Delete a tile's chunk."""
        path = self._path(tile)
        with writing(path):
            path.unlink(missing_ok=True)

    def _path(self, tile: int) -> Path:
        return self.root / f"{tile}{_REST}"


def create_scratch(path: Path, plan: TilePlan, layers: int) -> None:
    """Create the scratch array if missing; only the client calls this."""
    if not (path / "zarr.json").exists():
        write_scratch_metadata(path, plan, layers)


def write_scratch_metadata(path: Path, plan: TilePlan, layers: int) -> None:
    """Write the metadata of the scratch array; existing tiles stay."""
    path.mkdir(parents=True, exist_ok=True)
    write_document(path / "zarr.json", _metadata(plan, layers))


def scratch_problem(path: Path, plan: TilePlan, layers: int) -> str | None:
    """Return an error in the scratch's metadata, or None, also without scratch."""
    if not path.is_dir():
        return None
    found = read_document(path / "zarr.json")
    if found is None:
        return "damaged" if (path / "zarr.json").exists() else "missing"
    return difference(found, _metadata(plan, layers))


def _metadata(plan: TilePlan, layers: int) -> Document:
    """Return the zarr metadata of the array."""
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec
    from zarr.storage import MemoryStore

    made: dict[str, Buffer] = {}
    zarr.create_array(
        MemoryStore(made),
        shape=(plan.n_tiles, layers, *plan.valid_shape),
        chunks=(1, layers, *plan.valid_shape),
        dtype="float32",
        fill_value=float("nan"),
        # fast and checksummed: scratch is read back once, soon
        compressors=[ZstdCodec(level=1), Crc32cCodec()],
        dimension_names=("tile", "layer", "z", "y", "x"),
        # one flat folder: subfolders would be left empty
        chunk_key_encoding={"name": "v2", "separator": "."},
    )
    document: Document = json.loads(made["zarr.json"].to_bytes())
    return document


def open_scratch(path: Path) -> Scratch:
    """Open the scratch array for reading and writing whole chunks.

    Raises
    ------
    MissingStateError, DamagedStateError
        Its metadata are missing or unreadable.
    """
    import zarr

    from ssi_pipeline.storage.mounted_store import mounted

    if not (path / "zarr.json").exists():
        raise MissingStateError(f"{path} cannot be opened: its zarr.json is not accessible")
    try:
        return Scratch(zarr.open_array(mounted(path, writable=True), mode="r+"), path)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DamagedStateError(f"{path} cannot be opened ({error}): the next start writes its zarr.json") from error


def remove_scratch(path: Path) -> None:
    """Delete the scratch array."""
    shutil.rmtree(path, ignore_errors=True)
