"""The section of a run configuration that says where the work is done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ssi_pipeline.config.section import Count, PositiveInt, RawPositive, Seconds, Section, up_to
from ssi_pipeline.config.slurm import SlurmConfig

_GPU_NAME = re.compile(r"\d{1,4}|GPU-[0-9A-Za-z-]+|MIG-[0-9A-Za-z/-]+")


def _gpu_name(value: Any) -> Any:
    """Return a GPU's number as text; refuse what CUDA_VISIBLE_DEVICES would not take."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not _GPU_NAME.fullmatch(text):
        found = repr(text[:40]) if text else f"a {type(value).__name__}"  # never all of it, whatever its size
        raise ValueError(
            f"expected the number of a GPU, or its name GPU-... or MIG-... as `nvidia-smi -L` has it, found {found}"
        )
    return text


_Gpu = Annotated[str, BeforeValidator(_gpu_name, json_schema_input_type=int | str)]


class ExecutorConfig(Section):
    """Where the work is done. Nothing here changes what is computed.

    ``workers``: processes in all. ``gpus``: how many of this machine's GPUs, or which; None: all that are visible.
    ``workers_per_gpu``: processes that share one.
    ``profile``: a YAML file with the keys of ``slurm`` that a site's users share.
    ``tile_limit_s``: longest time of one task before its worker is taken for hung; 'auto' follows the others.
    ``dashboard``: address of dask's dashboard; None: there is none.
    """

    kind: Literal["serial", "dask", "slurm"] = "dask"
    workers: Count | None = None
    threads: Annotated[PositiveInt, up_to(4096)] = 1
    memory_gib: Annotated[RawPositive, up_to(1e6)] | None = None
    address: str | None = None
    allow_unencrypted: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpus: Count | Annotated[tuple[_Gpu, ...], Field(min_length=1, max_length=1024)] | None = None
    workers_per_gpu: Annotated[PositiveInt, up_to(64)] = 1
    tile_limit_s: Seconds | Literal["auto"] | None = "auto"
    dashboard: str | None = None
    profile: Path | None = None
    slurm: SlurmConfig = SlurmConfig()

    def resolved(self, device: Literal["cpu", "cuda"]) -> ExecutorConfig:
        """Return the section with the device that ``auto`` left open, as the first start has settled it."""
        return self.model_copy(update={"device": device})

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
    def _check_gpus(self) -> ExecutorConfig:
        if self.gpus is None and self.workers_per_gpu == 1:
            return self
        if self.device == "cpu":
            raise ValueError("gpus and workers_per_gpu ask for GPUs, but device is cpu: expected device: auto or cuda")
        if self.kind != "dask" or self.address is not None:
            raise ValueError(
                f"gpus and workers_per_gpu are for the workers of this machine (kind: dask): {self._instead}"
            )
        if isinstance(self.gpus, tuple) and len(set(self.gpus)) < len(self.gpus):
            raise ValueError(
                f"gpus names one twice ({', '.join(self.gpus)}): several processes of one: workers_per_gpu"
            )
        return self

    @property
    def _instead(self) -> str:
        """What takes the place of ``gpus`` elsewhere."""
        if self.kind == "slurm":
            return "with kind: slurm, slurm.gres and slurm.workers_per_job say how many"
        if self.kind == "serial":
            return "kind: serial is one process, on the first GPU of CUDA_VISIBLE_DEVICES"
        return "with address, whoever starts the workers gives each its GPU"

    @model_validator(mode="after")
    def _check_dashboard(self) -> ExecutorConfig:
        if self.dashboard is not None and not re.fullmatch(r"[^:\s]+:\d{1,5}", self.dashboard):
            raise ValueError(f"dashboard is {self.dashboard!r}: expected host:port, for instance 127.0.0.1:8787")
        return self
