"""Words and a terminal's bar for the progress of a stage."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ssi_pipeline.results.snapshot import Snapshot
from ssi_pipeline.words import duration, per_time


class TerminalBar:
    """Bar of one stage; ``transient``: it disappears at the end."""

    def __init__(self, stream: TextIO, stage: str, done: int, total: int, transient: bool = False) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[extra]}"),
            TimeElapsedColumn(),
            console=Console(file=stream),
            transient=transient,
        )
        self._task = self._progress.add_task(stage, total=total, completed=done, extra="")
        self._progress.start()

    def show(self, snapshot: Snapshot) -> None:
        """Show how far the stage is."""
        self._progress.update(self._task, completed=snapshot.done, extra=pace_words(snapshot))

    def print(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(text, highlight=False, markup=False)

    def stop(self) -> None:
        """Stop the bar."""
        self._progress.stop()


def stage_words(snapshot: Snapshot) -> str:
    """Return how far a stage is, as a line."""
    return ", ".join(
        filter(None, (f"{snapshot.stage}: {snapshot.done} of {snapshot.total} done", pace_words(snapshot)))
    )


def pace_words(snapshot: Snapshot) -> str:
    """Return failures, rate and time left, as far as known."""
    parts = []
    if snapshot.failed:
        parts.append(f"{snapshot.failed} failed")
    if snapshot.rate:
        parts.append(per_time(snapshot.rate))
    if snapshot.left_s is not None:
        parts.append(f"{duration(snapshot.left_s)} left")
    return ", ".join(parts)
