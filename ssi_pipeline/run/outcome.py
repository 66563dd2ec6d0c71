"""What a call of ``run`` came to, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ssi_pipeline.exit_status import ExitStatus
from ssi_pipeline.storage.state.ledger import DONE, FAILED, LedgerState
from ssi_pipeline.storage.state.parts import Part
from ssi_pipeline.tasks import Context


@dataclass(frozen=True, slots=True)
class Outcome:
    """Counts at the end of a call; ``computed_tiles`` are those of this call only.

    Of a ``part`` they are its tiles, and the blocks that need no tiles of others.
    """

    state: Path
    tiles: int
    tiles_done: int
    tiles_failed: int
    blocks_missing: int
    computed_tiles: int
    interrupted: bool
    part: Part | None = None

    @property
    def complete(self) -> bool:
        """Whether every block of the output is written; of a part, whether it has done all that it can do alone."""
        # blocks that a part's failed tile leaves missing may be the finish's
        failed = self.part is not None and self.tiles_failed
        return not (self.interrupted or self.blocks_missing or failed)

    @property
    def exit_status(self) -> ExitStatus:
        """What ``ssi run`` ends with."""
        if self.interrupted:
            return ExitStatus.INTERRUPTED
        if self.complete:
            return ExitStatus.COMPLETE
        return ExitStatus.FAILED if self.tiles_failed else ExitStatus.UNFINISHED


def describe_outcome(outcome: Outcome) -> str:
    """Return the line that ends a run, or a part of it."""
    if outcome.part is not None:
        return _describe_part(outcome)
    counts = f"{outcome.tiles_done} of {outcome.tiles} tiles done, {outcome.computed_tiles} solved now"
    if outcome.interrupted:
        return f"stopped: {counts}; nothing is lost: run the same command again to resume"
    if outcome.tiles_failed:
        return (
            f"incomplete: {counts}; {outcome.tiles_failed} failed, {outcome.blocks_missing} blocks are missing; "
            "`ssi status` names the causes, `ssi run --retry-failed` tries the failed tiles again"
        )
    if outcome.blocks_missing:
        return f"incomplete: {counts}, but {outcome.blocks_missing} blocks could not be written; run again to retry"
    return f"complete: {counts}"


def _describe_part(outcome: Outcome) -> str:
    counts = f"{outcome.tiles_done} of {outcome.tiles} tiles done, {outcome.computed_tiles} solved now"
    if outcome.interrupted:
        return f"{outcome.part} stopped: {counts}; nothing is lost: run the same command again to resume"
    if outcome.tiles_failed:
        return (
            f"{outcome.part} incomplete: {counts}; {outcome.tiles_failed} failed; `ssi status` names the causes, "
            "the same command with --retry-failed tries them again"
        )
    if outcome.blocks_missing:
        return (
            f"{outcome.part} incomplete: {counts}, but {outcome.blocks_missing} blocks could not be written: run again"
        )
    return f"{outcome.part} done: {counts}; when all parts are done, `ssi run --finish` completes the output"


def describe_resumed(context: Context, state: LedgerState) -> str:
    """Return a line on what an earlier call left."""
    failed = state.count("solve", FAILED)
    return (
        f"resuming: {state.count('solve', DONE)} of {context.plan.n_tiles} tiles and "
        f"{state.count('stitch', DONE)} of {context.plan.n_blocks} blocks are done"
        + (f", {failed} tiles failed (left alone without --retry-failed)" if failed else "")
    )
