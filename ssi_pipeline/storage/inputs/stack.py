"""Images of equal shape as the time points of one: what many images share is found on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from ssi_pipeline.config import digest
from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry import Box, Volume
from ssi_pipeline.storage.inputs.source_protocol import Source, SourceSpec
from ssi_pipeline.storage.outputs.image_metadata import ImageMetadata


class StackedSource:
    """The images of a list, opened as they are read.

    Parameters
    ----------
    members
        The images.
    opener
        Opens one of them as a source; it keeps the last ones open.

    Raises
    ------
    InputError
        They differ in shape, axes, dtype or voxel size.
    """

    def __init__(self, members: Sequence[SourceSpec], opener: Callable[[SourceSpec], Source]) -> None:
        self._members, self._opener = members, opener
        volumes = [self._image(i).volume for i in range(len(members))]
        first = volumes[0]
        for member, volume in zip(members, volumes, strict=True):
            refuse_other_volume(volume, _named(member), first, _named(members[0]))
        axes = first.axes if "t" in first.axes else f"t{first.axes}"
        shape = (first.shape[0] * len(members), *first.shape[1:])
        self._times = first.shape[0]
        self.volume = replace(first, axes=axes, shape=shape)

    def _image(self, i: int) -> Source:
        return self._opener(self._members[i])

    @cached_property
    def metadata(self) -> ImageMetadata:
        """Those of the first image."""
        return self._image(0).metadata

    @property
    def notes(self) -> tuple[str, ...]:
        """None: each image has its own in its own run."""
        return ()

    def read(self, t: int, c: int, box: Box) -> NDArray[Any]:
        """Return the pixels of a box (z y x) of time point ``t`` of the stack; see ``Source.read``."""
        return self._image(t // self._times).read(t % self._times, c, box)

    def stamp(self) -> dict[str, Any]:
        """Return a digest of the metadata of all images."""
        stamps = [self._image(i).stamp() for i in range(len(self._members))]
        return {"metadata": {"images": digest(stamps)}}

    def files(self) -> list[Place]:
        """Return the files of pixels of all images."""
        return [file for i in range(len(self._members)) for file in self._image(i).files()]


def _named(member: SourceSpec) -> str:
    return str(member.path) if member.scene is None else f"scene {member.scene} of {member.path}"


def refuse_other_volume(volume: Volume, path: str, first: Volume, first_path: str) -> None:
    """Refuse an image that cannot share a calibration with the first one.

    Raises
    ------
    InputError
        It has another shape, axes, dtype or voxel size.
    """
    for what in ("axes", "shape", "dtype", "voxel_size_um"):
        found, expected = getattr(volume, what), getattr(first, what)
        if found != expected:
            raise InputError(
                f"input.share: {path} has {what} {found}, but {first_path} has {expected}: expected images of equal "
                f"{what}; choose them by input.images, or set input.share: nothing"
            )
