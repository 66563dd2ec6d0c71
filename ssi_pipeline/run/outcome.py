"""Outcome of a call of ``run``: counts, exit status and final message."""

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

    With ``part``: its tiles, and the blocks that need no tiles of other parts.
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
        """Whether every block of the output is written; for a part, whether nothing of its own is pending or failed."""
        # a failed tile of a part may only affect blocks that the finish writes
        failed = self.part is not None and self.tiles_failed
        return not (self.interrupted or self.blocks_missing or failed)

    @property
    def failures(self) -> int:
        """Number of tiles that failed."""
        return self.tiles_failed

    @property
    def exit_status(self) -> ExitStatus:
        """Exit status of ``ssi run``."""
        if self.interrupted:
            return ExitStatus.INTERRUPTED
        if self.complete:
            return ExitStatus.COMPLETE
        return ExitStatus.FAILED if self.failures else ExitStatus.UNFINISHED


@dataclass(frozen=True, slots=True)
class ImagesOutcome(Outcome):
    """Counts at the end of a call on many images; tiles and blocks are those of the images that were begun.

    ``images_failed``: with failed tiles, or refused.
    """

    images: int = 0
    images_complete: int = 0
    images_failed: int = 0

    @property
    def complete(self) -> bool:
        """Whether every image is."""
        return not self.interrupted and self.images_complete == self.images

    @property
    def failures(self) -> int:
        """Number of images that failed, or were refused."""
        return self.images_failed


def _describe_images(outcome: ImagesOutcome) -> str:
    counts = (
        f"{outcome.images_complete} of {outcome.images} images complete, {outcome.tiles_done} tiles done "
        f"({outcome.computed_tiles} in this call)"
    )
    if outcome.interrupted:
        return f"stopped: {counts}; run the same command again to resume"
    if outcome.images_failed:
        return (
            f"incomplete: {counts}; {outcome.images_failed} images failed; `ssi status` lists the causes, "
            "`ssi run --retry-failed` retries their failed tiles"
        )
    return f"complete: {counts}" if outcome.complete else f"incomplete: {counts}; run again to resume"


def describe_outcome(outcome: Outcome) -> str:
    """Return the line that ends a run, or a part of it."""
    if isinstance(outcome, ImagesOutcome):
        return _describe_images(outcome)
    if outcome.part is not None:
        return _describe_part(outcome)
    counts = f"{outcome.tiles_done} of {outcome.tiles} tiles done ({outcome.computed_tiles} in this call)"
    if outcome.interrupted:
        return f"stopped: {counts}; run the same command again to resume"
    if outcome.tiles_failed:
        return (
            f"incomplete: {counts}; {outcome.tiles_failed} failed, {outcome.blocks_missing} blocks pending; "
            "`ssi status` lists the causes, `ssi run --retry-failed` retries the failed tiles"
        )
    if outcome.blocks_missing:
        return f"incomplete: {counts}; {outcome.blocks_missing} blocks could not be written; run again to retry"
    return f"complete: {counts}"


def _describe_part(outcome: Outcome) -> str:
    counts = f"{outcome.tiles_done} of {outcome.tiles} tiles done ({outcome.computed_tiles} in this call)"
    if outcome.interrupted:
        return f"{outcome.part} stopped: {counts}; run the same command again to resume"
    if outcome.tiles_failed:
        return (
            f"{outcome.part} incomplete: {counts}; {outcome.tiles_failed} failed; `ssi status` lists the causes, "
            "the same command with --retry-failed retries them"
        )
    if outcome.blocks_missing:
        return (
            f"{outcome.part} incomplete: {counts}; {outcome.blocks_missing} blocks could not be written; run again to "
            "retry"
        )
    return f"{outcome.part} done: {counts}; run `ssi run --finish` when all parts are done"


def describe_resumed(context: Context, state: LedgerState) -> str:
    """Return a line on the progress of earlier calls."""
    failed = state.count("solve", FAILED)
    return (
        f"resuming: {state.count('solve', DONE)} of {context.plan.n_tiles} tiles and "
        f"{state.count('stitch', DONE)} of {context.plan.n_blocks} blocks are done"
        + (f", {failed} tiles failed (retried only with --retry-failed)" if failed else "")
    )
