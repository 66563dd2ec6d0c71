"""The errors that this package raises on purpose.

Every one is also a builtin, so that code which knows nothing of this package can catch it.
A message says what was expected, what was found, and what to do. ``exit_status`` is what ``ssi`` ends with.
"""

from __future__ import annotations

from ssi_pipeline.exit_status import ExitStatus


class SsiError(Exception):
    """Root of every error raised on purpose; its text is meant for the user."""

    exit_status: ExitStatus = ExitStatus.REFUSED


class ConfigError(SsiError, ValueError):
    """The run configuration cannot be used."""


class InputError(SsiError, ValueError):
    """The measurement (image, PSF) is missing, unreadable, or not what the configuration says."""


class GeometryError(SsiError, ValueError):
    """No tiling satisfies what was asked for."""


class OutputError(SsiError, OSError):
    """The output cannot be written, or is not ours to write."""


class RunChangedError(SsiError, ValueError):
    """The configuration, PSF or input differs from the run that the output belongs to."""


class LockedError(SsiError, BlockingIOError):
    """Another process is running on this output.

    Nothing is wrong with what was asked for: the same command goes on when the other one has ended.
    """

    exit_status = ExitStatus.STOPPED


class LockLostError(SsiError, RuntimeError):
    """This process was away for so long that another one has taken its lock over."""

    exit_status = ExitStatus.STOPPED


class CorruptDataError(SsiError, OSError):
    """Stored data cannot be read back as it was written."""


class DamagedStateError(CorruptDataError):
    """A small file of the run is damaged; the next start makes it again."""


class MissingStateError(CorruptDataError):
    """A small file of the run is not to be seen from here: it is gone, or this machine lost its mount."""


class TrainingError(SsiError, RuntimeError):
    """A training diverged, collapsed, or ended worse than the linear solution."""


class ChannelError(SsiError, RuntimeError):
    """A channel cannot be prepared, so none of its tiles can be solved."""

    exit_status = ExitStatus.FAILED


class ExecutorError(SsiError, RuntimeError):
    """The workers could not be started, or were all lost."""

    exit_status = ExitStatus.STOPPED


class MissingPackageError(ExecutorError):
    """A package that the executor needs is not installed."""

    exit_status = ExitStatus.REFUSED


class StoppedError(SsiError, RuntimeError):
    """A run that had begun cannot go on; what is done stays recorded. ``cause``: why."""

    exit_status = ExitStatus.STOPPED

    def __init__(self, text: str, cause: BaseException | None = None) -> None:
        super().__init__(text)
        if isinstance(cause, StoppedError | ChannelError | ExecutorError):
            self.exit_status = cause.exit_status


class UnfitError(ExecutorError):
    """This worker cannot compute on what the run is computed on."""
