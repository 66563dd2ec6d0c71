"""System errors of reads and writes: one explanation and one action per errno.

Errors of a stream contain no file name ("[Errno 28] No space left on device"): ``writing`` adds it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ssi_pipeline.errors import CorruptDataError, OutputError, SsiError
from ssi_pipeline.exit_status import ExitStatus


@dataclass(frozen=True, slots=True)
class Cause:
    """Meaning of an errno for a run, and the action to take."""

    means: str
    do: str


_LOST = Cause("the file system or device is gone or does not respond", "remount it")

REFUSED_WRITES = {
    errno.ENOSPC: Cause("the disk is full", "free some space"),
    errno.EDQUOT: Cause("the quota is used up", "delete files, or have the quota raised"),
    errno.EFBIG: Cause(
        "the limit on the file size is reached",
        "raise the limit (`ulimit -f unlimited`, or that of the file system), or write smaller files with output.shard",
    ),
    errno.EROFS: Cause("the file system is read-only", "remount it writable"),
    errno.EACCES: Cause("permission is denied", "give this user write permission there"),
    errno.EPERM: Cause("the operation is not permitted", "give this user write permission there"),
}
"""Errors after which no task can write: the run stops cleanly."""

BROKEN_MACHINE = dict.fromkeys(
    (errno.ESTALE, errno.EIO, errno.ENXIO, errno.ENODEV, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN), _LOST
)
"""Errors of a lost mount or device of this machine; the task may succeed on another."""

_CAUSES = REFUSED_WRITES | BROKEN_MACHINE

_PASSING = (errno.ENOSPC, errno.EDQUOT, *BROKEN_MACHINE)
"""Temporary errors: the same command resumes after the cause is fixed."""


def refuses_writes(problem: BaseException) -> bool:
    """Tell whether nothing more can be written at all."""
    return _errno(problem) in REFUSED_WRITES


def breaks_machine(problem: BaseException) -> bool:
    """Tell whether a mount or a device of this machine is gone."""
    return _errno(problem) in BROKEN_MACHINE


def _errno(problem: BaseException) -> int | None:
    """Return the errno, or None: an OSError of two arguments takes the first for an errno, whatever it is."""
    return problem.errno if isinstance(problem, OSError) and not isinstance(problem, CorruptDataError) else None


def described(problem: OSError, path: object = None) -> OSError:
    """Return a system error with explanation and action; other errors are returned unchanged.

    ``path``: the file, if the error names none.
    """
    cause = _CAUSES.get(problem.errno or 0)
    if cause is None or isinstance(problem, SsiError):
        return problem
    place = problem.filename2 or problem.filename or path
    where = f": {place}" if place is not None else ""
    explained = OutputError(f"{cause.means} ({problem.strerror}){where}; {cause.do}")
    explained.errno = problem.errno
    if problem.errno in _PASSING:
        explained.exit_status = ExitStatus.STOPPED
    return explained


@contextmanager
def writing(path: object) -> Iterator[None]:
    """Translate system errors by ``described``.

    Raises
    ------
    OutputError
        Writing is impossible, or the file system does not respond.
    """
    try:
        yield
    except OSError as problem:
        explained = described(problem, path)
        if explained is problem:
            raise
        raise explained from problem
