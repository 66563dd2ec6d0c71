"""Measure the phases of a run, and follow its trainings, where somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

PHASES = ("read", "calibrate", "prepare", "rival", "train", "estimate", "judge", "write")
"""Phases of a run of one tile, in their order. None is part of another."""

Meters = Mapping[str, Callable[[], float]]
"""Named readings that grow, such as a clock; each waits for the device, if it has to."""

Found = dict[str, dict[str, float]]
"""The growth of each meter, by phase."""

_active: ContextVar[tuple[Meters, Found] | None] = ContextVar("active", default=None)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Add what is done in the context to a phase, if phases are measured in this thread."""
    active = _active.get()
    if active is None:
        yield
        return
    meters, found = active
    before = {meter: read() for meter, read in meters.items()}
    try:
        yield
    finally:
        grown = found.setdefault(name, dict.fromkeys(meters, 0.0))
        for meter, read in meters.items():
            grown[meter] += read() - before[meter]


@contextmanager
def measured(meters: Meters) -> Iterator[Found]:
    """Measure the phases of what is done in the context, in this thread."""
    found: Found = {}
    token = _active.set((meters, found))
    try:
        yield found
    finally:
        _active.reset(token)


@dataclass(frozen=True, slots=True)
class Training:
    """A training at one of its validations.

    Attributes
    ----------
    step, steps
        Steps made, and at most.
    heldout, linear
        Held-out losses of the best state so far and of the Wiener filter, squared normalised units.
    """

    step: int
    steps: int
    heldout: float
    linear: float


OnTraining = Callable[[Training], None]

_followers: ContextVar[tuple[OnTraining, ...]] = ContextVar("followers", default=())


def note_training(state: Training) -> None:
    """Pass a validation on to those who follow trainings in this thread."""
    for follower in _followers.get():
        follower(state)


@contextmanager
def following_trainings(follower: OnTraining) -> Iterator[None]:
    """Call a function at each validation of the trainings in the context, in this thread."""
    token = _followers.set((*_followers.get(), follower))
    try:
        yield
    finally:
        _followers.reset(token)
