"""Which process is it, and is it still there? Answered without comparing the clocks of two machines."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

State = Literal["gone", "stopped", "there", "elsewhere"]

_STATE, _START = 0, 19
"""Fields of /proc/PID/stat behind the name in brackets: the state, and the start in ticks since boot."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process so that it can be told from every other one, also of another machine or a later boot.

    ``boot``: the kernel's random number of this boot. ``namespace``: the space in which ``pid`` counts (containers
    have their own). Both are empty where the system has none. ``started``: by the machine's own count.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str


def this_process() -> Process:
    """Return the process that asks."""
    boot, namespace = _where()
    return Process(socket.gethostname(), boot, namespace, os.getpid(), _look(os.getpid())[1])


def state_of(process: Process) -> State:
    """Tell how a process is; ``elsewhere`` where this machine cannot know."""
    here = _where()
    if (process.boot, process.namespace) != here or not (here[0] or process.host == socket.gethostname()):
        return "elsewhere"
    try:
        os.kill(process.pid, 0)
    except (ProcessLookupError, OverflowError):
        return "gone"
    except PermissionError:
        pass  # it is another user's
    letter, started = _look(process.pid)
    if not started:
        return "elsewhere"  # hidden from us: it has to show that it lives
    if started != process.started or letter in "ZX":
        return "gone"
    return "stopped" if letter in "Tt" else "there"


def clock() -> float:
    """Return seconds that never jump and, where the system can tell, go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@cache
def _where() -> tuple[str, str]:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot, os.readlink("/proc/self/ns/pid")
    except OSError:
        return "", ""


def _look(pid: int) -> tuple[str, str]:
    """Return the letter of a process's state and its start; empty strings where they cannot be seen."""
    if not Path("/proc/self/stat").exists():
        return _look_without_proc(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[_STATE], fields[_START]
    except (OSError, IndexError):
        return "", ""


def _look_without_proc(pid: int) -> tuple[str, str]:
    import psutil

    try:
        process = psutil.Process(pid)
        letters = {psutil.STATUS_ZOMBIE: "Z", psutil.STATUS_STOPPED: "T"}
        return letters.get(process.status(), "R"), repr(process.create_time())
    except psutil.Error:
        return "", ""
