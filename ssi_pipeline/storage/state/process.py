"""Identity and state of processes, without comparing clocks of different machines."""

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
"""Fields of /proc/PID/stat after the name in brackets: state, and start in ticks since boot."""


@dataclass(frozen=True, slots=True)
class Process:
    """Unique identity of a process, across machines and reboots.

    ``boot``: the kernel's random id of this boot. ``namespace``: the pid namespace (containers have their own).
    Both are empty if the system has none. ``started``: start time by the machine's own count.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str


def this_process() -> Process:
    """Return the identity of this process."""
    boot, namespace = _where()
    return Process(socket.gethostname(), boot, namespace, os.getpid(), _look(os.getpid())[1])


def state_of(process: Process) -> State:
    """Return the state of a process; ``elsewhere`` if this machine cannot know."""
    here = _where()
    if (process.boot, process.namespace) != here or not (here[0] or process.host == socket.gethostname()):
        return "elsewhere"
    try:
        os.kill(process.pid, 0)
    except (ProcessLookupError, OverflowError):
        return "gone"
    except PermissionError:
        pass  # of another user
    letter, started = _look(process.pid)
    if not started:
        return "elsewhere"  # hidden from us: only a renewal shows that it is alive
    if started != process.started or letter in "ZX":
        return "gone"
    return "stopped" if letter in "Tt" else "there"


def clock() -> float:
    """Return monotonic seconds, including suspend time if the system supports it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@cache
def _where() -> tuple[str, str]:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot, os.readlink("/proc/self/ns/pid")
    except OSError:
        return "", ""


def _look(pid: int) -> tuple[str, str]:
    """Return the state letter and the start of a process; empty strings if not visible."""
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
