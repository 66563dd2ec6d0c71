"""One run at a time on one output, also across machines whose file systems know no locks and whose clocks differ.

A lock is a lease: a file that its holder renews. Who finds it held by a process of another machine watches the
file, by a clock of its own: renewed, the holder lives; not renewed for a minute, the lease is taken over.
"""

from __future__ import annotations

import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from ssi_pipeline.errors import LockedError, LockLostError
from ssi_pipeline.storage.state.lease_file import (
    Holder,
    age_seconds,
    create,
    is_being_moved,
    is_held,
    read_holder,
    remove,
    renew,
)
from ssi_pipeline.storage.state.process import clock, state_of, this_process
from ssi_pipeline.storage.system_errors import described, writing

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: between renewals; without renewal until a lease is stale; that a newcomer lets others correct
    themselves; between two looks at another's lease; that a look at one's own lease is trusted.
    """

    renew: float = 10.0
    stale: float = 60.0
    settle: float = 1.0
    poll: float = 0.5
    trust: float = 1.0


TIMING = Timing()
"""Six renewals may be late before a lease is lost: file servers pause."""


_AGAIN_S = 0.05

_unreleased: set[str] = set()
"""Tokens of locks of this process that could not be removed: nobody holds them, though the process lives."""


class Lease:
    """A lock that is held, and renewed by a thread of its own."""

    def __init__(self, path: Path, holder: Holder, timing: Timing) -> None:
        self._path, self._holder, self._timing = path, holder, timing
        self._seen = clock()
        self._lost = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease of {path.name}", daemon=True)
        self._thread.start()

    @property
    def guard(self) -> str:
        """The name of the lock and this holder's token: what the lease of an output refers to."""
        return f"{self._path.name} {self._holder.token}"

    def check(self) -> None:
        """Make sure that the lock is still ours, before something is written that a successor would not expect.

        Looks at the file when the last look is a second ago; costs nothing otherwise.

        Raises
        ------
        LockLostError
            This process was stopped, or cut off from the files, and another one has taken over.
        """
        if not self._lost and clock() - self._seen < self._timing.trust:
            return
        now = clock()
        try:
            self._lost = self._lost or not is_held(self._path, self._holder, self._timing.settle)
        except OSError as problem:
            if now - self._seen > self._timing.stale / 2:
                raise described(problem, self._path) from problem
            return  # a file server that pauses; nobody takes over so soon
        if self._lost:
            raise LockLostError(
                f"this process did not renew its lock {self._path} in time (was it suspended, or the file system "
                f"away?), and another took over ({read_holder(self._path) or 'it has ended'}): "
                "wait for that one, then run the same command again"
            )
        self._seen = now

    def _keep(self) -> None:
        count = 0
        while not self._end.wait(self._timing.renew):
            now, count = clock(), count + 1
            try:
                held = renew(self._path, replace(self._holder, counter=count))
            except OSError:
                continue  # tried again; ``check`` decides when it has been too long
            if not held:
                self._lost = True
                return
            self._seen = now

    def release(self) -> str | None:
        """Give the lock back, if it is still ours; returns why that cannot be done.

        Nobody is harmed by one that stays: it is not renewed, and its process ends. So it is no error, least of all
        one to replace the reason for which a run stops.
        """
        self._end.set()
        self._thread.join()
        try:
            remove(self._path, self._holder.token)
        except OSError as problem:
            _unreleased.add(self._holder.token)
            return (
                f"the lock {self._path} cannot be removed ({described(problem)}): it stays, and the next run takes it "
                "over"
            )
        return None


@contextmanager
def run_lock(
    path: Path,
    purpose: str = "a run",
    say: Say | None = None,
    wait_for: Callable[[Holder], bool] | None = None,
    guard: str = "",
) -> Iterator[Lease]:
    """Hold an exclusive lock. One left by a killed process is taken over, at once where that is of this machine.

    Parameters
    ----------
    purpose
        What others are told that the lock is held for.
    say
        Receives a line when it takes a while, and why.
    wait_for
        Tells of a holder that is at work whether to wait for it.
    guard
        Of the lock in the state folder, for the lease of an output.

    Raises
    ------
    LockedError
        Another process holds it.
    """
    timing = TIMING
    holder = Holder(secrets.token_hex(16), purpose, this_process(), guard=guard)
    with writing(path):
        _acquire(path, holder, timing, _once(say), wait_for or (lambda _: False))
    lease = Lease(path, holder, timing)
    try:
        yield lease
    finally:
        problem = lease.release()
        if problem is not None:
            with suppress(OSError, ValueError):
                (say or _to_stderr)(problem)


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _once(say: Say | None) -> Say:
    """Say nothing twice: a long wait looks again and again."""
    return cache(say) if say is not None else lambda _: None


