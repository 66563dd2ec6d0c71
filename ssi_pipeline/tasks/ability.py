"""Device and precision supported by a worker process, and the check against those of its run."""

from __future__ import annotations

import functools
import os
import warnings
from dataclasses import dataclass

from ssi_pipeline.errors import UnfitError
from ssi_pipeline.storage.state.compute import Compute
from ssi_pipeline.tasks.worker_log import host_name


@dataclass(frozen=True, slots=True)
class Ability:
    """Abilities of a worker. ``place``: host:pid. ``gpu``: name of its GPU; empty with the reason in ``problem``."""

    place: str
    gpu: str = ""
    bfloat16: bool = False
    problem: str = ""


def place_of_worker() -> str:
    """Return host:pid of this process, as in the records of its tasks."""
    return f"{host_name()}:{os.getpid()}"


def ability() -> Ability:
    """Return the abilities of this process; its GPU is used once, as many errors appear only then."""
    try:
        name, bfloat16 = _gpu()
    except UnfitError as error:
        return Ability(place_of_worker(), problem=str(error))
    return Ability(place_of_worker(), name, bfloat16)


def require(compute: Compute) -> None:
    """Refuse tasks whose device or precision this process does not support.

    Raises
    ------
    UnfitError
        There is no usable GPU, or it does not support the bfloat16 precision of the run.
    """
    if compute.device == "cpu":
        return
    name, bfloat16 = _gpu()
    if compute.precision == "bfloat16" and not bfloat16:
        raise UnfitError(f"{name} does not support bfloat16, the precision of this run")


@functools.cache  # caches successes only: failures are checked again
def _gpu() -> tuple[str, bool]:
    """Return the name of this process's GPU, and whether it supports bfloat16."""
    import torch

    from ssi_pipeline.inversion.network.precision import resolved_precision

    if torch.version.cuda is None and torch.version.hip is None:
        raise UnfitError("torch is built without CUDA")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available:
        visible = repr(os.environ.get("CUDA_VISIBLE_DEVICES", "not set"))
        reason = f" ({_first_line(str(caught[-1].message))})" if caught else ""
        raise UnfitError(f"torch sees no GPU{reason}; CUDA_VISIBLE_DEVICES is {visible}")
    try:
        torch.zeros(1, device="cuda")
        return torch.cuda.get_device_name(), resolved_precision("auto", "cuda") == "bfloat16"
    except (RuntimeError, AssertionError) as error:
        raise UnfitError(f"cannot use the GPU: {_first_line(str(error))}") from error


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:200] if text.strip() else "no reason is given"
