"""Display the progress of a run: a live bar on a terminal, plain lines elsewhere and in the log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from ssi_pipeline.redact import redact
from ssi_pipeline.results.snapshot import Pace, Snapshot
from ssi_pipeline.run.progress_bar import TerminalBar, stage_words
from ssi_pipeline.storage.atomic import write_json
from ssi_pipeline.storage.state.records import TaskRecord
from ssi_pipeline.storage.system_errors import writing

Listener = Callable[[Snapshot], None]
"""Receives the progress."""

LINE_SECONDS = 15.0
"""Time between lines where there is no bar."""

_FILE_SECONDS = 2.0


class ProgressDisplay:
    """Displays the stages of a run; ``note`` limits its own rate of output.

    ``verbosity``: -1: on the screen nothing, all in the log; 0: lines and progress; 1: also a line per task.
    ``listener``: receives each snapshot, and shows it in place of the plain lines.
    """

    def __init__(self, log: Path, state_file: Path, verbosity: int = 0, listener: Listener | None = None) -> None:
        self._stream, self._verbosity, self._listener = sys.stderr, verbosity, listener
        with writing(log):
            self._log = log.open("a", encoding="utf-8", errors="backslashreplace")
        self._file = state_file
        self._live = self._stream.isatty() and verbosity >= 0
        self._bar: TerminalBar | None = None
        self._pace = Pace("", 0, 0)
        self._line_due = self._file_due = 0.0

    def line(self, text: str) -> None:
        """Print a line on the screen and in the log."""
        text = redact(text)
        self.log(text)
        if self._bar is not None:
            self._bar.print(text)
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
        self._pace = Pace(stage, done, total)
        self._line_due = time.monotonic() + LINE_SECONDS
        if self._live:
            self._bar = TerminalBar(self._stream, stage, done, total)

    def note(self, done: int, failed: int, running: int) -> None:
        """Show and record the progress of the stage."""
        now = time.monotonic()
        snapshot = self._pace.snapshot(done, failed, running)
        if self._listener is not None:
            self._listener(snapshot)
        if self._bar is not None:
            self._bar.show(snapshot)
        if now >= self._line_due:
            self._line_due = now + LINE_SECONDS
            self.log(stage_words(snapshot))
            if not self._live and self._listener is None:
                self._print(stage_words(snapshot))
        if now >= self._file_due:
            self._file_due = now + _FILE_SECONDS
            with suppress(OSError):  # no run fails because of its display; a full disk is reported by the ledger
                write_json(self._file, asdict(snapshot))

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
