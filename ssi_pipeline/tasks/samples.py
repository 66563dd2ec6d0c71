"""Read samples of a channel for its calibration, and find its fill."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from ssi_pipeline.errors import CorruptDataError, InputError
from ssi_pipeline.geometry import Box
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.sensor.fill import Fill
from ssi_pipeline.inversion.sensor.fill_value import Part, find_fill
from ssi_pipeline.storage.state.made_from import join_digests
from ssi_pipeline.tasks.context import Context
from ssi_pipeline.tasks.neighbours import pair_places, read_pairs
from ssi_pipeline.tasks.pixels import Pixels, read_box
from ssi_pipeline.tasks.reading import box_to_read, noted_reads
from ssi_pipeline.tasks.seeds import seed_for

_SAMPLES = 32
"""Boxes used to calibrate a channel: two million pixels in 2D, seven million in 3D."""

_MOST_SAMPLES = 1000
"""Most boxes read to find an observed pixel: data in one box of a thousand are found with a probability of 63 %."""

_LEAST_SEEN = 0.25
"""Share of the samples that has to be observed before no further ones are read: 0.5 million pixels in 2D."""

_SAMPLE_SIDE = {2: (1, 256, 256), 3: (24, 96, 96)}

_CORNER = 48
"""Side of the boxes in the image's corners in which thin fill is looked for: longer than the runs that make it fill."""


@dataclasses.dataclass(frozen=True, slots=True)
class Samples:
    """Samples of a channel, raw units, without its fill.

    ``pairs``: with a neighbour that the network sees, two planes each, by axis (z, t).
    """

    measurements: list[Measurement]
    fill: Fill
    pairs: dict[str, list[Measurement]]


@dataclasses.dataclass(frozen=True, slots=True)
class _Box:
    """A box of a sample, which may exceed the image as tiles do, and the pixels around it that decide what is fill."""

    t: int
    box: Box
    around: Pixels

    def without(self, fill: Fill) -> _Box:
        """Return the box with its own pixels alone, fill marked as unmeasured."""
        return _Box(self.t, self.box, self.around.without(fill).on(self.box.intersect(self.around.box)))


def sample_channel(context: Context, c: int) -> Samples:
    """Read boxes of moderate size at random places in the time points and volume of a channel, and find its fill.

    Boxes are larger where the PSF is, and fewer. Where it is large for the image, they exceed the image as tiles do.
    Where hardly a pixel of them is observed, further ones are read.

    Raises
    ------
    InputError
        No box has an observed pixel.
    """
    first, further, cells = sample_places(context, c, _SAMPLES)
    boxes, rest = _readable(context, c, first), [place for place in further if place not in first]
    fill = _fill(context, c, first, boxes, rest)
    used = [box.without(fill) for box in boxes]
    least = _LEAST_SEEN * sum(box.around.raw.size for box in used)
    for place in rest:
        if sum(map(_seen, used)) >= least:
            break
        used = [box for box in used if _seen(box)] + [box.without(fill) for box in _one(context, c, place)]
    if not any(map(_seen, used)):
        raise InputError(_nothing_observed(context, c, fill, len(further), cells))
    pairs = read_pairs(context, c, [(box.t, box.around) for box in used], fill)
    placed = [dataclasses.replace(box.around.measurement(box.box), place=context.place(box.box)) for box in used]
    return Samples(placed, fill, pairs)


def sampled_boxes(context: Context, c: int, most: int) -> list[tuple[int, Box]]:
    """Return t and box (z y x) of all that ``sample_channel`` reads of an image; of the further boxes ``most`` only."""
    first, further, _ = sample_places(context, c, _SAMPLES)
    rest = [place for place in further if place not in first]
    looked_at = _corners(context, first) if rest and context.document.config.input.fill == "auto" else []
    boxes = [(t, box_to_read(context, box, None)) for t, box in (*first, *looked_at, *rest[:most])]
    pairs = [place for t, box in boxes for place in pair_places(context, t, box)]
    return [*boxes, *((t, box_to_read(context, box, None)) for t, box in pairs)]


def _seen(box: _Box) -> int:
    return box.around.raw.size - int(np.count_nonzero(box.around.unseen))


def _fill(
    context: Context, c: int, first: list[tuple[int, Box]], boxes: list[_Box], rest: list[tuple[int, Box]]
) -> Fill:
    """Return the fill of a channel from its boxes, and from the corners of the image where these may lie elsewhere.

    Where all boxes have one and the same value, which may be fill, the first of the others that does not is added.
    """
    wanted = context.document.config.input.fill
    looked_at = [box.around for box in boxes]
    if wanted == "auto" and rest:
        looked_at += [box.around for box in _readable(context, c, _corners(context, first))]
        if len({value for pixels in looked_at for value in _ends(pixels)}) == 1:
            others = (box for place in rest for box in _one(context, c, place))
            found = next((box for box in others if len({*_ends(box.around), *_ends(looked_at[0])}) > 1), None)
            looked_at += [] if found is None else [found.around]
            boxes += [] if found is None else [found]
    return find_fill([Part(pixels.raw, pixels.unseen, pixels.border) for pixels in looked_at], wanted)


