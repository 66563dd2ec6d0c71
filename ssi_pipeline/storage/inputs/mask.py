"""The mask beside the input: an image of the same shape, 0 where nothing was measured or nothing is wanted."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import InputConfig
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry import Box, Volume
from ssi_pipeline.geometry.plan import region_of_interest
from ssi_pipeline.storage.inputs.identity import identity
from ssi_pipeline.storage.inputs.source import as_given, open_source, spec_of
from ssi_pipeline.storage.inputs.source_protocol import Source, SourceSpec

_SPATIAL_GUESSES = ("yx", "zyx", "tyx", "cyx", "czyx", "tzyx")
"""Axes tried for a file that does not name its own; its shape has to fit the image's."""

_MOST_BOXES = 4096
"""Most boxes read to find a pixel that is not 0, at about a millisecond each; further ones are not looked at."""

_BOX = (16, 256, 256)


@dataclass(frozen=True, slots=True)
class Mask:
    """An opened mask, read at positions of the input."""

    spec: SourceSpec
    source: Source

    def masked(self, t: int, c: int, box: Box) -> NDArray[np.bool_]:
        """Return True where the mask is 0 (or NaN), z y x."""
        times, channels = self.source.volume.shape[:2]
        values = self.source.read(t if times > 1 else 0, c if channels > 1 else 0, box)
        return np.asarray(~(np.abs(values) > 0))


def open_mask(section: InputConfig, volume: Volume) -> Mask | None:
    """Open the mask of an input; None if it has none.

    Raises
    ------
    InputError
        It cannot be read, or does not have the shape of the input.
    """
    if section.mask is None:
        return None
    problem: InputError | None = None
    for level, axes in itertools.product(dict.fromkeys((section.level, 0)), _axes(section, volume)):
        spec = SourceSpec(as_given(section.mask), level, axes, booleans=True)
        try:
            found = Mask(spec, open_source(spec))
        except InputError as error:
            problem = problem or error
            continue
        if _fits(found.source.volume.shape, volume.shape):
            return found
        problem = InputError(_misfit(section, found.source.volume, volume))
    raise InputError(f"input.mask: {problem}") from problem


def input_identity(section: InputConfig, volume: Volume, frames: int | None = None) -> dict[str, Any]:
    """Return the identity of an input, or of its first time points alone, with that of its mask."""
    found, mask = identity(spec_of(section, frames)), open_mask(section, volume)
    if mask is None:
        return found
    of_mask = identity(mask.spec)
    return {**found, "mask": {key: value for key, value in of_mask.items() if key != "path"}}


def refuse_empty_mask(mask: Mask, section: InputConfig, volume: Volume) -> None:
    """Refuse a mask that excludes the whole region of interest.

    Raises
    ------
    InputError
        All of it was read, and is 0.
    """
    boxes = list(itertools.islice(_boxes(mask, section, volume), _MOST_BOXES + 1))
    random.Random(0).shuffle(boxes)  # a mask of a small region is soon found not to be empty
    if len(boxes) <= _MOST_BOXES and all(mask.masked(t, c, box).all() for t, c, box in boxes):
        raise InputError(
            f"input.mask {section.mask} is 0 in the whole region of interest: nothing would be deconvolved. Expected "
            "other values where the input was measured; is it inverted?"
        )


def _axes(section: InputConfig, volume: Volume) -> tuple[str | None, ...]:
    return tuple(dict.fromkeys((None, section.axes, volume.axes, *_SPATIAL_GUESSES)))


def _fits(mask: tuple[int, ...], image: tuple[int, ...]) -> bool:
    return mask[2:] == image[2:] and all(n in (1, m) for n, m in zip(mask[:2], image[:2], strict=True))


def _misfit(section: InputConfig, mask: Volume, image: Volume) -> str:
    return (
        f"{section.mask} has t c z y x {_times(mask.shape)}, the input {section.path} {_times(image.shape)}: expected "
        "the same z, y and x, and t and c as the input or 1"
    )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _boxes(mask: Mask, section: InputConfig, volume: Volume) -> Iterator[tuple[int, int, Box]]:
    """Yield boxes (t, c, z y x) that cover the region of interest of a mask."""
    roi, shape = region_of_interest(volume, section.roi), mask.source.volume.shape
    times, channels = (range(*span) if n > 1 else range(1) for span, n in zip(roi[:2], shape[:2], strict=True))
    starts = (range(a, b, step) for (a, b), step in zip(roi[2:], _BOX, strict=True))
    whole = Box(tuple(a for a, _ in roi[2:]), tuple(b for _, b in roi[2:]))
    for t, c, *start in itertools.product(times, channels, *starts):
        yield t, c, Box(tuple(start), tuple(a + n for a, n in zip(start, _BOX, strict=True))).intersect(whole)
