"""`ssi preview`: solve a few representative tiles as the run would, show them, and estimate the whole run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ssi_pipeline.config import RunConfig
from ssi_pipeline.config.changes import Change
from ssi_pipeline.errors import ConfigError, OutputError
from ssi_pipeline.preview.compare import Preview, solve_preview
from ssi_pipeline.preview.sheet import save_sheet
from ssi_pipeline.preview.table import save_table, screen_rows
from ssi_pipeline.preview.variants import Variant, make_variants
from ssi_pipeline.storage.atomic import write_text
from ssi_pipeline.storage.state.made import note, refuse_foreign

SHEET, TABLE, PLAN = "contact-sheet.png", "tiles.csv", "plan.txt"


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
    found = solve_preview(variants, count, say)
    voxel = found.prepared.document.volume.voxel_size_um
    note(folder, (SHEET, TABLE, PLAN))
    save_sheet(folder / SHEET, found.rows, voxel[2] if voxel else None)
    save_table(folder / TABLE, found.rows)
    write_text(folder / PLAN, "".join(f"{name}: {value}\n" for name, value in found.plan))
    _print(found, variants, say)
    say(f"wrote {SHEET}, {TABLE} and {PLAN} to {folder}")
    return found


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--output: cannot create the folder {folder}: {error}; choose another") from error


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
