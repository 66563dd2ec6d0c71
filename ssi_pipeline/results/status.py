"""Status of a run, from its ledger and the client's snapshot; imports neither torch nor dask."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from ssi_pipeline.config import RunConfig
from ssi_pipeline.quality.alarms import count_alarms
from ssi_pipeline.results.alarms import channel_alarms, describe_alarms
from ssi_pipeline.results.channel_facts import channel_psfs, plain_calibration
from ssi_pipeline.results.failures import Cause
from ssi_pipeline.results.following import following_rows, written_frames
from ssi_pipeline.results.ledger_summary import Tally, WorkerTally
from ssi_pipeline.results.signs import SIGN_METRICS
from ssi_pipeline.results.snapshot import Snapshot, read_snapshot
from ssi_pipeline.storage.outputs.output import read_status as read_output_status
from ssi_pipeline.storage.outputs.output_store import output_store
from ssi_pipeline.storage.outputs.quality_arrays import read_quality
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.following import Following, read_following
from ssi_pipeline.storage.state.ledger import DONE, FAILED
from ssi_pipeline.storage.state.lock import look_at_lock
from ssi_pipeline.storage.state.parts import ledger_paths, working_parts
from ssi_pipeline.storage.state.tail import LedgerTail
from ssi_pipeline.tasks.opening import open_context, task_counts
from ssi_pipeline.words import duration, per_time

_MOST_FAILURES = 20
_MOST_CAUSES = 10
_MOST_CLIENTS = 4


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Status of a run.

    ``live``: snapshot of a running client. ``failures``: key and message of the last failed tasks, ``causes``: all of
    them by cause. ``rate``: tiles per second in the last minutes, from the ledger. ``workers``: by host:process, all
    that ever finished a task. ``clients``: running clients. ``image_complete``: every block of every level is written.
    ``alarms``: number of tiles with each alarm, and ``flagged``: with any alarm, from the arrays of the last finish.
    ``channels``: what is wrong with a channel by absolute limits, from the same. ``following``: what a run on growing
    data last saw; ``frames_written``: its time points, from the first on, of which every block is written.
    ``finished``: the output is marked as complete. ``unreadable``: ledgers with unreadable lines. ``lost``: blocks are
    recorded, and the output is missing.
    """

    tiles: int
    tiles_done: int
    tiles_failed: int
    blocks: int
    blocks_done: int
    mean_tile_seconds: float | None
    last_finished: float | None
    live: Snapshot | None
    running: bool
    failures: tuple[tuple[str, str], ...]
    methods: dict[str, int]
    causes: tuple[Cause, ...]
    rate: float | None
    workers: dict[str, WorkerTally]
    image_complete: bool
    clients: tuple[str, ...] = ()
    alarms: dict[str, int] = field(default_factory=dict)
    flagged: int = 0
    finished: bool = True
    unreadable: tuple[str, ...] = ()
    lost: bool = False
    channels: tuple[str, ...] = ()
    following: Following | None = None
    frames_written: int = 0

    @property
    def seconds_since_last(self) -> float | None:
        """Seconds since the last task finished."""
        return None if self.last_finished is None else time.time() - self.last_finished

    @property
    def tiles_running(self) -> int:
        """Tiles submitted to workers."""
        running = self.live.running if self.live else 0
        return min(running, self.tiles - self.tiles_done - self.tiles_failed)

    @property
    def tiles_pending(self) -> int:
        """Tiles not submitted yet."""
        return self.tiles - self.tiles_done - self.tiles_failed - self.tiles_running


def read_status(config: RunConfig) -> RunStatus:
    """Return the status of a configuration's run; reads the ledger once.

    Raises
    ------
    InputError, CorruptDataError
        There is no run, or its state cannot be read.
    """
    return StatusReader(config).look()