def _acquire(path: Path, holder: Holder, timing: Timing, say: Say, wait_for: Callable[[Holder], bool]) -> None:
    contested = False
    while True:
        if create(path, holder):
            if contested or is_being_moved(path):
                time.sleep(timing.settle)  # whoever moved our file by mistake has put it back by then
            if is_held(path, holder, timing.settle):
                return
        found = read_holder(path)
        if found is None:
            # free by now; or, by a cache of names that is seconds old, not yet
            time.sleep(_AGAIN_S)
            continue
        contested = True
        verdict = _judge(path, found, timing, say)
        if verdict == "stale":
            remove(path, found.token)
        if verdict == "alive":
            if not wait_for(found):
                raise LockedError(
                    f"another run works on this output ({found}): wait for it, or end it; "
                    "then run the same command again"
                )
            time.sleep(timing.poll)


def _judge(path: Path, found: Holder, timing: Timing, say: Say) -> Literal["alive", "stale", "changed"]:
    """Tell whether a holder lives; watches its lease only where nothing else tells."""
    if found.token in _unreleased:
        return "stale"
    state = state_of(found.process) if found.token else "elsewhere"
    if state == "there":
        return "alive"
    if state == "gone":
        return "stale"
    # a file without a token is one that is being written this moment, or no lease at all
    limit = timing.stale if found.token else 2 * timing.settle
    if found.token:
        what = "it is stopped" if state == "stopped" else "it cannot be seen from here"
        say(f"the lock is held ({found}), {what}: watching for up to {limit:.0f} s whether it is renewed")
    return _watch(path, found, limit, timing.poll)


def _watch(path: Path, found: Holder, limit: float, poll: float) -> Literal["alive", "stale", "changed"]:
    watched, before = 0.0, clock()
    while watched < limit:
        time.sleep(poll)
        # where this process, or the whole machine, was suspended, the holder may not have had its chance
        now = clock()
        watched, before = watched + min(now - before, 2 * poll), now
        seen = read_holder(path)
        if seen is None or seen.token != found.token:
            return "changed"
        if seen.counter != found.counter:
            return "alive"
        if found.token and state_of(found.process) == "gone":
            return "stale"
    return "stale"


def clear_stale(path: Path, say: Say | None = None) -> Holder | None:
    """Return who holds a lock and lives; a lease that is stale is removed."""
    timing = TIMING
    while (found := read_holder(path)) is not None:
        verdict = _judge(path, found, timing, _once(say))
        if verdict == "alive":
            return found
        if verdict == "stale":
            remove(path, found.token)
    return None


@dataclass(frozen=True, slots=True)
class Held:
    """A lock that somebody seems to hold; ``certain`` where it is a process of this machine."""

    holder: Holder
    certain: bool

    def __str__(self) -> str:
        """Return who it is, and how far that is known."""
        return f"{self.holder}" if self.certain else f"{self.holder}; judged by the age of its lock, seen from here"


def look_at_lock(path: Path) -> Held | None:
    """Tell at once who holds a lock, None where it is free or its holder does not seem to live.

    A process of another machine is judged by the time since it renewed its lease, as the file server counts it.
    """
    try:
        found = read_holder(path)
    except OSError:
        return None
    if found is None or not found.token:
        return None
    state = state_of(found.process)
    if state == "elsewhere":
        age = age_seconds(path)
        return Held(found, certain=False) if age is None or age < TIMING.stale else None
    return None if state == "gone" else Held(found, certain=True)


def is_locked(path: Path) -> bool:
    """Tell at once whether some process holds the lock, as far as can be seen from here."""
    return look_at_lock(path) is not None
