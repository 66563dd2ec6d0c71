"""What `ssi status` says of a run on data that are still being written."""

from __future__ import annotations

import time
from typing import Any

from ssi_pipeline.storage.state.following import Following
from ssi_pipeline.storage.state.ledger import DONE, LedgerState
from ssi_pipeline.words import duration


def written_frames(state: LedgerState, frames: int) -> int:
    """Return the number of time points, from the first on, of which every block of the full resolution is written."""
    whole = (state.status["stitch"] == DONE).reshape(frames, -1).all(axis=1)
    return frames if whole.all() else int(whole.argmin())


def following_rows(following: Following, written: int, running: bool) -> list[tuple[str, str]]:
    """Return the rows on the time points: how many are complete and written, when the last came, and what follows.

    ``written``: number of time points that are. ``running``: a client is at work.
    """
    at_work = "following" if running else "not followed now"
    state = f"ended: {following.ended}" if following.ended else at_work
    ago = duration(_since(following))
    rows = [("time points", f"{following.frames} complete, {written} written; the last came {ago} ago; {state}")]
    if following.left_out:
        rows.append(("left out", following.left_out))
    return [*rows, *(("drift", line) for line in following.drift)]


def following_document(following: Following, written: int) -> dict[str, Any]:
    """Return the same for ``ssi status --json``."""
    return {
        "complete": following.frames,
        "written": written,
        "seconds_since_last": _since(following),
        "ended": following.ended or None,
        "left_out": following.left_out or None,
        "drift": following.drift,
    }


def _since(following: Following) -> float:
    return max(0.0, time.time() - following.last)
