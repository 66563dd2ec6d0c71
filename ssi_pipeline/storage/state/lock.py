"""Run lock: one run at a time per output, also across machines without file locks or synchronised clocks.

A lock is a lease: a file that its holder renews. To judge a holder on another machine, a client watches the file with
its own clock: if it is renewed, the holder is alive; after a minute without renewal, the lease is taken over.
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
from ssi_pipeline.storage.state.lease_file import Holder
from ssi_pipeline.storage.state.lease_place import FileLease, LeasePlace
from ssi_pipeline.storage.state.process import clock, state_of, this_process
from ssi_pipeline.storage.system_errors import described, writing

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Timing:
    """Intervals in seconds: between renewals; until an unrenewed lease is stale; for restoring a moved file; between
    checks of another's lease; for which a check of the own lease stays valid.
    """

    renew: float = 10.0
    stale: float = 60.0
    settle: float = 1.0
    poll: float = 0.5
    trust: float = 1.0


TIMING = Timing()
"""Six renewals may be missed before a lease is lost: file servers pause."""


_AGAIN_S = 0.05

_unreleased: set[str] = set()
"""Tokens of released locks of this process whose files could not be removed."""


class Lease:
    """A held lock, renewed by a background thread."""

    def __init__(self, path: LeasePlace, holder: Holder, timing: Timing) -> None:
        self._path, self._holder, self._timing = path, holder, timing
        self._seen = clock()
        self._lost = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease of {path.name}", daemon=True)
        self._thread.start()

    @property
    def guard(self) -> str:
        """Name of the lock and token of the holder, referenced by the lease of an output."""
        return f"{self._path.name} {self._holder.token}"

    def check(self) -> None:
        """Check that the lock is still ours, before a write.

        Reads the file if the last check is a second ago; otherwise free.

        Raises
        ------
        LockLostError
            This process was suspended or disconnected, and another one took over.
        """
        if not self._lost and clock() - self._seen < self._timing.trust:
            return
        try:
            asked = self._ask()
        except OSError as problem:
            if clock() - self._seen > self._timing.stale / 2:
                raise described(problem, self._path) from problem
            return  # a pausing file server; no takeover is possible so soon
        if self._lost:
            raise LockLostError(
                f"this process did not renew its lock {self._path} in time (suspended, or file system not "
                f"accessible), and another took over ({self._path.read() or 'it has ended'}): "
                "wait until it ends, then run the same command again"
            )
        self._seen = asked

    def _ask(self) -> float:
        """Ask whether the lock is ours, again where the answer comes too late to say so of now; return when."""
        while True:
            asked = clock()
            self._lost = self._lost or not self._path.is_held(self._holder, self._timing.settle)
            if self._lost or clock() - asked < self._timing.stale / 2:
                return asked

    def _keep(self) -> None:
        count = 0
        while not self._end.wait(self._timing.renew):
            now, count = clock(), count + 1
            try:
                held = self._path.renew(replace(self._holder, counter=count))
            except OSError:
                continue  # retried; ``check`` decides when the lock is lost
            if not held:
                self._lost = True
                return
            self._seen = now

    def release(self) -> str | None:
        """Release the lock if it is still ours; return a message if that fails.

        A remaining file is harmless, as it is not renewed. So failure is not an exception, which could hide the reason
        for which a run stops.
        """
        self._end.set()
        self._thread.join()
        try:
            self._path.remove(self._holder.token)
        except OSError as problem:
            _unreleased.add(self._holder.token)
            return (
                f"the lock {self._path} cannot be removed ({described(problem)}): it stays, and the next run takes it "
                "over"
            )
        return None


@contextmanager
def run_lock(
    path: Path | LeasePlace,
    purpose: str = "a run",
    say: Say | None = None,
    wait_for: Callable[[Holder], bool] | None = None,
    guard: str = "",
) -> Iterator[Lease]:
    """Hold an exclusive lock. The lock of a killed process is taken over, immediately if on this machine.

    Parameters
    ----------
    purpose
        Purpose, shown to other clients.
    say
        Receives a message if waiting takes long.
    wait_for
        Decides whether to wait for a live holder.
    guard
        Guard of the lock in the state folder, for the lease of an output.

    Raises
    ------
    LockedError
        Another process holds it.
    """
    timing = TIMING
    holder = Holder(secrets.token_hex(16), purpose, this_process(), guard=guard)
    place = _place(path)
    with writing(place):
        _acquire(place, holder, timing, _once(say), wait_for or (lambda _: False))
    lease = Lease(place, holder, timing)
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
    """Suppress repeated messages of a long wait."""
    return cache(say) if say is not None else lambda _: None


def _acquire(path: LeasePlace, holder: Holder, timing: Timing, say: Say, wait_for: Callable[[Holder], bool]) -> None:
    contested = False
    while True:
        if path.create(holder):
            if contested or path.is_being_moved():
                time.sleep(timing.settle)  # a file moved by mistake is restored by then
            if path.is_held(holder, timing.settle):
                return
        found = path.read()
        if found is None:
            # free now, or hidden by a stale name cache
            time.sleep(_AGAIN_S)
            continue
        contested = True
        verdict = _judge(path, found, timing, say)
        if verdict == "stale":
            path.remove(found.token)
        if verdict == "alive":
            if not wait_for(found):
                raise LockedError(
                    f"another run works on this output ({found}): wait for it, or end it; "
                    "then run the same command again"
                )
            time.sleep(timing.poll)


def _judge(path: LeasePlace, found: Holder, timing: Timing, say: Say) -> Literal["alive", "stale", "changed"]:
    """Judge whether a holder is alive; watch its lease only if nothing else decides."""
    if found.token in _unreleased:
        return "stale"
    state = state_of(found.process) if found.token else "elsewhere"
    if state == "there":
        return "alive"
    if state == "gone":
        return "stale"
    # a file without a token is being written, or is not a lease
    limit = timing.stale if found.token else 2 * timing.settle
    if found.token:
        what = "it is stopped" if state == "stopped" else "it cannot be seen from here"
        say(f"the lock is held ({found}), {what}: waiting up to {limit:.0f} s for a renewal")
    return _watch(path, found, limit, timing.poll)


def _watch(path: LeasePlace, found: Holder, limit: float, poll: float) -> Literal["alive", "stale", "changed"]:
    watched, before = 0.0, clock()
    while watched < limit:
        time.sleep(poll)
        # if this process or the whole machine was suspended, so may the holder have been
        now = clock()
        watched, before = watched + min(now - before, 2 * poll), now
        seen = path.read()
        if seen is None or seen.token != found.token:
            return "changed"
        if seen.counter != found.counter:
            return "alive"
        if found.token and state_of(found.process) == "gone":
            return "stale"
    return "stale"


def clear_stale(path: Path | LeasePlace, say: Say | None = None) -> Holder | None:
    """Return the live holder of a lock; a stale lease is removed."""
    place, timing = _place(path), TIMING
    while (found := place.read()) is not None:
        verdict = _judge(place, found, timing, _once(say))
        if verdict == "alive":
            return found
        if verdict == "stale":
            place.remove(found.token)
    return None


@dataclass(frozen=True, slots=True)
class Held:
    """A lock with a likely live holder; ``certain`` for a process of this machine."""

    holder: Holder
    certain: bool

    def __str__(self) -> str:
        """Describe the holder and the certainty."""
        return f"{self.holder}" if self.certain else f"{self.holder}; judged by the age of its lock"


def _place(path: Path | LeasePlace) -> LeasePlace:
    return FileLease(path) if isinstance(path, Path) else path


def look_at_lock(path: Path | LeasePlace) -> Held | None:
    """Return the likely holder of a lock without waiting; None if it is free or stale.

    A process of another machine is judged by the time since its last renewal, by the file server's clock.
    """
    place = _place(path)
    try:
        found = place.read()
    except OSError:
        return None
    if found is None or not found.token:
        return None
    state = state_of(found.process)
    if state == "elsewhere":
        age = place.age_seconds()
        return Held(found, certain=False) if age is None or age < TIMING.stale else None
    return None if state == "gone" else Held(found, certain=True)


def is_locked(path: Path) -> bool:
    """Tell without waiting whether a process likely holds the lock."""
    return look_at_lock(path) is not None
