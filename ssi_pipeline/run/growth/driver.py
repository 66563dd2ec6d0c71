"""Run on data that are still being written: ``ssi run --follow``; the same call resumes."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import InputError
from ssi_pipeline.run.channels import ready_channels
from ssi_pipeline.run.driver import complete, is_finished, run, tiles_and_levels
from ssi_pipeline.run.growth.checks import refuse_mask_in_time, refuse_unfollowable, refuse_unstartable
from ssi_pipeline.run.growth.drift import Drift
from ssi_pipeline.run.growth.grow import grow
from ssi_pipeline.run.growth.watch import FrameWatch, News
from ssi_pipeline.run.outcome import Outcome
from ssi_pipeline.run.prepare import Prepared, prepare
from ssi_pipeline.run.scheduling import Scheduler
from ssi_pipeline.run.session import PLAIN, Caller, RunSession
from ssi_pipeline.run.stages import TileStage
from ssi_pipeline.run.workers import workers
from ssi_pipeline.storage.inputs.growing import growing_input
from ssi_pipeline.storage.outputs.output import set_status
from ssi_pipeline.storage.state.document import RunDocument, StatePaths
from ssi_pipeline.storage.state.following import Following, read_following


def follow(
    config: RunConfig,
    new: bool = False,
    retry_failed: bool = False,
    ignore_disk: bool = False,
    log: Callable[[str], None] = print,
    name: str = "CONFIG",
    recreate_output: bool = False,
    caller: Caller = PLAIN,
) -> Outcome:
    """Start or resume a run on an input that grows along t, until the acquisition has ended; see ``run``.

    Raises
    ------
    ConfigError, InputError
        The input cannot grow, an option needs all time points, or fewer came than the calibration needs.
    SsiError
        The run cannot start or continue; finished tasks stay recorded.
    """
    refuse_unfollowable(config)
    path = StatePaths(config.state_path).document
    earlier = RunDocument.load(path) if path.exists() and not new else None
    growing = growing_input(config.input, None if earlier is None else earlier.volume)
    watch = FrameWatch(growing, config.follow)
    if earlier is None:
        refuse_unstartable(config)
        _wait_for_first(watch, config, log if caller.verbosity >= 0 else lambda _: None)
    return run(
        config,
        new,
        retry_failed,
        ignore_disk,
        log,
        name,
        recreate_output,
        caller,
        preparing=partial(_prepare, config.follow.frames),
        working=lambda session: Follower(session, watch).work(),
    )


def _prepare(frames: int, config: RunConfig, new: bool) -> Prepared:
    prepared = prepare(config, new, frames)
    refuse_mask_in_time(prepared.context.mask)
    return prepared


def _wait_for_first(watch: FrameWatch, config: RunConfig, log: Callable[[str], None]) -> None:
    """Wait for the time points that the channels are calibrated on."""
    wanted, said, news = config.follow.frames, "", News(0)
    while (news := watch.look(news.complete)).complete < wanted:
        if news.ended:
            why = watch.problem or news.left_out
            raise InputError(
                f"input {config.input.path}: {news.ended}, and {news.complete} of the {wanted} time points that the "
                f"calibration needs are complete{f' ({why})' if why else ''}: check the input, or lower follow.frames"
            )
        line = f"waiting: {news.complete} of the first {wanted} time points are complete"
        line += f" ({watch.problem})" if watch.problem else ""
        if line != said:
            log(line)
        said = line
        time.sleep(watch.pause)


class Follower:
    """Works on the time points of one session as they become complete."""

    def __init__(self, session: RunSession, watch: FrameWatch) -> None:
        self._session, self._watch = session, watch
        self._drift = Drift(session.context)
        known = read_following(session.context.paths.following)
        self._state = (known or Following(self._frames, time.time())).with_(frames=self._frames, ended="", left_out="")

    @property
    def _frames(self) -> int:
        return self._session.context.plan.shape[0]

    def work(self) -> bool:
        """Process time points until the acquisition has ended, then complete the output; False when asked to stop."""
        session = self._session
        self._note()
        if is_finished(session.context, session.state) and not self._more():
            return not session.stop.requested
        set_status(session.context.document.config.output.path, "incomplete")
        with workers(session) as loop:
            finished = ready_channels(session, loop) and self._rounds(loop) and tiles_and_levels(session, loop)
        if finished:
            complete(session)
        return finished

    def _rounds(self, loop: Scheduler) -> bool:
        """Solve the tiles of all time points, as they come; returns False when asked to stop."""
        session, first = self._session, 0
        while True:
            context = session.context
            stage = TileStage(context, session.state, range(first, context.plan.n_tiles))
            if not loop.drive(stage, "solve", f"tiles of {self._frames} time points"):
                return False
            first = context.plan.n_tiles
            for line in self._drift.look(context):
                session.display.line(line)
            self._note(drift=self._drift.beyond)
            if not self._more():
                return not session.stop.requested

    def _more(self) -> bool:
        """Wait until the run has grown; False at the end of the acquisition, or when asked to stop."""
        session, display = self._session, self._session.display
        waiting, said = False, ""
        while not session.stop.requested:
            news = self._watch.look(self._frames)
            if news.complete > self._frames:
                display.finish_stage()
                self._take(news)
                return True
            if news.ended:
                display.finish_stage()
                display.line(f"{news.ended}: the acquisition has ended with {self._frames} time points")
                if news.left_out:
                    display.line(f"left out: {news.left_out}")
                self._note(ended=news.ended, left_out=news.left_out)
                return False
            if not waiting:
                waiting = True
                display.log(f"waiting for time point {self._frames}")
                display.start(f"waiting for time point {self._frames}", 0, 1)
                display.note(0, 0, 0)
            if self._watch.problem != said and (said := self._watch.problem):
                display.line(f"waiting: {said}")
            session.ledger.sync_if_due()  # raises where the lock was lost
            time.sleep(self._watch.pause)
        display.finish_stage()
        return False

    def _take(self, news: News) -> None:
        before, session = self._frames, self._session
        grow(session, news.complete)
        which = (
            f"time point {before}" if news.complete == before + 1 else f"time points {before} to {news.complete - 1}"
        )
        session.display.line(f"{which} complete")
        for line in news.absent:
            session.display.line(line)
        self._note(frames=news.complete, last=time.time())

    def _note(self, **values: object) -> None:
        """Write what ``ssi status`` shows."""
        self._state = self._state.with_(**values)
        self._state.save(self._session.context.paths.following)
