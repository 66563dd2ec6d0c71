"""Exit statuses of ``ssi``, by the next step of a calling script. Numbers never change."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit status of a command.

    2 is also argparse's status for a wrong command line, 70 is EX_SOFTWARE of sysexits.h, 130 and 141 are the shells'
    statuses for Ctrl-C and for a closed pipe.
    """

    COMPLETE = 0
    FAILED = 1
    REFUSED = 2
    STOPPED = 3
    UNFINISHED = 4
    BUG = 70
    INTERRUPTED = 130
    BROKEN_PIPE = 141

    @property
    def meaning(self) -> str:
        """Cause and next step."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitStatus.COMPLETE: "success",
    ExitStatus.FAILED: "tiles failed, or data are bad: see `ssi status` or `ssi report`; the same command does not "
    "retry them",
    ExitStatus.REFUSED: "refused before any work: fix the cause in the message",
    ExitStatus.STOPPED: "stopped by an external cause (disk, network, workers, memory, another client on this output): "
    "the same command resumes",
    ExitStatus.UNFINISHED: "nothing failed, but tasks are pending: run again (after --finish: run the listed parts)",
    ExitStatus.BUG: "internal error: report the file in the message",
    ExitStatus.INTERRUPTED: "interrupted by Ctrl-C, SIGTERM or SIGHUP: the same command resumes",
    ExitStatus.BROKEN_PIPE: "the reader of its output ended, as in `ssi status run.yaml | head -1`",
}


def describe_statuses() -> str:
    """Return the table for ``ssi --help``."""
    rows = (f"  {status.value:>3}  {status.meaning}" for status in ExitStatus)
    return "\n".join(["exit status:", *rows])
