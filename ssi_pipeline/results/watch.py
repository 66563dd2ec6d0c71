"""`ssi status --watch`: look at a run again and again, from any machine that sees its state folder."""

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
"""Done, under way, failed, to do."""


def watch(config: RunConfig, name: str, seconds: float, console: Console) -> RunStatus:
    """Show where a run stands each ``seconds``, until its image is complete and no client works on it.

    Parameters
    ----------
    name
        The configuration's file, to name in commands.
    console
        Gets a picture that is redrawn where it is a terminal, a plain line for each look where it is not.

    Returns
    -------
    RunStatus
        The last one.

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
    """Tell whether there is nothing more to see; an incomplete run may be taken up again at any time."""
    return status.image_complete and not status.running


def _next(reader: StatusReader, before: RunStatus) -> RunStatus:
    try:
        return reader.look()
    except InputError:  # `ssi run --new` has put the state folder aside, and is about to make another
        return before


def print_line(console: Console, status: RunStatus) -> None:
    """Print one look as one line."""
    console.print(plain_line(status, time.time()), markup=False, highlight=False, soft_wrap=True)


def draw(status: RunStatus, name: str, now: float) -> RenderableType:
    """Return the picture of one look; ``now``: seconds since 1970."""
    bar = Text()
    counts = (status.tiles_done, status.under_way, status.tiles_failed, status.todo)
    for cells, (sign, style) in zip(bar_cells(counts, _BAR_WIDTH), _BAR, strict=True):
        bar.append(sign * cells, style)
    bar.append(f" {100 * status.tiles_done / status.tiles:.1f} %")
    table = Table.grid(padding=(0, 2))
    for left, right in view_rows(status, name, now):
        table.add_row(Text(left, "bold"), Text(right))
    return Group(bar, table)
