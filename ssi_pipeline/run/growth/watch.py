"""Decide which time points of a growing input are complete, and whether the acquisition has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ssi_pipeline.config.follow import FollowConfig
from ssi_pipeline.errors import CorruptDataError, InputError
from ssi_pipeline.storage.inputs.growing import Frame, Growing, Mark
from ssi_pipeline.storage.inputs.plane_folder import list_members, times_of
from ssi_pipeline.words import duration

_POLL_SECONDS = 2.0
"""Longest pause between two looks."""

_LOOKS_PER_SETTLING = 4
_LOOK_SHARE = 0.1
"""Largest share of the time that is spent on looking: on a slow file system the pauses are longer."""


@dataclass(frozen=True, slots=True)
class News:
    """What a look found.

    ``complete``: number of time points from the first on that are complete. ``ended``: why the acquisition is over, or
    empty. ``left_out``: what is there, and is not complete at the end. ``absent``: missing chunks of complete time
    points, which are read as the fill value.
    """

    complete: int
    ended: str = ""
    left_out: str = ""
    absent: tuple[str, ...] = ()


@dataclass
class FrameWatch:
    """Looks at a growing input again and again. Times are measured here: clocks of other machines do not count.

    ``problem``: why the input could not be read at the last look.
    """

    growing: Growing
    rule: FollowConfig
    clock: Callable[[], float] = time.monotonic
    problem: str = ""
    _since: dict[int, tuple[Mark, float]] = field(default_factory=dict)
    _news_at: float = field(default=-1.0)
    _look_seconds: float = 0.0

    @property
    def pause(self) -> float:
        """Seconds to wait before the next look."""
        return max(min(_POLL_SECONDS, self.rule.settle_s / _LOOKS_PER_SETTLING), self._look_seconds / _LOOK_SHARE)

    def look(self, known: int) -> News:
        """Look at the time points beyond the first ``known``, which are complete.

        Raises
        ------
        RunChangedError
            The input has changed along another axis than t.
        InputError
            It cannot be read, and has not changed for ``idle_s``: whether all of it came is not known.
        """
        now = self.clock()
        stopped = self._stopped()  # before the files are listed: what was written before it is then seen
        try:
            frames = self.growing.look(known)
            self.problem = ""
        except (InputError, CorruptDataError, OSError) as error:  # not there yet, or its metadata are being written
            self._look_seconds = self.clock() - now
            return self._unreadable(error, known, now, stopped)
        self._note(frames, now)
        self._look_seconds = self.clock() - now
        many = self._complete(frames, now)
        if many or not (why := stopped or self._idle(now)):
            return self._news(known + many, frames[:many])
        return self._at_end(frames, known, why, now)

    def _note(self, frames: Sequence[Frame], now: float) -> None:
        """Remember since when the files of each time point are as they are."""
        before = self._since
        self._since = {}
        # a frame that is gone from the list was taken, which is no news of the writer
        if self._news_at < 0 or any(frame.mark != before.get(frame.number, ((), 0.0))[0] for frame in frames):
            self._news_at = now
        for frame in frames:
            mark, since = before.get(frame.number, (None, now))
            self._since[frame.number] = (frame.mark, since if mark == frame.mark else now)

    def _complete(self, frames: Sequence[Frame], now: float) -> int:
        """Return the number of time points, from the first of ``frames`` on, that are complete by the rule."""
        marked = self._marked() if isinstance(self.rule.complete, Path) else frozenset()
        last_begun = max((frame.group for frame in frames if frame.begun), default=-1)
        many = 0
        for frame in frames:
            if self.growing.needs_all and frame.lacking:
                break
            if isinstance(self.rule.complete, Path):
                done = frame.number in marked
            elif self.rule.complete == "next":
                # zarr leaves out chunks of the fill value; a writer may also write these after the next has begun
                done = frame.group < last_begun and (not frame.lacking or self._settled(frame, now))
            else:
                absent_only = frame.group < last_begun  # zarr leaves out chunks of the fill value
                done = frame.whole and (not frame.lacking or absent_only) and self._settled(frame, now)
            if not done:
                break
            many += 1
        return many

    def _marked(self) -> frozenset[int]:
        letters, found = list_members(Path(self.rule.complete))
        return frozenset(times_of(letters, key)[0] for key in found)

    def _settled(self, frame: Frame, now: float) -> bool:
        return now - self._since[frame.number][1] >= self.rule.settle_s

    def _unreadable(self, error: Exception, known: int, now: float, stopped: str) -> News:
        """Return no news of an input that cannot be read now; it is no end, as time points may be there."""
        self.problem = str(error)
        if self._news_at < 0:
            self._news_at = now
        idle = self._idle(now)
        if known and idle:
            raise InputError(f"{self.problem}; {idle}: restore it, and run again to resume") from error
        return News(known, "" if known else stopped or idle)  # without a time point an end is an error

    def _stopped(self) -> str:
        file = self.rule.stop_file
        return f"{file} exists" if file is not None and file.exists() else ""

    def _idle(self, now: float) -> str:
        idle = now - self._news_at
        return f"no news for {duration(idle)}" if idle >= self.rule.idle_s else ""

    def _at_end(self, frames: Sequence[Frame], known: int, why: str, now: float) -> News:
        """Return what is complete at the end: nothing follows the last time point, so that it only has to settle."""
        begun = list(frames)
        while begun and not begun[-1].begun:
            begun.pop()
        if not all(self._settled(frame, now) for frame in begun):
            return News(known)
        many = 0
        while many < len(begun) and not begun[many].lacking and not isinstance(self.rule.complete, Path):
            many += 1
        if many:
            return self._news(known + many, begun[:many])
        return News(known, why, self._left_out(begun))

    def _left_out(self, begun: Sequence[Frame]) -> str:
        if not begun:
            return ""
        first, more = begun[0], len(begun) - 1
        why = f"{first.lacking} files are missing ({first.example})" if first.lacking else "it has no marker"
        return f"time point {first.number}: {why}" + (f"; and the {more} after it" if more else "")

    def _news(self, complete: int, new: Sequence[Frame]) -> News:
        absent = (
            f"time point {frame.number}: {frame.lacking} chunk files are missing ({frame.example}), their voxels are "
            "read as the fill value"
            for frame in new
            if frame.lacking
        )
        return News(complete, absent=tuple(absent))
