"""Configuration section of the executor: where tasks run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ssi_pipeline.config.section import Count, PositiveInt, RawPositive, Seconds, Section, up_to
from ssi_pipeline.config.slurm import SlurmConfig

_GPU_NAME = re.compile(r"\d{1,4}|GPU-[0-9A-Za-z-]+|MIG-[0-9A-Za-z/-]+")


def _gpu_name(value: Any) -> Any:
    """Return a GPU index or name as text; refuse what CUDA_VISIBLE_DEVICES does not accept."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not _GPU_NAME.fullmatch(text):
        found = repr(text[:40]) if text else f"a {type(value).__name__}"  # cut: the value may be huge
        raise ValueError(f"expected a GPU index, or a name GPU-... or MIG-... from `nvidia-smi -L`, found {found}")
    return text


_Gpu = Annotated[str, BeforeValidator(_gpu_name, json_schema_input_type=int | str)]


class ExecutorConfig(Section):
    """Where tasks run. Nothing here changes the result.

    ``workers``: total number of processes. ``gpus``: number or list of this machine's GPUs; None: all visible ones.
    ``workers_per_gpu``: processes per GPU.
    ``profile``: a YAML file with site defaults for ``slurm``.
    ``tile_limit_s``: time limit of a task, after which its worker counts as hung; 'auto': from the other tasks' times.
    ``dashboard``: address of dask's dashboard; None: no dashboard.
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
        """Return the section with ``device: auto`` replaced by the device chosen at the first start."""
        return self.model_copy(update={"device": device})

    @model_validator(mode="after")
    def _check(self) -> ExecutorConfig:
        if self.kind != "slurm":
            return self
        if self.workers is None or self.memory_gib is None:
            raise ValueError(
                "kind: slurm needs workers (total number of processes) and memory_gib (per process): "
                "they cannot be derived from this machine"
            )
        if self.address is not None:
            raise ValueError("kind: slurm starts its own scheduler: remove address, or set kind: dask")
        return self

    @model_validator(mode="after")
    def _check_gpus(self) -> ExecutorConfig:
        if self.gpus is None and self.workers_per_gpu == 1:
            return self
        if self.device == "cpu":
            raise ValueError("gpus and workers_per_gpu request GPUs, but device is cpu: expected device: auto or cuda")
        if self.kind != "dask" or self.address is not None:
            raise ValueError(f"gpus and workers_per_gpu apply to local workers only (kind: dask): {self._instead}")
        if isinstance(self.gpus, tuple) and len(set(self.gpus)) < len(self.gpus):
            raise ValueError(
                f"gpus has a duplicate ({', '.join(self.gpus)}); for several processes per GPU use workers_per_gpu"
            )
        return self

    @property
    def _instead(self) -> str:
        """Advice for executors without ``gpus``."""
        if self.kind == "slurm":
            return "with kind: slurm, use slurm.gres and slurm.workers_per_job"
        if self.kind == "serial":
            return "kind: serial runs one process on the first GPU of CUDA_VISIBLE_DEVICES"
        return "with address, the workers are started elsewhere and get their GPUs there"

    @model_validator(mode="after")
    def _check_dashboard(self) -> ExecutorConfig:
        if self.dashboard is not None and not re.fullmatch(r"[^:\s]+:\d{1,5}", self.dashboard):
            raise ValueError(f"dashboard is {self.dashboard!r}: expected host:port, for instance 127.0.0.1:8787")
        return self
