"""The section of a run configuration that says how a site's SLURM is asked for workers."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, field_validator

from ssi_pipeline.config.section import PositiveInt, Seconds, Section, up_to

_WALLTIME = re.compile(r"(?:(?P<days>\d{1,4})-)?(?P<hours>\d{1,3}):(?P<minutes>[0-5]\d):(?P<seconds>[0-5]\d)")
_LINE = Annotated[str, Field(pattern=r"^[^\n\r]+$")]  # a second line would be a directive, or a command, of its own


class SlurmConfig(Section):
    """What a job that holds workers asks of SLURM; each job holds ``workers_per_job`` of them, on one node.

    ``walltime``: hours:minutes:seconds, or days-hours:minutes:seconds. ``cpus``: cores of one worker; None is
    ``executor.threads``. ``gres``: of one job; one process computes on one GPU.
    ``scratch``: a folder on the node for what a worker keeps there. ``interface``: the network interface that
    scheduler and workers listen on, for instance ib0. ``prologue``: lines of shell that are run before a worker starts.
    ``directives``: further lines for sbatch, without ``#SBATCH``.
    ``connect_timeout_s``: a running job whose workers have not reported for so long is given up.
    """

    partition: _LINE | None = None
    account: _LINE | None = None
    walltime: str = "04:00:00"
    gres: _LINE | None = None
    workers_per_job: Annotated[PositiveInt, up_to(4096)] = 1
    cpus: Annotated[PositiveInt, up_to(4096)] | None = None
    prologue: tuple[str, ...] = ()
    scratch: _LINE | None = None
    interface: _LINE | None = None
    directives: tuple[_LINE, ...] = ()
    connect_timeout_s: Seconds = 600.0

    @field_validator("walltime", mode="before")
    @classmethod
    def _without_quotes(cls, value: Any) -> Any:
        """YAML reads 12:00:00 as a number in base 60, which is that of its seconds."""
        if isinstance(value, int) and not isinstance(value, bool):
            return f"{value // 3600:02d}:{value // 60 % 60:02d}:{value % 60:02d}"
        return value

    @field_validator("walltime")
    @classmethod
    def _is_time(cls, value: str) -> str:
        if not _WALLTIME.fullmatch(value):
            raise ValueError(
                f"walltime is {value!r}: expected hours:minutes:seconds, for instance 04:00:00, "
                "or days-hours:minutes:seconds"
            )
        if _seconds(value) < 60:
            raise ValueError(f"walltime is {value!r}: SLURM counts in minutes, expected at least '00:01:00'")
        return value

    @property
    def walltime_s(self) -> int:
        """Walltime in seconds."""
        return _seconds(self.walltime)


def _seconds(walltime: str) -> int:
    match = _WALLTIME.fullmatch(walltime)
    assert match is not None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((24 * days + hours) * 60 + minutes) * 60 + seconds
