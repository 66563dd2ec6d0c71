"""Section ``follow``: when the time points of data that are still being written are complete, and when they end."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import field_validator

from ssi_pipeline.config.section import Count, Seconds, Section


class FollowConfig(Section):
    """Data that are still being written, for ``ssi run --follow``.

    ``frames``: first time points, on which the channels are calibrated. ``complete``: a time point is complete when the
    next one has begun, when its files have settled, or when the file of this name exists ({t}: its number).
    """

    frames: Count = 3
    complete: Literal["next", "settled"] | Path = "next"
    settle_s: Seconds = 10.0
    idle_s: Seconds = 3600.0
    stop_file: Path | None = None

    @field_validator("complete")
    @classmethod
    def _by_number(cls, value: str | Path) -> str | Path:
        if isinstance(value, Path) and "{t}" not in value.name:
            raise ValueError(
                f"{value} is not a rule: expected next, settled, or the file that marks a time point as complete, with "
                "{t} in its name, for instance scan_T{t}.done"
            )
        return value
