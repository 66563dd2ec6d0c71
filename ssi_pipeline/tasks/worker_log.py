"""What each worker process did, line by line, in a file of its own in the run's state folder.

Every line says by itself when, what, where and on which device, so that the files of many workers can be
searched and sorted together. Nothing that goes wrong here reaches the task: a log is not worth a tile.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ssi_pipeline.redact import redact
from ssi_pipeline.storage.state.records import Job, TaskRecord
from ssi_pipeline.tasks.context import Context

_MOST_RUNS = 4
"""Runs whose files one worker keeps open; one that serves more opens them again."""


@dataclass(frozen=True, slots=True)
class TaskLog:
    """The lines about one task; ``where`` is the part that they share."""

    logger: logging.Logger
    where: str

    def begun(self) -> None:
        """Say that the task starts."""
        self._say(logging.INFO, "begun")

    def ended(self, record: TaskRecord, trace: str) -> None:
        """Say how the task ended, with the full traceback of what went wrong."""
        if record.error is None:
            self._say(logging.INFO, f"done in {record.seconds:.3f} s{_result(record)}")
        else:
            text = f"failed after {record.seconds:.3f} s: {record.error}\n{trace.rstrip()}"
            self._say(logging.ERROR, redact(text))

    def _say(self, level: int, text: str) -> None:
        self.logger.log(level, text, extra={"where": self.where})


def _result(record: TaskRecord) -> str:
    method, heldout = record.quality.get("method"), record.quality.get("heldout_after")
    by = f" by {method}" if method else ""
    return by + (f", held-out {heldout:.5g}" if isinstance(heldout, float) else "")


def task_log(context: Context, job: Job, device: str) -> TaskLog:
    """Return the log of a task of a run, in this process's file of that run."""
    place = f"host={host_name()} pid={os.getpid()} device={device!r}"
    return TaskLog(_logger(context), f"{job.key}{_position(context, job)} {place} attempt={job.attempt}")


def worker_name() -> str:
    """Return a name for this process that is its own among all workers of a run."""
    job = os.environ.get("SLURM_JOB_ID", "")
    return f"{job}{'-' if job else ''}{host_name()}-{os.getpid()}"


@lru_cache(maxsize=1)
def host_name() -> str:
    """Return SLURM's name of this node where there is one, else the machine's."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _position(context: Context, job: Job) -> str:
    """First voxel of a tile's core in the output; empty for a tile that the plan does not have."""
    if job.kind != "solve" or not 0 <= job.index < context.plan.n_tiles:
        return ""
    tile = context.plan.tile(job.index)
    z, y, x = tile.core.start
    return f" t={tile.t} c={tile.c} z={z} y={y} x={x}"


_open: dict[Path, tuple[Context, logging.Logger]] = {}
_opening = threading.Lock()


def _logger(context: Context) -> logging.Logger:
    """Return the logger of this process's file of a run. It is in no tree: nothing else silences or repeats its lines.

    A run that was started again may be a new one, its folder in the place of another that was put aside.
    """
    path = context.paths.logs / f"{worker_name()}.log"
    with _opening:
        if path in _open and _open[path][0] is not context:
            _close(path)
        if path not in _open:
            while len(_open) >= _MOST_RUNS:
                _close(next(iter(_open)))
            logger = logging.Logger("ssi_pipeline.worker", logging.INFO)
            logger.addHandler(_LineFile(path))
            _open[path] = context, logger
        return _open[path][1]


def _close(path: Path) -> None:
    for handler in _open.pop(path)[1].handlers:
        handler.close()


class _LineFile(logging.Handler):
    """Appends each record with one write, so that lines are whole and nothing waits in a buffer."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._file: int | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; a full disk or a lost folder drops it."""
        try:
            os.write(self._descriptor(), _lines(record).encode("utf-8", "backslashreplace"))
        except Exception:  # whatever it is, the task goes on
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: there is nobody to say it to."""

    def close(self) -> None:
        """Close the file; never between another thread's look at its number and its writing there."""
        with self.lock or contextlib.nullcontext(), contextlib.suppress(OSError):
            file, self._file = self._file, None
            if file is not None:
                os.close(file)  # some file systems tell only now that the disk was full
        super().close()

    def _descriptor(self) -> int:
        if self._file is None:
            self._path.parent.mkdir(exist_ok=True)  # not its parents: a state folder that is gone stays gone
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        return self._file


def _lines(record: logging.LogRecord) -> str:
    """Every line of the message with the whole prefix, so that a search for a tile finds its traceback too."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    prefix = f"{stamp}.{int(record.msecs):03d}Z {record.levelname} {record.where} | "  # type: ignore[attr-defined]
    return "".join(f"{prefix}{line}\n" for line in record.getMessage().splitlines())
