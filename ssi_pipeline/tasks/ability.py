"""What a worker process can compute on, and whether that is what its run is computed on."""

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
    """What one worker has. ``place``: its host:pid. ``gpu``: name of its GPU, empty where ``problem`` says why."""

    place: str
    gpu: str = ""
    bfloat16: bool = False
    problem: str = ""


def place_of_worker() -> str:
    """Return host:pid of this process, as in the records of its tasks."""
    return f"{host_name()}:{os.getpid()}"


def ability() -> Ability:
    """Look at this process; a GPU is used once, as many faults show only then."""
    try:
        name, bfloat16 = _gpu()
    except UnfitError as error:
        return Ability(place_of_worker(), problem=str(error))
    return Ability(place_of_worker(), name, bfloat16)


def require(compute: Compute) -> None:
    """Refuse work that this process cannot do as the run does.

    Raises
    ------
    UnfitError
        There is no GPU, it cannot be used, or it has no units for bfloat16 where that is the run's precision.
    """
    if compute.device == "cpu":
        return
    name, bfloat16 = _gpu()
    if compute.precision == "bfloat16" and not bfloat16:
        raise UnfitError(f"{name} does not compute in bfloat16, the precision of this run")


@functools.cache  # of what is well: what fails is looked at again
def _gpu() -> tuple[str, bool]:
    """Return the name of this process's GPU, and whether it computes in bfloat16."""
    import torch

    from ssi_pipeline.inversion.network.precision import resolved_precision

    if torch.version.cuda is None and torch.version.hip is None:
        raise UnfitError("torch is built without CUDA")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available:
        visible = repr(os.environ.get("CUDA_VISIBLE_DEVICES", "not set"))
        reason = f" ({_first_line(str(said[-1].message))})" if said else ""
        raise UnfitError(f"torch sees no GPU{reason}; CUDA_VISIBLE_DEVICES is {visible}")
    try:
        torch.zeros(1, device="cuda")
        return torch.cuda.get_device_name(), resolved_precision("auto", "cuda") == "bfloat16"
    except (RuntimeError, AssertionError) as error:
        raise UnfitError(f"the GPU cannot be used: {_first_line(str(error))}") from error


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:200] if text.strip() else "no reason is given"
