"""`ssi preview`: solve a few representative tiles as the run would, show them, and estimate the whole run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import ConfigError, OutputError
from ssi_pipeline.preview.compare import Preview, solve_preview
from ssi_pipeline.preview.sheet import save_sheet
from ssi_pipeline.preview.table import save_table, screen_rows
from ssi_pipeline.preview.variants import Variant, make_variants
from ssi_pipeline.storage.atomic import write_text
from ssi_pipeline.storage.state.made import note, refuse_foreign

SHEET, TABLE, PLAN = "contact-sheet.png", "tiles.csv", "plan.txt"


def preview(
    config: RunConfig, count: int, psfs: Sequence[Path], changes: Sequence[str], folder: Path, console: Console
) -> Preview:
    """Solve ``count`` tiles with every variant; write sheet, table and plan to ``folder``, print table and plan.

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
    found = solve_preview(variants, count, lambda text: console.print(text, markup=False))
    voxel = found.voxel_size_um
    note(folder, (SHEET, TABLE, PLAN))
    save_sheet(folder / SHEET, found.rows, voxel[2] if voxel else None)
    save_table(folder / TABLE, found.rows)
    write_text(folder / PLAN, "".join(f"{name}: {value}\n" for name, value in found.plan))
    _print(found, variants, console)
    console.print(f"wrote {SHEET}, {TABLE} and {PLAN} to {folder}", markup=False)
    return found


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--output: cannot create the folder {folder}: {error}; choose another") from error


def _print(found: Preview, variants: Sequence[Variant], console: Console) -> None:
    table = screen_rows(found.rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        console.print("  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip(), markup=False)
    for line in found.comparison:
        console.print(line, markup=False)
    if len(variants) > 1:
        console.print(f"the plan is that of {variants[0].name}", markup=False)
    width = max(len(name) for name, _ in found.plan)
    for name, value in found.plan:
        console.print(f"{name:<{width}}  {value}", markup=False)
