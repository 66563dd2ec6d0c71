"""Log of each worker process, in a file of its own in the run's state folder.

Every line contains time, task, host and device, so that the files of many workers can be searched and sorted together.
Errors of the log never affect a task.
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
"""Most runs whose log files a worker keeps open."""


@dataclass(frozen=True, slots=True)
class TaskLog:
    """Log of one task; ``where``: the common part of its lines."""

    logger: logging.Logger
    where: str

    def begun(self) -> None:
        """Log the start of the task."""
        self._log(logging.INFO, "started")

    def ended(self, record: TaskRecord, trace: str) -> None:
        """Log the end of the task, with the full traceback of an error."""
        if record.error is None:
            self._log(logging.INFO, f"done in {record.seconds:.3f} s{_result(record)}")
        else:
            text = f"failed after {record.seconds:.3f} s: {record.error}\n{trace.rstrip()}"
            self._log(logging.ERROR, redact(text))

    def _log(self, level: int, text: str) -> None:
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
    """Return a name for this process that is unique among all workers of a run."""
    job = os.environ.get("SLURM_JOB_ID", "")
    return f"{job}{'-' if job else ''}{host_name()}-{os.getpid()}"


@lru_cache(maxsize=1)
def host_name() -> str:
    """Return SLURM's name of this node if there is one, else the host name."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _position(context: Context, job: Job) -> str:
    """Return the first voxel of a tile's core in the output; empty for a tile that is not in the plan."""
    if job.kind != "solve" or not 0 <= job.index < context.plan.n_tiles:
        return ""
    tile = context.plan.tile(job.index)
    z, y, x = tile.core.start
    return f" t={tile.t} c={tile.c} z={z} y={y} x={x}"


_open: dict[Path, tuple[Context, logging.Logger]] = {}
_opening = threading.Lock()


def _logger(context: Context) -> logging.Logger:
    """Return the logger of this process for a run. It has no parent, so other handlers cannot silence or repeat it.

    A run that was started again may be a new one in the same folder.
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
    """Appends each record with one unbuffered write, so that lines are complete."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._file: int | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; it is dropped on a full disk or without the folder."""
        try:
            os.write(self._descriptor(), _lines(record).encode("utf-8", "backslashreplace"))
        except Exception:  # any error: the task continues
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Ignore errors."""

    def close(self) -> None:
        """Close the file, under the lock: another thread may be writing."""
        with self.lock or contextlib.nullcontext(), contextlib.suppress(OSError):
            file, self._file = self._file, None
            if file is not None:
                os.close(file)  # some file systems report a full disk only now
        super().close()

    def _descriptor(self) -> int:
        if self._file is None:
            self._path.parent.mkdir(exist_ok=True)  # not its parents: a deleted state folder is not created again
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        return self._file


def _lines(record: logging.LogRecord) -> str:
    """Return every line of the message with the full prefix, so that a search for a tile finds its traceback too."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    prefix = f"{stamp}.{int(record.msecs):03d}Z {record.levelname} {record.where} | "  # type: ignore[attr-defined]
    return "".join(f"{prefix}{line}\n" for line in record.getMessage().splitlines())
