"""Solve a few representative tiles with every variant of a configuration; nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ssi_pipeline.config.section import SpatialAxis
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.preview.choose import choose_tiles
from ssi_pipeline.preview.solve import Solved, solve_variant
from ssi_pipeline.preview.table import comparison
from ssi_pipeline.preview.variants import Variant
from ssi_pipeline.run.planning import TimeEstimate, describe_plan, estimate_time
from ssi_pipeline.run.prepare import Prepared, prepare


@dataclass(frozen=True, slots=True)
class Preview:
    """Results: solved tiles by variant, rows of the plan, comparison of variants (the best first).

    ``prepared``, ``time``: what the plan was made of.
    """

    rows: list[Solved]
    plan: list[tuple[str, str]]
    comparison: list[str]
    prepared: Prepared
    time: TimeEstimate | None


def solve_preview(variants: Sequence[Variant], count: int, log: Callable[[str], None]) -> Preview:
    """Solve ``count`` tiles with every variant.

    Raises
    ------
    ConfigError
        The variants have different tiles.
    SsiError
        A tile fails.
    """
    prepared = prepare(variants[0].config)
    variants = [_same_tiles(variant, prepared) for variant in variants]
    tiles = choose_tiles(prepared.context, count)
    by_variant = [solve_variant(variant, tiles, log) for variant in variants]
    rows = [row for same_tile in zip(*by_variant, strict=True) for row in same_tile]
    time = estimate_time(
        [row.seconds for row in by_variant[0]],
        prepared.document.plan.n_tiles,
        prepared.workers,
        "preview, one at a time",
    )
    return Preview(rows, describe_plan(prepared, time), comparison(rows), prepared, time)


def _same_tiles(variant: Variant, prepared: Prepared) -> Variant:
    """Fix the tiling, which may depend on PSF and solver, so that all variants solve the same tiles.

    Raises
    ------
    ConfigError
        The variant has another tiling.
    """
    plan = prepared.document.plan
    if variant.config.tiling.core is None:
        axes: tuple[SpatialAxis, ...] = ("z", "y", "x") if plan.dimensions == 3 else ("y", "x")
        core = dict(zip(axes, plan.core[-len(axes) :], strict=True))
        variant = Variant(variant.name, variant.config.with_core(core))
    found = prepare(variant.config).document.plan
    if (found.core, found.tile_grid) != (plan.core, plan.tile_grid):
        raise ConfigError(
            f"{variant.name} has a tile grid of {found.tile_grid} (t c z y x), the first variant {plan.tile_grid}: "
            "only variants with the same tiles can be compared"
        )
    return variant
