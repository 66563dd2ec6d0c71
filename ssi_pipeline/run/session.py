"""Session of one call on a run, or on a part of it: its ledger, display, lock and outcome."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ssi_pipeline.config import ExecutorConfig
from ssi_pipeline.errors import SsiError
from ssi_pipeline.executors import Executor, open_executor
from ssi_pipeline.results.ledger_summary import Tally
from ssi_pipeline.run.lost_tasks import LostTasks
from ssi_pipeline.run.on_end import RunEnd
from ssi_pipeline.run.outcome import Outcome
from ssi_pipeline.run.progress import Listener, ProgressDisplay
from ssi_pipeline.run.repair.ledger_repair import readable_ledger
from ssi_pipeline.run.repair.missing import forget_missing
from ssi_pipeline.run.stages import forget_failures
from ssi_pipeline.run.stop import StopRequest
from ssi_pipeline.run.stopped import as_stopped
from ssi_pipeline.storage.outputs.output_lock import Held
from ssi_pipeline.storage.state.calls import begin_call, end_call
from ssi_pipeline.storage.state.ledger import DONE, FAILED, WRITTEN, Ledger, LedgerState
from ssi_pipeline.storage.state.parts import Part
from ssi_pipeline.storage.state.records import Kind, TaskRecord
from ssi_pipeline.tasks import Context, RunSpec
from ssi_pipeline.tasks.opening import task_counts


@dataclass(frozen=True, slots=True)
class Scope:
    """Tiles and blocks that one call works on, and the files that it writes.

    ``calls``: where this call is noted. ``blocks``: by kind, the blocks that it writes and may invalidate.
    """

    ledger: Path
    log: Path
    progress: Path
    calls: Path
    tiles: range
    blocks: Mapping[Kind, Collection[int]]
    part: Part | None = None

    @property
    def within(self) -> slice:
        """The tiles as a range of an array over all tiles."""
        return slice(self.tiles.start, self.tiles.stop)

    def owns(self, record: TaskRecord) -> bool:
        """Return whether the block of a record belongs to this scope."""
        return record.index in self.blocks.get(record.kind, ())

    def count_missing(self, state: LedgerState) -> int:
        """Return the number of blocks of this scope that are not written."""
        chosen = {kind: np.fromiter(blocks, np.int64, len(blocks)) for kind, blocks in self.blocks.items()}
        return sum(int((state.status[kind][blocks] != DONE).sum()) for kind, blocks in chosen.items())


def whole_run(context: Context) -> Scope:
    """Return the scope of a call on a whole run."""
    paths, counts = context.paths, task_counts(context)
    blocks: dict[Kind, Collection[int]] = {kind: range(counts[kind]) for kind in WRITTEN}
    return Scope(paths.ledger, paths.log, paths.progress, paths.calls, range(counts["solve"]), blocks)


Opener = Callable[[ExecutorConfig, RunSpec, Callable[[str], None]], Executor]
"""Opens workers for a run; the last argument receives messages about them."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What the caller of a run brings along.

    ``client``: dask client of a Python program. ``progress``: receives the progress.
    ``verbosity``: -1: nothing on the screen, 0: lines and progress, 1: also a line per task.
    ``command``: the command line, for the provenance; empty: this Python program, without its arguments.
    ``opener``: opens the workers, where several runs share them. ``stop``: request that ends several runs.
    """

    client: Any = None
    progress: Listener | None = None
    verbosity: int = 0
    command: str = ""
    opener: Opener | None = None
    stop: StopRequest | None = None


PLAIN = Caller()


@dataclass(slots=True)
class RunSession:
    """One call on a run, with its lock held and its ledger open.

    ``finished``: no task was left pending by an interruption. ``ending``: how the call ended.
    ``opener``: opens its workers. ``own_workers``: they are nobody else's. ``call``: its identity among the calls.
    """

    context: Context
    scope: Scope
    tally: Tally
    ledger: Ledger
    display: ProgressDisplay
    stop: StopRequest
    ending: RunEnd
    opener: Opener = open_executor
    own_workers: bool = True
    lost: LostTasks = field(default_factory=LostTasks)
    finished: bool = False
    call: str = ""

    @property
    def state(self) -> LedgerState:
        """Status of every task."""
        return self.tally.state

    def record(self, record: TaskRecord) -> None:
        """Append a record to the ledger and update the tally, so that the ledger need not be read again."""
        self.ledger.append(record)
        self.tally.note([record])

    def invalidate(self, record: TaskRecord) -> None:
        """Record that a task is pending again."""
        self.record(record)

    def invalidate_missing(self) -> None:
        """Invalidate blocks whose files are missing; record new ETags of those that a copy has."""
        for record in filter(self.scope.owns, forget_missing(self.context, self.state)):
            self.record(record)

    def invalidate_failed(self) -> int:
        """Make failed tiles pending again; returns their number."""
        failed = forget_failures(self.state, self.scope.tiles)
        for record in failed:
            self.record(record)
        return len(failed)

    def is_asked_to_stop(self) -> bool:
        """Return whether the user asked to stop."""
        return self.stop.requested

    def outcome(self) -> Outcome:
        """Count tiles and blocks by status."""
        return count_outcome(self.context, self.scope, self.state, self.ledger.done["solve"], not self.finished)

    @contextmanager
    def concluding(self) -> Iterator[None]:
        """Run the body and count its outcome, also after an error.

        Raises
        ------
        StoppedError
            In place of any other error of this package or the operating system.
        """
        try:
            yield
        except KeyboardInterrupt:
            pass
        except (SsiError, OSError) as error:
            stopped = as_stopped(error)
            self.display.log(str(stopped))  # the caller prints it
            raise stopped from error
        finally:
            self.ending.outcome = self.outcome()


@contextmanager
def open_session(
    context: Context, scope: Scope, lease: Held, ending: RunEnd | None = None, caller: Caller = PLAIN
) -> Iterator[RunSession]:
    """Read the ledger, repair it if damaged, and open the files of the call. Called under the lock."""
    tally = readable_ledger(context, lease.check, scope.ledger, scope.owns)
    ledger = Ledger(scope.ledger, lease.check)
    asked = StopRequest() if caller.stop is None else nullcontext(caller.stop)
    with ledger, closing(_display(scope, caller)) as display, asked as stop:
        ending = RunEnd() if ending is None else ending
        opener = caller.opener or partial(open_executor, client=caller.client)
        own = caller.opener is None and caller.client is None
        yield RunSession(context, scope, tally, ledger, display, stop, ending, opener, own)


@contextmanager
def recorded(session: RunSession, command: str) -> Iterator[None]:
    """Note in the state folder when the body began and ended, and how; ``command``: as in ``Caller``."""
    file, error = session.scope.calls, None
    session.call = identity = begin_call(file, command or shlex.join(["python", *sys.argv[:1]]))
    try:
        yield
    except BaseException as problem:
        error = problem
        raise
    finally:
        end_call(file, identity, RunEnd(session.ending.outcome, error).word)


def _display(scope: Scope, caller: Caller) -> ProgressDisplay:
    return ProgressDisplay(scope.log, scope.progress, caller.verbosity, caller.progress)


def count_outcome(
    context: Context, scope: Scope, state: LedgerState, computed_tiles: int, interrupted: bool
) -> Outcome:
    """Count tiles and blocks of a run, or of a part of it."""
    return Outcome(
        state=context.paths.root,
        tiles=len(scope.tiles),
        tiles_done=state.count("solve", DONE, scope.within),
        tiles_failed=state.count("solve", FAILED, scope.within),
        blocks_missing=scope.count_missing(state),
        computed_tiles=computed_tiles,
        interrupted=interrupted,
        part=scope.part,
    )
