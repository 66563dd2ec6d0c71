"""One call of ``run`` from the moment that it has begun: what its steps share, and what it came to."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from ssi_pipeline.errors import SsiError
from ssi_pipeline.run.lost_tasks import LostTasks
from ssi_pipeline.run.outcome import Outcome
from ssi_pipeline.run.progress import ProgressDisplay
from ssi_pipeline.run.stop import StopRequest
from ssi_pipeline.run.summary import describe_summary, summarise
from ssi_pipeline.storage.ledger import DONE, FAILED, WRITTEN, Ledger, LedgerState
from ssi_pipeline.tasks import Context


@dataclass(slots=True)
class Call:
    """One call of ``run``, once it has begun."""

    context: Context
    state: LedgerState
    ledger: Ledger
    display: ProgressDisplay
    stop: StopRequest
    lost: LostTasks = field(default_factory=LostTasks)

    def outcome(self, interrupted: bool) -> Outcome:
        """Count what is there now."""
        return count_outcome(self.context, self.state, self.ledger.done["solve"], interrupted)

    def summarise(self, name: str) -> None:
        """Say what the run came to; where its ledger cannot be read, that is said elsewhere."""
        with suppress(SsiError, OSError):
            for line in describe_summary(summarise(self.context), self.state, self.ledger.seconds, self.lost, name):
                self.display.line(line)


def count_outcome(context: Context, state: LedgerState, computed_tiles: int, interrupted: bool) -> Outcome:
    """Count what a run has."""
    return Outcome(
        state=context.paths.root,
        tiles=context.plan.n_tiles,
        tiles_done=state.count("solve", DONE),
        tiles_failed=state.count("solve", FAILED),
        blocks_missing=sum(int((state.status[kind] != DONE).sum()) for kind in WRITTEN),
        computed_tiles=computed_tiles,
        interrupted=interrupted,
    )
