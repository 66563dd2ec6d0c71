"""Show how far a call is: a bar on a terminal or in a notebook, or the caller's own function."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any, Protocol

from ssi_pipeline.errors import ConfigError
from ssi_pipeline.phases import Training
from ssi_pipeline.results.snapshot import Pace, Snapshot
from ssi_pipeline.run.progress import LINE_SECONDS, Listener
from ssi_pipeline.run.progress_bar import TerminalBar, stage_words

ProgressArgument = Callable[[Snapshot], None] | bool | None
"""None: shown on a terminal and in a notebook; True: elsewhere as well, as lines; False: not shown; or a function."""

_NOTEBOOK_SECONDS = 0.2
"""Least time between two updates in a notebook, each of which is a message to the browser."""


class Stages:
    """Turns the steps of a computation into snapshots for a listener; does nothing without one."""

    def __init__(self, listener: Listener | None = None) -> None:
        self._listener = listener
        self._pace: Pace | None = None

    def note(self, stage: str, done: int, total: int) -> None:
        """Pass on that a stage is at ``done`` of ``total``."""
        if self._listener is None:
            return
        if self._pace is None or self._pace.stage != stage or done < self._pace.done:
            self._pace = Pace(stage, done, total)
        self._listener(self._pace.snapshot(done))

    def training(self, state: Training) -> None:
        """Pass on how far a training is."""
        self.note("training the network", state.step, state.steps)


class Display(Protocol):
    """Shows snapshots until it is closed; before the first there is nothing to see."""

    def show(self, snapshot: Snapshot) -> None:
        """Show a snapshot."""

    def close(self) -> None:
        """Remove what is on the screen."""


class Terminal:
    """A bar for the current stage."""

    def __init__(self) -> None:
        self._bar: TerminalBar | None = None
        self._last: Snapshot | None = None

    def show(self, snapshot: Snapshot) -> None:
        """Show a snapshot."""
        if self._bar is None or self._last is None or snapshot.stage != self._last.stage:
            self.close()
            self._bar = TerminalBar(sys.stderr, snapshot.stage, snapshot.done, snapshot.total, transient=True)
        self._bar.show(snapshot)
        self._last = snapshot

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class Notebook:
    """A bar below the cell; it needs no widgets."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._stage, self._due = "", 0.0

    def show(self, snapshot: Snapshot) -> None:
        """Show a snapshot, a few times per second."""
        now = time.monotonic()
        if snapshot.stage == self._stage and snapshot.done < snapshot.total and now < self._due:
            return
        self._stage, self._due = snapshot.stage, now + _NOTEBOOK_SECONDS
        self._write(
            f'<progress value="{snapshot.done}" max="{max(snapshot.total, 1)}"></progress> '
            f"{escape(stage_words(snapshot))}"
        )

    def close(self) -> None:
        """Remove the bar."""
        if self._handle is not None:
            self._write("")

    def _write(self, text: str) -> None:
        from IPython.display import HTML, display

        if self._handle is None:
            self._handle = display(HTML(text), display_id=True)
        else:
            self._handle.update(HTML(text))


class Lines:
    """A line now and then, and at the end of each stage, where nothing on the screen can be changed."""

    def __init__(self) -> None:
        self._due = time.monotonic() + LINE_SECONDS

    def show(self, snapshot: Snapshot) -> None:
        """Print a snapshot, if it is due."""
        now = time.monotonic()
        if now < self._due and snapshot.done < snapshot.total:
            return
        self._due = now + LINE_SECONDS
        print(stage_words(snapshot), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Do nothing: lines stay."""


@contextmanager
def listening(progress: ProgressArgument, outside_notebooks: bool = True) -> Iterator[Listener | None]:
    """Yield what receives the progress, None for nothing; what it shows disappears at the end.

    Raises
    ------
    ConfigError
        The argument is none.
    """
    display: Display | None = None
    if progress is None or isinstance(progress, bool):
        display = None if progress is False else _display(progress is True, outside_notebooks)
    elif not callable(progress):
        raise ConfigError(f"progress is {progress!r}: expected None, True, False or a function of a snapshot")
    else:
        yield progress
        return
    try:
        yield None if display is None else display.show
    finally:
        if display is not None:
            display.close()


def _display(always: bool, outside_notebooks: bool) -> Display | None:
    if in_notebook():
        return Notebook()
    if not outside_notebooks:
        return None
    if sys.stderr is not None and sys.stderr.isatty():
        return Terminal()
    return Lines() if always else None


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    shell = sys.modules.get("IPython")
    return shell is not None and hasattr(shell.get_ipython(), "kernel")
