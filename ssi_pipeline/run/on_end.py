"""Run the user's ``on_end`` command at the end of a run; a failure of the command does not affect the run.

It runs after the run lock is released, because it may start the next ``ssi`` command on the same output. It is
skipped for calls that are refused before the run starts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import SsiError, StoppedError
from ssi_pipeline.exit_status import ExitStatus
from ssi_pipeline.redact import redact, secrets_in
from ssi_pipeline.run.outcome import Outcome, describe_outcome
from ssi_pipeline.run.progress import stamped
from ssi_pipeline.run.stopped import as_stopped
from ssi_pipeline.storage.state.document import StatePaths

_KEPT_BYTES, _KEPT_LINES = 8192, 5
"""Of the command's output: the cause of a failure is usually at its end."""

_KILL_SECONDS = 5.0
"""Wait after SIGKILL: a process blocked on a dead network disk does not end."""


@dataclass(slots=True)
class RunEnd:
    """How a run ended; ``outcome`` is set once the run has started."""

    outcome: Outcome | None = None
    error: BaseException | None = None

    @property
    def word(self) -> str:
        """``complete``, ``incomplete`` (tiles failed, or blocks are missing), ``failed`` or ``interrupted``."""
        if isinstance(self.error, KeyboardInterrupt):
            return "interrupted"
        if self.error is not None or self.outcome is None:
            return "failed"
        if self.outcome.interrupted:
            return "interrupted"
        return "complete" if self.outcome.complete else "incomplete"

    @property
    def exit_status(self) -> ExitStatus:
        """Exit status of ``ssi run``."""
        if isinstance(self.error, KeyboardInterrupt):
            return ExitStatus.INTERRUPTED
        if isinstance(self.error, SsiError):
            return self.error.exit_status
        if self.error is not None or self.outcome is None:
            return ExitStatus.BUG
        return self.outcome.exit_status

    @property
    def message(self) -> str:
        """Final message shown to the user."""
        if self.error is not None:
            return redact(str(self.error) or type(self.error).__name__)
        return describe_outcome(self.outcome) if self.outcome else ""


@contextmanager
def end_hook(config: RunConfig) -> Iterator[RunEnd]:
    """Run the configured command when the body ends or raises, if the run had started.

    Raises
    ------
    StoppedError
        In place of any other error of this package or the operating system, if the run had started.
    """
    ending = RunEnd()
    try:
        yield ending
    except BaseException as error:
        ending.error = error
        if ending.outcome is not None and isinstance(error, SsiError | OSError) and not isinstance(error, StoppedError):
            ending.error = as_stopped(error)
            raise ending.error from error
        raise
    finally:
        if ending.outcome is not None and config.on_end.command is not None:
            _run_hook(config, ending)


def _run_hook(config: RunConfig, ending: RunEnd) -> None:
    """Run the command; print its result as one line, and write the end of its output to the log."""
    command = config.on_end.command or ""
    log: IO[str] | None = None
    with contextlib.suppress(OSError):
        # opened first: the command may start a new run, which moves the folder
        log = StatePaths(config.state_path).log.open("a", encoding="utf-8", errors="backslashreplace")
    try:
        result, output = _run(command, config.on_end.timeout_s, _environment(config, ending))
    except KeyboardInterrupt:
        result, output = "stopped", []
    except Exception as problem:  # any error of the operating system: the result of the run does not change
        result, output = f"not run: {type(problem).__name__}: {problem}", []
    known = secrets_in(command)
    lines = [redact(line, known) for line in (f"on_end: {result}", *(f"on_end: | {line}" for line in output))]
    with contextlib.suppress(OSError, ValueError):
        print(lines[0], file=sys.stderr, flush=True)
    if log is not None:
        with contextlib.suppress(OSError), log:
            log.write(stamped("\n".join(lines)))


def _environment(config: RunConfig, ending: RunEnd) -> dict[str, str]:
    outcome = ending.outcome
    own: dict[str, Any] = {
        "SSI_OUTCOME": ending.word,
        "SSI_EXIT_STATUS": int(ending.exit_status),
        "SSI_OUTPUT": config.output.path,
        "SSI_STATE": config.state_path,
        "SSI_TILES": outcome.tiles if outcome else 0,
        "SSI_TILES_DONE": outcome.tiles_done if outcome else 0,
        "SSI_TILES_FAILED": outcome.tiles_failed if outcome else 0,
        "SSI_MESSAGE": ending.message.replace("\0", " ")[:4000],
    }
    return {**os.environ, **{name: str(value) for name, value in own.items()}}


def _run(command: str, timeout_s: float, environment: dict[str, str]) -> tuple[str, list[str]]:
    """Return the command's result and its last lines.

    Its output goes to an unnamed file: with a pipe, background processes of the command would have to be waited for.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            result = f"exit status {process.wait(timeout_s)}"
        except subprocess.TimeoutExpired:
            _kill(process)
            result = f"killed after {timeout_s} s (on_end.timeout_s)"
        except BaseException:
            _kill(process)
            raise
        return result, _last_lines(output)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_KILL_SECONDS)


def _last_lines(output: IO[bytes]) -> list[str]:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _KEPT_BYTES))
    text = output.read().decode("utf-8", "replace")
    return ["".join(c if c.isprintable() else " " for c in line) for line in text.splitlines() if line.strip()][
        -_KEPT_LINES:
    ]
