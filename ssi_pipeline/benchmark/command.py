"""The command ``ssi benchmark``."""

from __future__ import annotations

from rich.console import Console

from ssi_pipeline.benchmark.display import display
from ssi_pipeline.benchmark.outputs import sheets, write_outputs
from ssi_pipeline.benchmark.runner import make_rows
from ssi_pipeline.benchmark.setup import Options, set_up
from ssi_pipeline.exit_status import ExitStatus

_WIDTH = 110
"""Width of the tables in characters in a file or a pipe, where rich assumes 80."""


def benchmark(options: Options) -> int:
    """Compute the missing rows, print the paper's two tables, write all outputs; return the exit status.

    Raises
    ------
    SsiError
        An option or an input is invalid; nothing was computed.
    """
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDTH
    checked = set_up(options)
    names = ", ".join(method.name for method in checked.methods)
    console.print(f"{len(checked.jobs)} rows: {len(checked.images)} images, methods {names}")
    with display(checked, Console(highlight=False, soft_wrap=True, stderr=True)) as report:
        made = make_rows(checked, report)
    rows = [made[index] for index in range(len(checked.jobs))]
    written = write_outputs(checked, rows)
    for sheet in sheets(checked, rows)[:2]:
        console.print(sheet.rich())
    for path in written:
        console.print(f"wrote {path}", markup=False)
    failed = [row for row in rows if row.error]
    for row in failed:
        console.print(f"failed: {row.image}, {row.method}, seed {row.seed}: {row.error}", markup=False)
    return ExitStatus.FAILED if failed else ExitStatus.COMPLETE
