"""Configuration sections of PSFs that vary over the image, and the union of all kinds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ssi_pipeline.config.psf import Blurring, DepthByZ, GibsonLanniPsf, IdentityPsf
from ssi_pipeline.config.section import Position, Section, SpatialAxis, Stop
from ssi_pipeline.config.sections import TrainingConfig

Range = tuple[Position, Stop]
"""Start, included, and stop, excluded, in pixels of the image."""

_AXES: tuple[SpatialAxis, ...] = ("z", "y", "x")


class PsfPart(Section):
    """The PSF in a range of z, a part of the field, or both. It counts in the middle of each range."""

    z: Range | None = None
    y: Range | None = None
    x: Range | None = None
    psf: Annotated[Blurring, Field(discriminator="kind")]

    @property
    def ranges(self) -> tuple[Range | None, ...]:
        """Ranges along z y x; None: the PSF is the same along this axis."""
        return self.z, self.y, self.x


class VaryingPsf(Section):
    """PSFs of parts that divide the image like a grid; interpolated between the middles of the parts."""

    kind: Literal["varying"]
    by: Annotated[tuple[PsfPart, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _check(self) -> VaryingPsf:
        for index, axis in enumerate(_AXES):
            stated = {part.ranges[index] is not None for part in self.by}
            if len(stated) > 1:
                raise ValueError(
                    f"by: some parts have a range of {axis}, others none: expected one in each, or in none"
                )
            _refuse_gaps(axis, self.edges(index))
        _refuse_other_than_grid(self)
        if any(varies(part.psf) for part in self.by):
            raise ValueError("by: depth_um changes along z inside a part: expected one depth in each")
        return self

    def edges(self, index: int) -> list[Range]:
        """Return the distinct ranges along an axis (0 z, 1 y, 2 x), in their order; nothing where it does not vary."""
        return sorted({found for part in self.by if (found := part.ranges[index]) is not None})

    def edges_or_all(self, index: int) -> Sequence[Range | None]:
        """Return the ranges along an axis, None in their place where it does not vary."""
        return self.edges(index) or [None]


PsfConfig = Annotated[Blurring | VaryingPsf | IdentityPsf, Field(discriminator="kind")]


def parts_of(section: PsfConfig) -> Sequence[PsfConfig]:
    """Return the sections of single PSFs that a section consists of: itself, unless it lists others."""
    return [part.psf for part in section.by] if isinstance(section, VaryingPsf) else [section]


def varies(section: PsfConfig) -> bool:
    """Return whether a PSF changes over the image."""
    by_depth = isinstance(section, GibsonLanniPsf) and isinstance(section.depth_um, DepthByZ)
    return by_depth or isinstance(section, VaryingPsf)


def refuse_shared_network(training: TrainingConfig) -> None:
    """Refuse a network that several tiles use with a PSF that varies.

    Raises
    ------
    ValueError
        Says which option shares the network.
    """
    shared = [
        *([f"training.scope is {training.scope}"] if training.scope != "per_tile" else []),
        *(["training.start_from gives a network"] if training.start_from is not None else []),
    ]
    if shared:
        raise ValueError(
            f"psf varies over the image, but {shared[0]}, and a network that tiles share is an inverse of one PSF: "
            "expected training.scope: per_tile, a solver without training such as tv_cg, or one PSF"
        )


def words(ranges: Sequence[Range | None]) -> str:
    """Return ranges along z y x in words, for instance ``z [0, 40], y [0, 512]``."""
    return ", ".join(f"{axis} [{r[0]}, {r[1]}]" for axis, r in zip(_AXES, ranges, strict=True) if r is not None)


def _refuse_gaps(axis: str, edges: Sequence[Range]) -> None:
    """Refuse ranges that do not follow one another from 0."""
    for start, stop in edges:
        if start >= stop:
            raise ValueError(f"by: {axis} is [{start}, {stop}]: expected start < stop")
    if edges and edges[0][0]:
        raise ValueError(f"by: the ranges of {axis} begin at {edges[0][0]}: expected 0, the first pixel of the image")
    for before, after in pairwise(edges):
        if before[1] != after[0]:
            what = "leave a gap" if before[1] < after[0] else "overlap"
            raise ValueError(
                f"by: the ranges of {axis} {[*before]} and {[*after]} {what}: expected one to begin where another ends"
            )


def _refuse_other_than_grid(section: VaryingPsf) -> None:
    """Refuse parts that are missing or given twice."""
    found = [part.ranges for part in section.by]
    known, grid = set(found), product(*(section.edges_or_all(index) for index in range(3)))
    twice = next((ranges for ranges in found if found.count(ranges) > 1), None)
    if twice is not None:
        where = words(twice) or "the whole image"
        raise ValueError(f"by: two PSFs for {where}: expected one for each part, with a range of z, y or x")
    for ranges in (ranges for ranges in grid if ranges not in known):
        raise ValueError(f"by: no PSF for {words(ranges)}: expected one for each range of z, y and x with each other")