def _ends(pixels: Pixels) -> list[float]:
    """Return the lowest and the highest value that is seen; nothing without any."""
    values = pixels.raw[~pixels.unseen]
    return [float(values.min()), float(values.max())] if values.size else []


def _corners(context: Context, first: list[tuple[int, Box]]) -> list[tuple[int, Box]]:
    """Return boxes in the corners of two planes of the image, where thin fill is found if there is any."""
    whole, planes = Box((0, 0, 0), context.plan.extent), dict.fromkeys((t, box.start[0]) for t, box in first)
    spans = [sorted({(0, min(_CORNER, n)), (max(0, n - _CORNER), n)}) for n in whole.shape[1:]]
    return [
        (t, Box((z, y[0], x[0]), (z + 1, y[1], x[1])))
        for t, z in (next(iter(planes)), list(planes)[-1])
        for y, x in itertools.product(*spans)
    ]


def _nothing_observed(context: Context, c: int, fill: Fill, read: int, cells: int) -> str:
    where = "all of it was read" if read == cells else f"{read} of {cells} places were read"
    kinds = ["NaN or infinite", *(["masked"] if context.mask else []), *(["fill"] if fill.value is not None else [])]
    return (
        f"channel {c} has only {' or '.join(kinds)} pixels ({where}): check the input, or select a region with data "
        "with input.roi"
    )


def samples_source(context: Context, c: int) -> str:
    """Return the digest of the current input that a calibration task would record."""
    with noted_reads() as digests, contextlib.suppress(InputError, CorruptDataError):
        sample_channel(context, c)
    return join_digests(digests)


def sample_places(context: Context, c: int, count: int) -> tuple[list[tuple[int, Box]], list[tuple[int, Box]], int]:
    """Return t and box (z y x) of the samples of a channel, of further candidates, and the total number of boxes.

    ``count``: number of samples where the PSF is small.
    """
    plan, usual = context.plan, _SAMPLE_SIDE[context.plan.dimensions]
    # half of the usual number of pixels can be predicted at least
    wanted = tuple(max(s, 2 * r + s // 2) for s, r in zip(usual, plan.pad, strict=True))
    side = tuple(min(s, n) for s, n in zip(wanted, plan.extent, strict=True))
    margin = tuple(r if s < min(w, 4 * r) else 0 for s, w, r in zip(side, wanted, plan.pad, strict=True))
    count = max(1, count * math.prod(usual) // math.prod(wanted))
    frames = context.document.first_frames or plan.shape[0]  # growing data: the same places however many have come
    grid = (frames, *(-(-n // s) for n, s in zip(plan.extent, side, strict=True)))
    cells = math.prod(grid)
    rng = np.random.default_rng(seed_for(context.document.config.seed, "sample", c))

    def place(cell: int) -> tuple[int, Box]:
        """Return time point and box of a cell."""
        t, *position = (int(p) for p in np.unravel_index(cell, grid))
        return t, _sample_box(position, side, plan.extent).grow(margin)

    first = sorted(rng.choice(cells, size=min(count, cells), replace=False).tolist())
    further = rng.choice(cells, size=min(_MOST_SAMPLES, cells), replace=False).tolist()
    return [place(cell) for cell in first], [place(cell) for cell in further], cells


def _readable(context: Context, c: int, places: Sequence[tuple[int, Box]]) -> list[_Box]:
    """Read the readable boxes: a damaged chunk affects its tiles, not the whole channel.

    Raises
    ------
    CorruptDataError
        No box can be read; the first error.
    """
    found, problems = [], []
    for t, box in places:
        try:
            around = read_box(context, t, c, box_to_read(context, box, None), for_statistics=True)
            found.append(_Box(t, box, around))
        except CorruptDataError as problem:
            problems.append(problem)
    if not found:
        raise problems[0]
    return found


def _one(context: Context, c: int, place: tuple[int, Box]) -> list[_Box]:
    """Read one more box; nothing if it is damaged."""
    try:
        return _readable(context, c, [place])
    except CorruptDataError:
        return []


def _sample_box(position: list[int], side: Ints, extent: Ints) -> Box:
    """Return a cell of the sampling grid, shifted inwards at the border so that all have the same shape."""
    start = tuple(min(p * s, n - s) for p, s, n in zip(position, side, extent, strict=True))
    return Box(start, tuple(a + s for a, s in zip(start, side, strict=True)))
