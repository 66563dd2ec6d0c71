"""Axes of an input file, and the mapping of a z y x box to its dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry import Box
from ssi_pipeline.geometry.volume import AXES, SPATIAL

_GUESS = {2: "yx", 5: "tczyx"}
_EXAMPLE = {3: "zyx", 4: "czyx"}
_SINGLE = "?"
_EXACT = 2**53
"""Largest magnitude up to which float64 represents every integer."""

_MANY_CHANNELS = 8
"""Channels of a single plane from which they are more likely the planes of a stack."""

_WIDEST = 8
"""Maximum bytes per pixel; wider floats (longdouble) have no zarr dtype."""


@dataclass(frozen=True, slots=True)
class AxisMap:
    """The axes of a file in its own order.

    ``names`` has one letter per dimension of the file; ``?`` is an unknown dimension of length 1.
    """

    names: str
    file_shape: tuple[int, ...]

    @property
    def axes(self) -> str:
        """The known axes, in the order t c z y x."""
        return "".join(axis for axis in AXES if axis in self.names)

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Length along t c z y x, 1 for an axis that the file lacks."""
        t, c, z, y, x = (self._length(axis) for axis in AXES)
        return t, c, z, y, x

    def _length(self, axis: str) -> int:
        return self.file_shape[self.names.index(axis)] if axis in self.names else 1

    def box(self, t: int, c: int, box: Box) -> Box:
        """Return the file box of a z y x box in one time point and channel.

        Raises
        ------
        ValueError
            The box is empty or not inside the image.
        """
        whole = Box((0,) * 5, self.shape)
        wanted = Box((t, c, *box.start), (t + 1, c + 1, *box.stop))
        if len(box.start) != 3 or not wanted.size or not whole.contains(wanted):
            raise ValueError(
                f"t {t}, c {c}, box {box.start} to {box.stop} is not inside the image (tczyx {self.shape})"
            )
        bounds: dict[str, tuple[int, int]] = dict(zip(AXES, zip(wanted.start, wanted.stop, strict=True), strict=True))
        pairs = [bounds.get(name, (0, 1)) for name in self.names]
        return Box(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))

    def to_zyx(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return pixels of a file box as a contiguous z y x array of native byte order.

        Raises
        ------
        InputError
            64-bit integers exceed the exact range of float64.
        """
        _refuse_inexact(values)
        keep = "".join(name for name in self.names if name in SPATIAL)
        lengths = tuple(n for n, name in zip(values.shape, self.names, strict=True) if name in SPATIAL)
        spatial = values.reshape(lengths).transpose([keep.index(axis) for axis in SPATIAL if axis in keep])
        full = spatial if "z" in keep else spatial[np.newaxis]
        return np.ascontiguousarray(full, dtype=full.dtype.newbyteorder("="))

    def from_zyx(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return pixels z y x of one time point and channel with the axes of the file."""
        whole = values[np.newaxis, np.newaxis]
        order = [AXES.index(axis) for axis in self.names if axis in AXES]
        lengths = [whole.shape[AXES.index(axis)] if axis in AXES else 1 for axis in self.names]
        return whole.transpose([*order, *(i for i in range(len(AXES)) if i not in order)]).reshape(lengths)


def _refuse_inexact(values: NDArray[Any]) -> None:
    """Refuse 64-bit integers that float64 cannot represent exactly (smaller ones are common: NumPy's default is int64).

    Beyond that they are labels, times or bit fields, not intensities.
    """
    if values.dtype.kind not in "iu" or values.dtype.itemsize < 8 or not values.size:
        return
    low, high = int(values.min()), int(values.max())
    if max(-low, high) > _EXACT:
        worst = low if -low > high else high
        raise InputError(
            f"pixels of {values.dtype.newbyteorder('=').name} reach {worst}: beyond 2^53 (9e15) integers lose digits "
            "in any float. Such values are usually labels, time stamps or bit fields; for intensities, subtract an "
            "offset first"
        )


def resolve_axes(shape: Sequence[int], found: Sequence[str] | None, asked: str | None, where: str) -> AxisMap:
    """Return the axes of a file from its metadata and the configuration.

    Parameters
    ----------
    shape
        Shape in the file.
    found
        Names in the metadata, one per dimension, or None.
    asked
        ``input.axes``, in the order of the file, or None. It overrides the metadata, except if both have the
        same axes and it lists them in the order t c z y x: then the metadata give the order.
    where
        The file, for messages.

    Raises
    ------
    InputError
        The axes are unknown, ambiguous or unsupported, or their number does not match.
    """
    names = [name.lower() for name in found] if found is not None else None
    if asked is not None:
        return _asked_axes(tuple(shape), names, asked, where)
    if names is None:
        if len(shape) not in _GUESS:
            raise InputError(_unknown(shape, where))
        names = list(_GUESS[len(shape)])
    known = [_SINGLE if n == 1 and name not in AXES else name for n, name in zip(shape, names, strict=True)]
    bad = [name for name in known if name not in (*AXES, _SINGLE)]
    if bad or any(known.count(axis) > 1 for axis in AXES):
        raise InputError(
            f"{where}: found axes {_show(names)} of shape {tuple(shape)}; expected each of t, c, z, y, x at most once. "
            f"Set input.axes, e.g. axes: {_EXAMPLE.get(len(shape), 'tczyx')}"
        )
    return _complete(AxisMap("".join(known), tuple(shape)), where)


def _asked_axes(shape: tuple[int, ...], names: list[str] | None, asked: str, where: str) -> AxisMap:
    dimensions = [i for i, n in enumerate(shape) if n > 1 or names is None or names[i] in AXES]
    if len(asked) == len(shape):
        dimensions = list(range(len(shape)))
    elif len(asked) != len(dimensions):
        # axes of length 1 that the user did not mention, e.g. the z and t of an ImageJ stack of channels
        dimensions = [i for i in dimensions if shape[i] > 1 or (names is not None and names[i] in asked)]
    if len(asked) != len(dimensions):
        shown = f"axes {_show(names)}" if names is not None else f"{len(shape)} dimensions"
        raise InputError(
            f"{where}: input.axes is {asked!r}, {len(asked)} axes, but the image has {shown} of shape {shape}. "
            "Name every axis, or remove input.axes if the file stores its axes"
        )
    inner = [names[i] for i in dimensions] if names is not None else []
    usual = asked == "".join(axis for axis in AXES if axis in asked)
    chosen = iter(inner if usual and sorted(inner) == sorted(asked) else asked)
    letters = [next(chosen) if i in dimensions else _SINGLE for i in range(len(shape))]
    return _complete(AxisMap("".join(letters), shape), where)


def _complete(found: AxisMap, where: str) -> AxisMap:
    if not {"y", "x"} <= set(found.names):
        raise InputError(
            f"{where}: found axes {found.names!r}, expected at least y and x; set input.axes, e.g. axes: zyx"
        )
    if 0 in found.file_shape:
        raise InputError(f"{where}: the image is empty, its shape is {found.file_shape}")
    return found


def describe_doubt(axes: AxisMap) -> str:
    """Return a note on a stack whose file calls its planes channels; empty where there is no doubt.

    ImageJ files written without axes (``tifffile.imwrite(path, stack, imagej=True)``) do. Each plane would be
    calibrated on its own, and none deconvolved along z.
    """
    _, channels, planes, *_ = axes.shape
    if planes > 1 or channels < _MANY_CHANNELS:
        return ""
    told = axes.names.replace(_SINGLE, "").replace("c", "z")
    return (
        f"the file says {channels} channels of a single plane; if these are the planes of a stack, set input.axes: "
        f"{told}"
    )


def _unknown(shape: Sequence[int], where: str) -> str:
    if not 2 <= len(shape) <= 5:
        return f"{where}: found {len(shape)} dimensions {tuple(shape)}, expected 2 to 5 of t, c, z, y, x"
    return (
        f"{where}: the file does not name its {len(shape)} axes {tuple(shape)}, and a wrong guess would deconvolve "
        f"along time or channels. Set input.axes, e.g. axes: {_EXAMPLE[len(shape)]}"
    )


def _show(names: Sequence[str]) -> str:
    return repr("".join(names)) if all(len(name) == 1 for name in names) else "(" + ", ".join(names) + ")"


def native_dtype(dtype: np.dtype[Any], where: str, booleans: bool = False) -> str:
    """Return the name of a real numeric dtype without its byte order; ``booleans``: those are numbers too, 0 and 1.

    Raises
    ------
    InputError
        The dtype is not an integer or a float, or wider than 8 bytes.
    """
    if dtype.kind not in ("iufb" if booleans else "iuf") or dtype.itemsize > _WIDEST:
        raise InputError(
            f"{where}: pixels are {dtype}; expected integers or floats of at most 64 bits. Convert the image first"
        )
    return str(dtype.newbyteorder("=").name)
