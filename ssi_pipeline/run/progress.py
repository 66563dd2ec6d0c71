"""Display the progress of a run: a live bar on a terminal, plain lines elsewhere and in the log."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ssi_pipeline.redact import redact
from ssi_pipeline.results.snapshot import Snapshot
from ssi_pipeline.storage.atomic import write_json
from ssi_pipeline.storage.state.records import TaskRecord
from ssi_pipeline.storage.system_errors import writing
from ssi_pipeline.words import duration, per_time

Listener = Callable[[Snapshot], None]
"""Receives the progress."""

_LINE_SECONDS = 15.0
_FILE_SECONDS = 2.0
_RATE_SECONDS = 600.0
"""Window of the rate: ten minutes, as the number of workers changes."""


class ProgressDisplay:
    """Displays the stages of a run; ``note`` limits its own rate of output.

    ``verbosity``: -1: on the screen nothing, all in the log; 0: lines and progress; 1: also a line per task.
    ``listener``: receives each snapshot.
    """

    def __init__(self, log: Path, state_file: Path, verbosity: int = 0, listener: Listener | None = None) -> None:
        self._stream, self._verbosity, self._listener = sys.stderr, verbosity, listener
        with writing(log):
            self._log = log.open("a", encoding="utf-8", errors="backslashreplace")
        self._file = state_file
        self._live = self._stream.isatty() and verbosity >= 0
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._stage, self._total = "", 0
        self._history: deque[tuple[float, int]] = deque()
        self._line_due = self._file_due = 0.0

    def line(self, text: str) -> None:
        """Print a line on the screen and in the log."""
        text = redact(text)
        self.log(text)
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            self._print(text)

    def task(self, record: TaskRecord) -> None:
        """Print a line for a finished task, if asked for."""
        if self._verbosity > 0:
            result = record.quality.get("method", record.status) if record.error is None else record.error
            where = f" on {record.host}" if record.host else ""
            self.line(f"{record.key}: {result}, {record.seconds:.1f} s{where}")

    def _print(self, text: str) -> None:
        """Print a line; it is dropped where the output is full, as no run fails because of its display."""
        if self._verbosity < 0:
            return
        try:
            print(text, file=self._stream, flush=True)
        except BrokenPipeError:  # the reader of the pipe ended: stop
            raise
        except OSError:
            return

    def start(self, stage: str, done: int, total: int) -> None:
        """Start a stage with ``done`` of ``total`` units already done."""
        self.finish_stage()
        self._stage, self._total = stage, total
        self._history.clear()
        self._history.append((time.monotonic(), done))
        self._line_due = time.monotonic() + _LINE_SECONDS
        if self._live:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[extra]}"),
                TimeElapsedColumn(),
                console=Console(file=self._stream),
                transient=False,
            )
            self._task = self._bar.add_task(stage, total=total, completed=done, extra="")
            self._bar.start()

    def note(self, done: int, failed: int, running: int) -> None:
        """Show and record the progress of the stage."""
        now = time.monotonic()
        if done != self._history[-1][1]:
            self._history.append((now, done))
        while len(self._history) > 2 and now - self._history[0][0] > _RATE_SECONDS:
            self._history.popleft()
        snapshot = self._snapshot(done, failed, running)
        if self._listener is not None:
            self._listener(snapshot)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, extra=_extra(snapshot))
        if now >= self._line_due:
            self._line_due = now + _LINE_SECONDS
            text = f"{self._stage}: {done} of {self._total} done{_comma(_extra(snapshot))}"
            self.log(text)
            if not self._live:
                self._print(text)
        if now >= self._file_due:
            self._file_due = now + _FILE_SECONDS
            with suppress(OSError):  # no run fails because of its display; a full disk is reported by the ledger
                write_json(self._file, asdict(snapshot))

    def _snapshot(self, done: int, failed: int, running: int) -> Snapshot:
        (first_time, first), (last_time, last) = self._history[0], self._history[-1]
        rate = (last - first) / (last_time - first_time) if last > first and last_time > first_time else None
        left = (self._total - done - failed) / rate if rate else None
        return Snapshot(self._stage, done, self._total, failed, running, rate, left, time.time())

    def finish_stage(self) -> None:
        """Stop the bar of a stage."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def close(self) -> None:
        """Close the display and remove its file, as the client is no longer running."""
        self.finish_stage()
        with suppress(OSError):
            self._log.close()
        with suppress(OSError):
            self._file.unlink(missing_ok=True)

    def log(self, text: str) -> None:
        """Write a line to the log only; it is dropped where the log cannot be written."""
        with suppress(OSError):
            self._log.write(stamped(text))
            self._log.flush()


def stamped(text: str) -> str:
    """Return the lines of a text with the timestamps of ``run.log``."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    return "".join(f"{stamp} {line}\n" for line in text.splitlines())


def _extra(snapshot: Snapshot) -> str:
    parts = []
    if snapshot.failed:
        parts.append(f"{snapshot.failed} failed")
    if snapshot.rate:
        parts.append(per_time(snapshot.rate))
    if snapshot.left_s is not None:
        parts.append(f"{duration(snapshot.left_s)} left")
    return ", ".join(parts)


def _comma(text: str) -> str:
    return f", {text}" if text else ""
