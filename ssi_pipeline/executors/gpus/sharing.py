"""Select the GPUs of this machine for a run, and its kind of device, from the configuration."""

from __future__ import annotations

import os
from typing import Literal

from ssi_pipeline.config import ExecutorConfig, RunConfig
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.executors.gpus.visible import Cards, torch_build, visible_cards

Device = Literal["cpu", "cuda"]

_NO_CUDA = "torch is built without CUDA"


def own_cards(section: ExecutorConfig) -> Cards:
    """Return the GPUs that the workers of this machine share; none for workers elsewhere, or on CPUs.

    Raises
    ------
    ConfigError
        ``executor.gpus`` requests GPUs that are not visible.
    """
    if section.device == "cpu":
        return Cards(why="device is cpu")
    if section.kind == "slurm" or section.address is not None:
        return Cards(why="the workers are elsewhere")
    if section.gpus is None and not torch_build():
        return Cards(why=_NO_CUDA)
    found = visible_cards(os.environ)
    if section.gpus is None:
        return found
    return _chosen(section.gpus, found)


def _chosen(gpus: int | tuple[str, ...], found: Cards) -> Cards:
    fixed = found.variable in os.environ
    wanted = gpus if isinstance(gpus, tuple) else found.names[:gpus]
    # if the GPUs are unknown, the request is trusted: the workers find out
    if isinstance(gpus, int) and not found.names and not fixed:
        wanted = tuple(str(n) for n in range(gpus))
    count = gpus if isinstance(gpus, int) else len(gpus)
    unnamed = [name for name in wanted if name not in found.names and (fixed or (found.names and name.isdigit()))]
    if len(wanted) < count or unnamed:
        asked = f"[{', '.join(gpus)}]" if isinstance(gpus, tuple) else gpus
        where = f" ({found.variable} is {os.environ[found.variable]!r})" if fixed else ""
        seen = ", ".join(found.names) or f"none, {found.why}"
        raise ConfigError(f"executor.gpus is {asked}, but the GPUs visible here are: {seen}{where}")
    return Cards(wanted, found.variable, found.by_bus, found.of_job)


def known_device(section: ExecutorConfig) -> Device | None:
    """Return the kind of device for a first start; None where only the workers know.

    'auto' is a GPU if one is visible here, or if the SLURM jobs request some.
    """
    if section.device != "auto":
        return section.device
    if section.kind == "slurm":
        return "cuda" if asks_for_gpus(section) else None
    if section.address is not None:
        return None
    return "cuda" if section.gpus is not None or own_cards(section).names else "cpu"


def asks_for_gpus(section: ExecutorConfig) -> bool:
    """Return whether the SLURM jobs of a configuration request GPUs."""
    site = section.slurm
    if "gpu" in (site.gres or ""):
        return True
    asked = (line.strip() for line in site.directives)
    return any(line.startswith(("--gpus", "-G")) or (line.startswith("--gres") and "gpu" in line) for line in asked)


def describe_device(section: ExecutorConfig) -> str:
    """Return the device of a first start as text, for a plan; starts nothing."""
    if section.device != "auto":
        return section.device + _on(section)
    device = known_device(section)
    if device is None:
        return "auto: a GPU if the workers have one, settled at the first start"
    why = "the jobs request GPUs" if section.kind == "slurm" else own_cards(section).why
    return f"auto, settled at the first start; on this machine: {device}{_on(section)}" + (f" ({why})" if why else "")


def _on(section: ExecutorConfig) -> str:
    names = own_cards(section).names
    return f" on GPU {', '.join(names)}" if names else ""


def describe_idle(section: ExecutorConfig, device: Device) -> str:
    """Return a line on GPUs of this machine that are not used without being excluded; else an empty string."""
    if device == "cuda" or section.device != "auto" or section.kind == "slurm" or section.address is not None:
        return ""
    names = visible_cards(os.environ).names
    if not names:
        return ""
    why = "this run was started on the CPU; `ssi run --new` starts over on the GPU" if torch_build() else _NO_CUDA
    return f"GPU {', '.join(names)} of this machine: not used ({why})"


def refuse_missing_gpu(config: RunConfig) -> None:
    """Refuse a first start on GPUs that this machine does not have.

    Raises
    ------
    ConfigError
        The machine has none, or torch cannot use them.
    """
    section = config.executor
    if not config.method.computes:
        return  # needs no device
    asked = section.device == "cuda" or section.gpus is not None
    if not asked or section.kind == "slurm" or section.address is not None:
        return
    why = _NO_CUDA if not torch_build() else own_cards(section).why
    if why:
        what = "executor.device is cuda" if section.device == "cuda" else "executor.gpus requests GPUs"
        raise ConfigError(f"{what}, but {why}: set executor.device: cpu, or run where torch sees a GPU")
