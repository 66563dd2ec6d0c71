"""Configuration section of the command that runs at the end of a run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from ssi_pipeline.config.section import PositiveInt, Section, up_to


class OnEndConfig(Section):
    """A shell command for the end of a run: a notification or the next workflow step. Nothing here changes the result.

    The command is excluded from dumps of the configuration, as it may contain a password.
    """

    command: str | None = Field(default=None, exclude=True, repr=False)
    timeout_s: Annotated[PositiveInt, up_to(10_000_000)] = 60

    @field_validator("command")
    @classmethod
    def _refuse_blank(cls, command: str | None) -> str | None:
        if command is not None and not command.strip():
            raise ValueError("is empty: expected a shell command, or null")
        return command
