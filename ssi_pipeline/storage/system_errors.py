"""What the system says when it cannot write or read: one sentence and one thing to do for each errno.

Errors of a stream name no file ("[Errno 28] No space left on device"): ``writing`` adds the one that was meant.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ssi_pipeline.errors import CorruptDataError, OutputError, SsiError
from ssi_pipeline.exit_status import ExitStatus


@dataclass(frozen=True, slots=True)
class Cause:
    """What an errno means for a run, and what to do about it."""

    means: str
    do: str


_LOST = Cause("the file system or device is gone or does not answer", "bring its mount back")

REFUSED_WRITES = {
    errno.ENOSPC: Cause("the disk is full", "free some space"),
    errno.EDQUOT: Cause("the quota is used up", "free some of what it counts, or have it raised"),
    errno.EFBIG: Cause(
        "the file may not grow any more",
        "raise the limit on the size of files (`ulimit -f unlimited`, or that of the file system), "
        "or make files smaller by output.shard",
    ),
    errno.EROFS: Cause("the file system is read-only", "have it mounted writable"),
    errno.EACCES: Cause("permission is denied", "give the user that runs this the right to write there"),
    errno.EPERM: Cause("the operation is not permitted", "give the user that runs this the right to write there"),
}
"""Nothing more can be written, by any task: nobody's fault but the place's. The run stops in order."""

BROKEN_MACHINE = dict.fromkeys(
    (errno.ESTALE, errno.EIO, errno.ENXIO, errno.ENODEV, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN), _LOST
)
"""A mount or a device of this machine is gone; on another one the task may well succeed."""

_CAUSES = REFUSED_WRITES | BROKEN_MACHINE

_PASSING = (errno.ENOSPC, errno.EDQUOT, *BROKEN_MACHINE)
"""Nothing is wrong with what was asked for: the same command goes on when there is space, or the mount is back."""


def refuses_writes(problem: BaseException) -> bool:
    """Tell whether nothing more can be written at all."""
    return _errno(problem) in REFUSED_WRITES


def breaks_machine(problem: BaseException) -> bool:
    """Tell whether a mount or a device of this machine is gone."""
    return _errno(problem) in BROKEN_MACHINE


def _errno(problem: BaseException) -> int | None:
    """Return what the system said; an OSError of two arguments, as our own may be, takes the first for an errno."""
    return problem.errno if isinstance(problem, OSError) and not isinstance(problem, CorruptDataError) else None


def described(problem: OSError, path: Path | None = None) -> OSError:
    """Return an error that says what the system's own means and what to do; others are returned as they are.

    ``path``: the file that was meant, where the error names none.
    """
    cause = _CAUSES.get(problem.errno or 0)
    if cause is None or isinstance(problem, SsiError):
        return problem
    place = problem.filename2 or problem.filename or path
    where = f": {place}" if place is not None else ""
    told = OutputError(f"{cause.means} ({problem.strerror}){where}; {cause.do}")
    told.errno = problem.errno
    if problem.errno in _PASSING:
        told.exit_status = ExitStatus.STOPPED
    return told


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise the system's errors as ``described`` has them.

    Raises
    ------
    OutputError
        Nothing can be written there, or the file system does not answer.
    """
    try:
        yield
    except OSError as problem:
        told = described(problem, path)
        if told is problem:
            raise
        raise told from problem
