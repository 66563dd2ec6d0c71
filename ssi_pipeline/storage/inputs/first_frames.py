"""The first time points of a zarr image whose others are still being written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ssi_pipeline.errors import InputError, RunChangedError
from ssi_pipeline.geometry import Box
from ssi_pipeline.storage.inputs.source_protocol import Source
from ssi_pipeline.storage.inputs.zarr_source import ZarrSource


class FirstFrames:
    """The first ``frames`` time points of a zarr image in a folder, as an image of their own.

    Raises
    ------
    RunChangedError
        The image has fewer time points by now.
    """

    def __init__(self, source: ZarrSource, frames: int, where: str) -> None:
        self._source, self._frames, volume = source, frames, source.volume
        if volume.shape[0] < frames:
            raise RunChangedError(
                f"{where} has {volume.shape[0]} time points: expected the {frames} that it had. It was shrunk or "
                "replaced: restore it, or start over with `ssi run --new`"
            )
        self.volume = replace(volume, shape=(frames, *volume.shape[1:]))
        self.metadata = source.metadata
        self.chunk_bytes = source.chunk_bytes

    @property
    def notes(self) -> tuple[str, ...]:
        """None: those of the source are on time points that are still being written."""
        return ()

    def read(self, t: int, c: int, box: Box) -> NDArray[Any]:
        """Return the pixels of a box (z y x), axes z y x, native dtype; see ``Source.read``."""
        if t >= self._frames:
            raise ValueError(f"t {t} is not inside the first {self._frames} time points")
        return self._source.read(t, c, box)

    def stamp(self) -> dict[str, Any]:
        """Return nothing: the metadata state a length along t, and change as it grows."""
        return {}

    def files(self) -> list[Path]:
        """Return the chunk files of these time points that exist."""
        step = self._source.frames_per_file
        named = (file for t in range(0, self._frames, step) for file in self._source.files_at(t))
        return [file for file in named if isinstance(file, Path) and file.exists()]


def first_frames(source: Source, frames: int, path: Path) -> Source:
    """Return the first time points of an image as an image of their own.

    Raises
    ------
    InputError
        The image is not a zarr image.
    """
    if not isinstance(source, ZarrSource):
        raise InputError(f"input {path} cannot grow: expected a zarr image")
    return FirstFrames(source, frames, f"input {path}")
