"""What a source of pixels is, and what tells a worker where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from ssi_pipeline.config.url import Place, Url
from ssi_pipeline.geometry import Box, Volume
from ssi_pipeline.storage.outputs.image_metadata import ImageMetadata


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Location of the input and the user's metadata; sent to workers.

    ``path``: may have placeholders, ``scan_T{t}_Z{z}.tif``. ``voxel_size_um``: z y x in micrometres; 0: from the
    file's metadata. ``booleans``: pixels may be booleans. ``scene``: which image of a file with several. ``frames``:
    the first time points alone, as the others are still being written; None: all.
    """

    path: str | Url
    level: int = 0
    axes: str | None = None
    voxel_size_um: tuple[float, float, float] | None = None
    booleans: bool = False
    scene: int | None = None
    frames: int | None = None


class Source(Protocol):
    """An image that is read box by box. Thread-safe."""

    @property
    def volume(self) -> Volume:
        """Axes, shape (t c z y x), dtype, voxel size and channel names."""

    @property
    def metadata(self) -> ImageMetadata:
        """Units, scale and display settings to copy to the output."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings about a readable input: skipped or missing data.

        Shown by `ssi plan`, `ssi run` and the report. Computed on demand, by the client only.

        Raises
        ------
        InputError
            Data stated in the metadata are missing.
        """

    def read(self, t: int, c: int, box: Box) -> NDArray[Any]:
        """Return the pixels of a box (z y x positions in the image), axes z y x, native dtype.

        Raises
        ------
        ValueError
            The box is not inside the image.
        CorruptDataError
            The pixels cannot be read; names the chunk or page.
        """

    def stamp(self) -> dict[str, Any]:
        """Return digests of the metadata, as a JSON document."""

    def files(self) -> Sequence[Place]:
        """Return the files of pixels, and folders that contain only such files."""
