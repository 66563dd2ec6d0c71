"""Error handler of the command line: print a message for every error, and return the exit status."""

from __future__ import annotations

import errno
import os
import platform
import select
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ssi_pipeline import __version__
from ssi_pipeline.errors import SsiError
from ssi_pipeline.exit_status import ExitStatus
from ssi_pipeline.redact import redact

DEBUG_VARIABLE = "SSI_DEBUG"
"""Environment variable: if not empty, the traceback of every error is printed."""

_TO_CHANGE = (errno.ENAMETOOLONG, errno.ELOOP, errno.EROFS, errno.EINVAL)
_WRONG_NAMES = (FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError, IsADirectoryError)
"""Errors of the operating system that need a change by the user; running the same command again does not help."""

Folder = Callable[[], Path | None]
"""Returns the state folder of the command's run, if there is one."""


def run_command(call: Callable[[], int], folder: Folder, show: Callable[[], bool]) -> int:
    """Run a command and handle every error; returns the exit status.

    Parameters
    ----------
    call
        The command.
    folder
        State folder, for the traceback of an internal error.
    show
        Returns whether to print the traceback of every error, like ``SSI_DEBUG=1``.
    """
    open_closed_streams()
    use_any_terminal()
    try:
        status = call()
        sys.stdout.flush()
        return status
    except SystemExit:  # --help and the like
        if _is_pipe_closed():
            return ExitStatus.BROKEN_PIPE
        raise
    except KeyboardInterrupt:
        _print_error("stopped; run the same command again to resume")
        return ExitStatus.INTERRUPTED
    except Exception as error:
        if show() or os.environ.get(DEBUG_VARIABLE):
            with suppress(OSError, ValueError):
                print(redact("".join(traceback.format_exception(error))), file=sys.stderr)
        return _status_of(error, folder)


def _status_of(error: Exception, folder: Folder) -> int:
    if isinstance(error, BrokenPipeError) and _is_pipe_closed():
        return ExitStatus.BROKEN_PIPE
    if isinstance(error, SsiError):
        _print_error(str(error))
        return error.exit_status
    if isinstance(error, OSError):
        _print_error(str(error) or type(error).__name__)
        refused = isinstance(error, _WRONG_NAMES) or error.errno in _TO_CHANGE
        return ExitStatus.REFUSED if refused else ExitStatus.STOPPED
    if isinstance(error, MemoryError):
        _print_error(
            "out of memory: use a machine with more memory, smaller tiles (tiling.core), fewer workers "
            f"(executor.workers) or a smaller region (input.roi){_detail(error)}"
        )
        return ExitStatus.STOPPED
    _print_error(_describe_bug(error, folder))
    return ExitStatus.BUG


def _detail(error: Exception) -> str:
    return f" ({error})" if str(error) else ""


def _describe_bug(error: Exception, folder: Folder) -> str:
    kept = _keep(error, folder)
    where = f"details are in {kept}" if kept else f"no file could be written: set {DEBUG_VARIABLE}=1 for the traceback"
    return (
        f"internal error (a bug in ssi): {type(error).__name__}: {str(error)[:300]}\n"
        f"  version {__version__}; {where}\n"
        "  please report it to the maintainers of ssi_pipeline, with that file and your configuration; finished tiles "
        "of a run are kept"
    )


def _keep(error: Exception, folder: Folder) -> Path | None:
    """Write the traceback to the logs of the run, or else to the folder for temporary files."""
    text = redact("\n".join([*_circumstances(), "".join(traceback.format_exception(error))]))
    name = f"bug-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    state = None
    with suppress(Exception):  # the configuration may be unreadable
        state = folder()
    for place in [*([state / "logs", state] if state else []), Path(tempfile.gettempdir())]:
        with suppress(OSError, ValueError):
            # "x": never overwrites a file, also not through a link
            with (place / name).open("x", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            return place / name
    return None


def _circumstances() -> list[str]:
    return [
        f"ssi_pipeline {__version__}, Python {sys.version.split()[0]}, {platform.platform()}",
        f"command: {shlex.join(sys.argv)}",
        "",
    ]


def _print_error(text: str) -> None:
    """Print a message on standard error, if it is open."""
    with suppress(OSError, ValueError):
        print(f"ssi: {visible(redact(text))}", file=sys.stderr, flush=True)


def visible(text: str) -> str:
    """Return a text with control characters escaped, except newlines and tabs."""
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _is_pipe_closed() -> bool:
    """Return whether standard output is a pipe without a reader; if so, pending output is discarded."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(output, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, output)  # Python flushes its buffers again at exit
    os.close(nowhere)
    return True


def open_closed_streams() -> None:
    """Redirect closed standard streams (``ssi ... >&-``, some daemons) to the null device.

    Otherwise their file descriptors would be given to the next opened files, and output of libraries could end up in a
    ledger.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def use_any_terminal() -> None:
    """Escape characters that the terminal's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
