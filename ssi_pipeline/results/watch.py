"""Update the status of a run repeatedly (`ssi status --watch`), on any machine that can read its state folder."""

from __future__ import annotations

import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import InputError
from ssi_pipeline.results.status import RunStatus, StatusReader
from ssi_pipeline.results.status_display import bar_cells, plain_line, view_rows

_BAR_WIDTH = 60
_BAR = (("█", "green"), ("▒", "yellow"), ("█", "red"), ("░", "dim"))
"""Done, running, failed, pending."""


def watch(config: RunConfig, name: str, seconds: float, console: Console) -> RunStatus:
    """Show the status every ``seconds``, until the image is complete and no client is running.

    Parameters
    ----------
    name
        The configuration as in a command: its file, quoted for a shell, and its ``--set`` options.
    console
        On a terminal the status is redrawn, elsewhere each update is one line.

    Returns
    -------
    RunStatus
        The last status.

    Raises
    ------
    InputError
        There is no run yet.
    """
    reader = StatusReader(config)
    status = reader.look()
    if not console.is_terminal:
        print_line(console, status)
        while not ended(status):
            time.sleep(seconds)
            status = _next(reader, status)
            print_line(console, status)
        return status
    with Live(draw(status, name, time.time()), console=console, auto_refresh=False) as live:
        while not ended(status):
            time.sleep(seconds)
            status = _next(reader, status)
            live.update(draw(status, name, time.time()), refresh=True)
    return status


def ended(status: RunStatus) -> bool:
    """Return whether the run is complete and not running; an incomplete run may be resumed at any time."""
    return status.image_complete and not status.running


def _next(reader: StatusReader, before: RunStatus) -> RunStatus:
    try:
        return reader.look()
    except InputError:  # `ssi run --new` has moved the state folder and not created the new one yet
        return before


def print_line(console: Console, status: RunStatus) -> None:
    """Print one update as a line."""
    console.print(plain_line(status, time.time()), markup=False, highlight=False, soft_wrap=True)


def draw(status: RunStatus, name: str, now: float) -> RenderableType:
    """Return the display of one update; ``now``: seconds since 1970."""
    bar = Text()
    counts = (status.tiles_done, status.tiles_running, status.tiles_failed, status.tiles_pending)
    for cells, (sign, style) in zip(bar_cells(counts, _BAR_WIDTH), _BAR, strict=True):
        bar.append(sign * cells, style)
    bar.append(f" {100 * status.tiles_done / status.tiles:.1f} %")
    table = Table.grid(padding=(0, 2))
    for left, right in view_rows(status, name, now):
        table.add_row(Text(left, "bold"), Text(right))
    return Group(bar, table)
