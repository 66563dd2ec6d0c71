"""`ssi preview`: solve a few representative tiles as the run would, show them, and estimate the whole run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssi_pipeline.config import RunConfig
from ssi_pipeline.config.changes import Change
from ssi_pipeline.config.section import SpatialAxis
from ssi_pipeline.errors import ConfigError, OutputError
from ssi_pipeline.preview.choose import choose_tiles
from ssi_pipeline.preview.sheet import save_sheet
from ssi_pipeline.preview.solve import Solved, solve_variant
from ssi_pipeline.preview.table import comparison, save_table, screen_rows
from ssi_pipeline.preview.variants import Variant, make_variants
from ssi_pipeline.run.planning import TimeEstimate, describe_plan, estimate_time
from ssi_pipeline.run.prepare import Prepared, prepare
from ssi_pipeline.storage.atomic import write_text
from ssi_pipeline.storage.state.made import note, refuse_foreign

SHEET, TABLE, PLAN = "contact-sheet.png", "tiles.csv", "plan.txt"


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


def preview(
    config: RunConfig,
    count: int,
    psfs: Sequence[Path],
    changes: Sequence[Change],
    folder: Path,
    say: Callable[[str], None],
) -> Preview:
    """Solve ``count`` tiles with every variant; write sheet, table and plan to ``folder``, ``say`` table and plan.

    Raises
    ------
    ConfigError
        The number of tiles or a variant is invalid.
    OutputError
        The folder cannot be written.
    SsiError
        A tile fails.
    """
    if count < 1:
        raise ConfigError(f"--tiles is {count}: expected 1 or more")
    refuse_foreign(folder, (SHEET, TABLE, PLAN))
    _make(folder)
    variants = make_variants(config, psfs, changes)
    prepared = prepare(variants[0].config)
    variants = [_same_tiles(variant, prepared) for variant in variants]
    tiles = choose_tiles(prepared.context, count)
    by_variant = [solve_variant(v, tiles, say) for v in variants]
    rows = [row for same_tile in zip(*by_variant, strict=True) for row in same_tile]
    time = estimate_time(
        [row.seconds for row in by_variant[0]],
        prepared.document.plan.n_tiles,
        prepared.workers,
        "preview, one at a time",
    )
    found = Preview(rows, describe_plan(prepared, time), comparison(rows), prepared, time)
    voxel = prepared.document.volume.voxel_size_um
    note(folder, (SHEET, TABLE, PLAN))
    save_sheet(folder / SHEET, rows, voxel[2] if voxel else None)
    save_table(folder / TABLE, rows)
    write_text(folder / PLAN, "".join(f"{name}: {value}\n" for name, value in found.plan))
    _print(found, variants, say)
    say(f"wrote {SHEET}, {TABLE} and {PLAN} to {folder}")
    return found


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--output: cannot create the folder {folder}: {error}; choose another") from error


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


def _print(found: Preview, variants: Sequence[Variant], say: Callable[[str], None]) -> None:
    table = screen_rows(found.rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        say("  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip())
    for line in found.comparison:
        say(line)
    if len(variants) > 1:
        say(f"the plan is that of {variants[0].name}")
    width = max(len(name) for name, _ in found.plan)
    for name, value in found.plan:
        say(f"{name:<{width}}  {value}")
