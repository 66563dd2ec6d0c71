"""Progress of the benchmark: a live bar on a terminal, otherwise a line per row."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from ssi_pipeline.benchmark.rows import Row, RowJob
from ssi_pipeline.benchmark.runner import OnProgress
from ssi_pipeline.benchmark.setup import Benchmark
from ssi_pipeline.words import duration


@contextmanager
def display(benchmark: Benchmark, console: Console) -> Iterator[OnProgress]:
    """Yield a callback for the finished rows and the running jobs."""
    total, known = len(benchmark.jobs), set(benchmark.done)
    if known:
        console.print(f"resuming: {len(known)} of {total} rows are done")
    running = TextColumn("{task.fields[text]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
    columns = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), running)  # only names are truncated
    with Progress(*columns, console=console, disable=not console.is_terminal, expand=True) as bar:
        task: TaskID = bar.add_task("rows", total=total, completed=len(known), text="rows")

        def report(rows: dict[int, Row], running: list[RowJob]) -> None:
            """Print new rows and update the bar; ``rows``: finished rows by index."""
            for index in sorted(rows.keys() - known):
                known.add(index)
                bar.console.print(_line(rows[index], len(known), total), markup=False, highlight=False)
            left = seconds_left(benchmark, rows)
            text = ", ".join(job.stem for job in running) or "done"
            bar.update(task, completed=len(known), text=(f"{duration(left)} left · " if left else "") + text)

        yield report


def seconds_left(benchmark: Benchmark, rows: dict[int, Row]) -> float | None:
    """Estimate the remaining wall time from the mean per method, or over all methods; None while unknown."""
    made = [row for row in rows.values() if row.seconds]
    if not made:
        return None
    total = 0.0
    for index, job in enumerate(benchmark.jobs):
        if index not in rows:
            like = [row.seconds for row in made if row.method == job.method] or [row.seconds for row in made]
            total += sum(like) / len(like)
    return total / benchmark.options.workers


def _line(row: Row, done: int, total: int) -> str:
    what = row.error or f"{row.metrics['psnr']:.2f} dB"
    seed = f" seed {row.seed}" if row.seed else ""
    stamp = time.strftime("%H:%M:%S")
    return f"{stamp} {done}/{total} {row.image} {row.method}{seed}: {what} ({row.seconds:.1f} s)"
