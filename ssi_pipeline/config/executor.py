"""The section of a run configuration that says where the work is done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import model_validator

from ssi_pipeline.config.section import Count, PositiveInt, RawPositive, Seconds, Section, up_to
from ssi_pipeline.config.slurm import SlurmConfig


class ExecutorConfig(Section):
    """Where the work is done. Nothing here changes what is computed.

    ``workers``: processes in all. ``profile``: a YAML file with the keys of ``slurm`` that a site's users share.
    ``tile_limit_s``: longest time of one task before its worker is taken for hung; 'auto' follows the others.
    ``infrastructure_failures``: lost workers and failing nodes in a row, with nothing done in between,
    that end the run. ``dashboard``: address of dask's dashboard; None: there is none.
    """

    kind: Literal["serial", "dask", "slurm"] = "dask"
    workers: Count | None = None
    threads: Annotated[PositiveInt, up_to(4096)] = 1
    memory_gib: Annotated[RawPositive, up_to(1e6)] | None = None
    address: str | None = None
    allow_unencrypted: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    tile_attempts: Count = 2
    worker_losses: Count = 3
    infrastructure_failures: Annotated[PositiveInt, up_to(1_000_000_000)] = 100
    tile_limit_s: Seconds | Literal["auto"] | None = "auto"
    dashboard: str | None = None
    profile: Path | None = None
    slurm: SlurmConfig = SlurmConfig()

    @model_validator(mode="after")
    def _check(self) -> ExecutorConfig:
        if self.kind != "slurm":
            return self
        if self.workers is None or self.memory_gib is None:
            raise ValueError(
                "kind: slurm needs workers (processes in all) and memory_gib (of each): "
                "the nodes are not known from here"
            )
        if self.address is not None:
            raise ValueError("kind: slurm starts a scheduler of its own: leave address out, or set kind: dask")
        return self

    @model_validator(mode="after")
    def _check_dashboard(self) -> ExecutorConfig:
        if self.dashboard is not None and not re.fullmatch(r"[^:\s]+:\d{1,5}", self.dashboard):
            raise ValueError(f"dashboard is {self.dashboard!r}: expected host:port, for instance 127.0.0.1:8787")
        return self
