"""The exit statuses of ``ssi``: one number for each thing that a script has to do next. Numbers never change."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """What a script has to do next.

    2 is what argparse ends with on a wrong command line, 70 is EX_SOFTWARE of sysexits.h, 130 and 141 are what
    shells give for Ctrl-C and for a closed pipe.
    """

    COMPLETE = 0
    FAILED = 1
    REFUSED = 2
    STOPPED = 3
    UNFINISHED = 4
    BUG = 70
    INTERRUPTED = 130
    READER_GONE = 141

    @property
    def meaning(self) -> str:
        """What happened, and what to do about it."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitStatus.COMPLETE: "done, and all is well",
    ExitStatus.FAILED: "tiles failed, or data are bad: look (`ssi status`, `ssi report`), the same call will not "
    "try them again",
    ExitStatus.REFUSED: "refused, before any work: change what the message names",
    ExitStatus.STOPPED: "stopped by something outside (disk, network, workers, memory, another client on this output): "
    "the same command goes on later",
    ExitStatus.UNFINISHED: "nothing failed, but work is left: run again (with --finish: the parts that it names)",
    ExitStatus.BUG: "a fault in ssi itself: report it, with the file that the message names",
    ExitStatus.INTERRUPTED: "interrupted by Ctrl-C, SIGTERM or SIGHUP: the same command goes on",
    ExitStatus.READER_GONE: "who read its output went away, as in `ssi status run.yaml | head -1`",
}


def describe_statuses() -> str:
    """Return the table for ``ssi --help``."""
    rows = (f"  {status.value:>3}  {status.meaning}" for status in ExitStatus)
    return "\n".join(["exit status:", *rows])
