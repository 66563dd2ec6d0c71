"""The section of a run configuration that says what to do when a run has ended."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from ssi_pipeline.config.section import PositiveInt, Section, up_to


class OnEndConfig(Section):
    """A shell command that tells somebody, or starts what comes next. Nothing here changes what is computed.

    The command is in no dump of the configuration: it may hold a password, and belongs to its author's file alone.
    """

    command: str | None = Field(default=None, exclude=True, repr=False)
    timeout_s: Annotated[PositiveInt, up_to(10_000_000)] = 60

    @field_validator("command")
    @classmethod
    def _says_something(cls, command: str | None) -> str | None:
        if command is not None and not command.strip():
            raise ValueError("is empty: expected a shell command, or null for none")
        return command
