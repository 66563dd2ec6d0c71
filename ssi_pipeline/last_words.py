"""The last handler of the command line: whatever ends a command, there is a reason to read and an exit status."""

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
"""Environment variable: anything but empty shows the traceback of every error on the screen."""

_TO_CHANGE = (errno.ENAMETOOLONG, errno.ELOOP, errno.EROFS, errno.EINVAL)
_WRONG_NAMES = (FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError, IsADirectoryError)
"""What the system says of a path that is not as the command needs it; the same command will not go on later."""

Folder = Callable[[], Path | None]
"""Returns the state folder of the run that a command was about, if there is one."""


def end_well(call: Callable[[], int], folder: Folder, show: Callable[[], bool]) -> int:
    """Call a command; returns its exit status, whatever it ends with.

    Parameters
    ----------
    call
        The command.
    folder
        Where the traceback of a fault of ours is kept.
    show
        Tells whether to print the traceback of every error, as ``SSI_DEBUG=1`` does.
    """
    open_closed_streams()
    use_any_terminal()
    try:
        status = call()
        sys.stdout.flush()
        return status
    except SystemExit:  # --help and the like
        if _reader_is_gone():
            return ExitStatus.READER_GONE
        raise
    except KeyboardInterrupt:
        _say("stopped; run the same command again to resume")
        return ExitStatus.INTERRUPTED
    except Exception as error:
        if show() or os.environ.get(DEBUG_VARIABLE):
            with suppress(OSError, ValueError):
                print(redact("".join(traceback.format_exception(error))), file=sys.stderr)
        return _status_of(error, folder)


def _status_of(error: Exception, folder: Folder) -> int:
    if isinstance(error, BrokenPipeError) and _reader_is_gone():
        return ExitStatus.READER_GONE
    if isinstance(error, SsiError):
        _say(str(error))
        return error.exit_status
    if isinstance(error, OSError):
        _say(str(error) or type(error).__name__)
        refused = isinstance(error, _WRONG_NAMES) or error.errno in _TO_CHANGE
        return ExitStatus.REFUSED if refused else ExitStatus.STOPPED
    if isinstance(error, MemoryError):
        _say(
            "this machine has not enough memory for it: use one with more, or smaller tiles (tiling.core), fewer "
            f"workers (executor.workers), a smaller region (input.roi){_detail(error)}"
        )
        return ExitStatus.STOPPED
    _say(_describe_bug(error, folder))
    return ExitStatus.BUG


def _detail(error: Exception) -> str:
    return f" ({error})" if str(error) else ""


def _describe_bug(error: Exception, folder: Folder) -> str:
    kept = _keep(error, folder)
    where = f"all about it is in {kept}" if kept else f"it could not be written to a file: {DEBUG_VARIABLE}=1 shows it"
    return (
        f"this is a fault in ssi itself, not in what you asked for: {type(error).__name__}: {str(error)[:300]}\n"
        f"  version {__version__}; {where}\n"
        "  please report it to those who maintain your copy of ssi_pipeline, with that file and your configuration; "
        "what a run has done stays recorded"
    )


def _keep(error: Exception, folder: Folder) -> Path | None:
    """Write the traceback to the logs of the run, or to the folder for temporary files where that is not possible."""
    text = redact("\n".join([*_circumstances(), "".join(traceback.format_exception(error))]))
    name = f"bug-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    state = None
    with suppress(Exception):  # the configuration may be what cannot be read
        state = folder()
    for place in [*([state / "logs", state] if state else []), Path(tempfile.gettempdir())]:
        with suppress(OSError, ValueError):
            # "x": nobody else's file is written to, also not through a link that somebody has put there
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


def _say(text: str) -> None:
    """Print on standard error; where even that is gone, there is nobody to tell."""
    with suppress(OSError, ValueError):
        print(f"ssi: {visible(redact(text))}", file=sys.stderr, flush=True)


def visible(text: str) -> str:
    """Return a text in which control characters can do nothing to a terminal, and are seen; lines stay lines."""
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _reader_is_gone() -> bool:
    """Tell whether standard output is a pipe that nobody reads; what waits to be written to it is dropped."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(output, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, output)  # Python writes what is left once more when it ends
    os.close(nowhere)
    return True


def open_closed_streams() -> None:
    """Let output go nowhere that was closed (``ssi ... >&-``, some daemons), as the caller wanted it.

    Left closed, the numbers of these streams would be given to the next files that are opened, and whatever a library
    prints would end up in a ledger.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def use_any_terminal() -> None:
    """Write characters that the terminal's encoding lacks as escapes, instead of failing at them."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
