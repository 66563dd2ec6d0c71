"""Read measurements from the input: of tiles, and of samples for calibration and training."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import CorruptDataError, InputError
from ssi_pipeline.geometry import Box
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.storage.state.made_from import join_digests
from ssi_pipeline.tasks.context import Context
from ssi_pipeline.tasks.reading import noted_reads, read_input
from ssi_pipeline.tasks.seeds import seed_for

_SAMPLES = 32
"""Boxes used to calibrate a channel: two million pixels in 2D, seven million in 3D."""

_MOST_SAMPLES = 1000
"""Most boxes read to find a finite pixel: data in one box of a thousand are found with a probability of 63 %."""

_SAMPLE_SIDE = {2: (1, 256, 256), 3: (24, 96, 96)}


def read_measurement(
    context: Context, t: int, c: int, domain: Box, for_statistics: bool = False
) -> tuple[Measurement, int]:
    """Read a domain (z y x, in the output), padded by reflection outside the image.

    Returns the measurement and the number of NaN or infinite pixels, which are excluded from the loss.

    Raises
    ------
    InputError
        There are such pixels and ``input.nonfinite`` is ``fail``; not with ``for_statistics``, as samples ignore them
        and must not stop tiles that have none. Or values exceed the range of float32.
    """
    inside = domain.intersect(context.plan.bounds)
    raw = read_input(context, t, c, inside)
    with np.errstate(over="ignore"):
        y = raw.astype(np.float32)
    finite = np.isfinite(y)
    too_large = int((np.isfinite(raw) & ~finite).sum())
    if too_large and not for_statistics:
        raise InputError(f"{too_large} pixels exceed the range of float32 (3e38): rescale the input")
    bad = int(finite.size - finite.sum())
    if bad and not for_statistics and context.document.config.input.nonfinite == "fail":
        raise InputError(f"{bad} pixels are NaN or infinite; set input.nonfinite: mask to fill them from neighbours")
    if bad:
        y = fill_nonfinite(y, finite)
    width = [(i - d, e - s) for d, i, s, e in zip(domain.start, inside.start, inside.stop, domain.stop, strict=True)]
    return Measurement(np.pad(y, width, mode="reflect"), np.pad(finite, width, constant_values=False)), bad


def fill_nonfinite(y: NDArray[np.float32], finite: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return an image (z y x) with non-finite pixels replaced by local means; 0 if none is finite.

    Copies of the nearest pixel would share its noise, which would look like signal.
    """
    import torch

    from ssi_pipeline.inversion.masking import fill_unknown  # torch is needed for inputs with gaps only

    planes = [
        fill_unknown(torch.from_numpy(np.where(f, p, 0)), torch.from_numpy(f)) for p, f in zip(y, finite, strict=True)
    ]
    return np.stack([plane.numpy() for plane in planes]).astype(np.float32)


def sample_measurements(context: Context, c: int) -> list[Measurement]:
    """Read boxes of moderate size at random places in the time points and volume of a channel.

    If none has a finite pixel, further ones are read until one has.

    Raises
    ------
    InputError
        No box has a finite pixel.
    """
    first, further, cells = sample_places(context, c, _SAMPLES)
    samples = _readable(context, c, first)
    if any(s.observed.any() for s in samples):
        return samples
    for place in further:
        samples = _readable(context, c, [place])
        if samples[0].observed.any():
            return samples
    where = "all of it was read" if len(further) == cells else f"{len(further)} of {cells} places were read"
    raise InputError(
        f"channel {c} has only NaN or infinite pixels ({where}): check the input, or select a region with data with "
        "input.roi"
    )


def samples_source(context: Context, c: int) -> str:
    """Return the digest of the current input that a calibration task would record."""
    with noted_reads() as digests, contextlib.suppress(InputError, CorruptDataError):
        sample_measurements(context, c)
    return join_digests(digests)


def sample_places(context: Context, c: int, count: int) -> tuple[list[tuple[int, Box]], list[tuple[int, Box]], int]:
    """Return t and box (z y x) of the samples of a channel, of further candidates, and the total number of boxes."""
    plan = context.plan
    side = tuple(min(s, n) for s, n in zip(_SAMPLE_SIDE[plan.dimensions], plan.extent, strict=True))
    grid = (plan.shape[0], *(-(-n // s) for n, s in zip(plan.extent, side, strict=True)))
    cells = math.prod(grid)
    rng = np.random.default_rng(seed_for(context.document.config.seed, "sample", c))

    def place(cell: int) -> tuple[int, Box]:
        """Return time point and box of a cell."""
        t, *position = (int(p) for p in np.unravel_index(cell, grid))
        return t, _sample_box(position, side, plan.extent)

    first = sorted(rng.choice(cells, size=min(count, cells), replace=False).tolist())
    further = rng.choice(cells, size=min(_MOST_SAMPLES, cells), replace=False).tolist()
    return [place(cell) for cell in first], [place(cell) for cell in further], cells


def _readable(context: Context, c: int, places: Sequence[tuple[int, Box]]) -> list[Measurement]:
    """Read the readable boxes: a damaged chunk affects its tiles, not the whole channel.

    Raises
    ------
    CorruptDataError
        No box can be read; the first error.
    """
    samples, problems = [], []
    for t, box in places:
        try:
            samples.append(read_measurement(context, t, c, box, for_statistics=True)[0])
        except CorruptDataError as problem:
            problems.append(problem)
    if not samples:
        raise problems[0]
    return samples


def _sample_box(position: list[int], side: Ints, extent: Ints) -> Box:
    """Return a cell of the sampling grid, shifted inwards at the border so that all have the same shape."""
    start = tuple(min(p * s, n - s) for p, s, n in zip(position, side, extent, strict=True))
    return Box(start, tuple(a + s for a, s in zip(start, side, strict=True)))


def sample_tiles(context: Context, c: int, count: int) -> list[Measurement]:
    """Read the domains of random tiles of a channel, for the training of a shared network."""
    return _readable(context, c, training_places(context, c, count))


def training_places(context: Context, c: int, count: int) -> list[tuple[int, Box]]:
    """Return t and domain (z y x) of the training tiles of a channel's shared network."""
    grid = context.plan.tile_grid
    inner = math.prod(grid[2:])
    rng = np.random.default_rng(seed_for(context.document.config.seed, "train", c))
    chosen = rng.choice(grid[0] * inner, size=min(count, grid[0] * inner), replace=False)
    tiles = [context.plan.tile((int(i) // inner * grid[1] + c) * inner + int(i) % inner) for i in sorted(chosen)]
    return [(tile.t, tile.domain) for tile in tiles]