class StatusReader:
    """Reads the status of one run repeatedly: each time only the new records of the ledger."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._open()

    def _open(self) -> None:
        self._document = _stamp(StatePaths(self._config.state_path).document)
        self._context = open_context(self._config)
        self._tails: dict[Path, LedgerTail] = {}
        self._tally = Tally(task_counts(self._context))

    def look(self) -> RunStatus:
        """Return the current status; a run that was started over is read from its start."""
        ledgers = ledger_paths(self._context.paths)
        # a part's ledger that is missing was merged into the run's own
        replaced = any(tail.replaced() or path not in ledgers for path, tail in self._tails.items())
        if replaced or self._document != _stamp(self._context.paths.document):  # followed data have grown
            self._open()
        paths, plan, tally = self._context.paths, self._context.plan, self._tally
        # before the ledger: otherwise the last records of a client that ends in between would be missed
        client, parts = look_at_lock(paths.lock), working_parts(paths)
        for path in ledgers:
            tally.note(self._tails.setdefault(path, LedgerTail(path)).heads())
        state = tally.state
        flag = None if client is not None or parts else read_quality(self._config.output.path, "flag")
        return RunStatus(
            tiles=plan.n_tiles,
            tiles_done=state.count("solve", DONE),
            tiles_failed=state.count("solve", FAILED),
            blocks=plan.n_blocks,
            blocks_done=state.count("stitch", DONE),
            mean_tile_seconds=tally.mean_tile_seconds,
            last_finished=tally.last_finished or None,
            live=read_snapshot(paths.progress) if client is not None else None,
            running=client is not None or bool(parts),
            failures=tally.failures.last()[-_MOST_FAILURES:],
            methods=tally.methods(),
            causes=tally.failures.causes(),
            rate=tally.rate(time.time()),
            workers=tally.workers,
            image_complete=state.all_written,
            alarms={} if flag is None else count_alarms(flag),
            flagged=0 if flag is None else int((flag > 0).sum()),
            finished=read_output_status(self._config.output.path) == "complete",
            unreadable=tuple(str(tail.unreadable) for tail in self._tails.values() if tail.unreadable.count),
            lost=state.count("stitch", DONE) > 0 and not output_store(self._config.output.path).exists(),
            channels=() if flag is None else self._channel_alarms(),
            following=read_following(paths.following) if self._context.document.frames else None,
            frames_written=written_frames(state, plan.shape[0]),
            clients=(str(client),) if client is not None else tuple(str(held) for _, held in parts),
        )

    def _channel_alarms(self) -> tuple[str, ...]:
        """Return the alarms of channels from the arrays of the last finish."""
        found = {name: read_quality(self._config.output.path, name) for name in SIGN_METRICS}
        metrics = {name: values for name, values in found.items() if values is not None}
        if "status" not in metrics:
            return ()
        return tuple(channel_alarms(metrics, plain_calibration(self._context), channel_psfs(self._context)))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def describe_status(status: RunStatus, config: str = "CONFIG") -> list[tuple[str, str]]:
    """Return the rows of `ssi status`; ``config``: the configuration as in a command (file, ``--set``)."""
    rows = [
        ("tiles", describe_tiles(status)),
        ("blocks", f"{status.blocks_done} of {status.blocks} written"),
    ]
    if status.following is not None:
        rows.extend(following_rows(status.following, status.frames_written, status.running))
    if status.methods:
        rows.append(("solved by", ", ".join(f"{name} {count}" for name, count in sorted(status.methods.items()))))
    if status.mean_tile_seconds is not None:
        rows.append(("time per tile", f"{status.mean_tile_seconds:.1f} s"))
    if status.live is not None and status.live.rate:
        left = "" if status.live.left_s is None else f", {duration(status.live.left_s)} left"
        rows.append(("rate", f"{per_time(status.live.rate)} ({status.live.stage}){left}"))
    rows.append(("client", describe_client(status)))
    rows.extend(("damaged", f"{lines}; `ssi run` repairs it") for lines in status.unreadable)
    if status.alarms:
        rows.append(("alarms", describe_alarms(status.flagged, status.tiles, status.alarms)))
    rows.extend(("alarm", line) for line in status.channels)
    return [*rows, *_failure_rows(status, config)]


def describe_tiles(status: RunStatus) -> str:
    """Return the number of tiles by status."""
    return (
        f"{status.tiles_done} done, {status.tiles_running} running, {status.tiles_failed} failed, "
        f"{status.tiles_pending} pending"
    )


def _failure_rows(status: RunStatus, config: str) -> list[tuple[str, str]]:
    """Return the causes, each with its first failed task, and the next step."""
    if not status.causes:
        return []
    rows = [(f"{cause.first[0]} failed", describe_cause(cause)) for cause in status.causes[:_MOST_CAUSES]]
    if len(status.causes) > _MOST_CAUSES:
        rows.append(("", f"and {len(status.causes) - _MOST_CAUSES} more causes: see `ssi report`"))
    return [*rows, ("next step", retry_command(config))]


def describe_cause(cause: Cause) -> str:
    """Return a cause, with its first failed tasks."""
    if cause.count == 1:
        return cause.text
    more = ", ..." if cause.count > len(cause.first) else ""
    return f"{cause.text} ({cause.count} tasks: {', '.join(cause.first)}{more})"


def retry_command(config: str) -> str:
    """Return the next step after failures."""
    return f"fix the cause, then `ssi run {config} --retry-failed`"


def describe_client(status: RunStatus) -> str:
    """Return whether a client is running, and how to resume."""
    if status.running:
        shown = "; ".join(status.clients[:_MOST_CLIENTS])
        more = len(status.clients) - _MOST_CLIENTS
        return f"running ({shown}{f'; and {more} more' if more > 0 else ''})" if shown else "running"
    if status.lost:
        return (
            "not running; the output is missing: restore it (is its disk mounted?), or, if it was deleted, recreate it "
            "with `ssi run --recreate-output`"
        )
    command = "`ssi run`" if status.following is None else "`ssi run --follow`"
    if status.blocks_done == status.blocks:
        return "not running; all blocks are written" + ("" if status.finished else f"; {command} completes the output")
    since = "" if status.seconds_since_last is None else f" since {duration(status.seconds_since_last)}"
    return f"not running{since}; {command} resumes"
