"""Configuration section of SLURM jobs."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, field_validator

from ssi_pipeline.config.section import PositiveInt, Seconds, Section, up_to

_WALLTIME = re.compile(r"(?:(?P<days>\d{1,4})-)?(?P<hours>\d{1,3}):(?P<minutes>[0-5]\d):(?P<seconds>[0-5]\d)")
# a second line would be another directive or command in the job script
_LINE = Annotated[str, Field(pattern=r"^[^\n\r]+$")]


class SlurmConfig(Section):
    """Resources of one SLURM job; each job runs ``workers_per_job`` workers on one node.

    ``walltime``: hours:minutes:seconds, or days-hours:minutes:seconds. ``cpus``: cores per worker; None:
    ``executor.threads``. ``gres``: generic resources of a job; each process uses one GPU.
    ``scratch``: folder on the node for temporary files of a worker. ``interface``: network interface of scheduler and
    workers, for instance ib0. ``prologue``: shell lines run before a worker starts.
    ``directives``: more sbatch options, without ``#SBATCH``.
    ``connect_timeout_s``: a running job whose workers have not connected after this time is cancelled.
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
        """Convert 12:00:00 back to text: YAML parses it in base 60, as its number of seconds."""
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
            raise ValueError(f"walltime is {value!r}: SLURM's resolution is one minute, expected at least '00:01:00'")
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
