"""Exceptions of this package.

Each also derives from a builtin exception, so that callers can catch it without importing this package.
A message states what was expected, what was found and what to do. ``exit_status``: exit status of ``ssi``.
"""

from __future__ import annotations

from ssi_pipeline.exit_status import ExitStatus


class SsiError(Exception):
    """Base class of all exceptions of this package; the message is meant for the user."""

    exit_status: ExitStatus = ExitStatus.REFUSED


class ConfigError(SsiError, ValueError):
    """The run configuration is invalid."""


class InputError(SsiError, ValueError):
    """The input image or PSF is missing, unreadable, or does not match the configuration."""


class GeometryError(SsiError, ValueError):
    """No tiling satisfies the configuration."""


class OutputError(SsiError, OSError):
    """The output cannot be written, or was not written by ssi."""


class RunChangedError(SsiError, ValueError):
    """Configuration, PSF or input differ from those of the run that the output belongs to."""


class LockedError(SsiError, BlockingIOError):
    """Another process is working on this output.

    The request itself is valid: the same command works after the other process has ended.
    """

    exit_status = ExitStatus.STOPPED


class LockLostError(SsiError, RuntimeError):
    """This process did not renew its lock in time, and another process took it over."""

    exit_status = ExitStatus.STOPPED


class CorruptDataError(SsiError, OSError):
    """Stored data cannot be read back."""


class StoreError(SsiError, OSError):
    """An object store or web server refuses a request, or does not answer; the data may be sound."""

    exit_status = ExitStatus.STOPPED


class DamagedStateError(CorruptDataError):
    """A small file of the run is damaged; the next start writes it again."""


class MissingStateError(CorruptDataError):
    """A small file of the run is missing: it was deleted, or this machine lost its mount."""


class TrainingError(SsiError, RuntimeError):
    """A training diverged, collapsed, or gave a worse result than the linear estimate."""


class DeviceMemoryError(SsiError, RuntimeError):
    """The memory of a GPU is too small for a tile, also with half the batch and with the network in pieces."""


class ChannelError(SsiError, RuntimeError):
    """The calibration or training of a channel failed, so none of its tiles can be solved."""

    exit_status = ExitStatus.FAILED


class ExecutorError(SsiError, RuntimeError):
    """Workers could not be started, or all of them were lost."""

    exit_status = ExitStatus.STOPPED


class MissingPackageError(ExecutorError):
    """A package required by the executor is not installed."""

    exit_status = ExitStatus.REFUSED


def how_to_install(packages: str, extra: str) -> str:
    """Say how to install what an extra brings. The package itself is on no index: its name is nothing for pip."""
    return f"pip install {packages}, or '.[{extra}]' in a clone of ssi_pipeline"


class StoppedError(SsiError, RuntimeError):
    """A run stopped early; finished tasks stay recorded. ``cause``: the reason."""

    exit_status = ExitStatus.STOPPED

    def __init__(self, text: str, cause: BaseException | None = None) -> None:
        super().__init__(text)
        if isinstance(cause, StoppedError | ChannelError | ExecutorError):
            self.exit_status = cause.exit_status


class UnfitError(ExecutorError):
    """This worker lacks the device or precision that the run uses."""
