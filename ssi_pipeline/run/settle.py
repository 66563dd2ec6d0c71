"""Settle device and precision of a run once: by the client if it knows them, else from the first workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from ssi_pipeline.config import RunConfig
from ssi_pipeline.executors.gpus.sharing import Device, describe_device, known_device
from ssi_pipeline.storage.outputs.output import note_compute
from ssi_pipeline.storage.state.compute import Compute
from ssi_pipeline.storage.state.document import RunDocument, StatePaths
from ssi_pipeline.storage.state.ledger import read_heads
from ssi_pipeline.storage.state.parts import ledger_paths
from ssi_pipeline.tasks import Context

if TYPE_CHECKING:
    from ssi_pipeline.executors import Executor
    from ssi_pipeline.run.unfit import UnfitWorkers
    from ssi_pipeline.tasks.ability import Ability


def device_of(context: Context) -> Device | None:
    """Return the device of a run, or the one for its first start; None where only the workers know.

    A run of an earlier release, which recorded none, has the device of its finished tiles.
    """
    section = context.document.config.executor
    if not context.document.config.method.computes:
        return known_device(section)  # computes nothing on a device
    if (compute := context.document.compute) is not None:
        return compute.device
    if section.device == "auto":
        heads = chain.from_iterable(map(read_heads, ledger_paths(context.paths)))
        seen = {head.device for head in heads if head.kind == "solve" and head.status == "done" and head.device}
        if seen == {"cpu"}:
            return "cpu"
        if seen and "cpu" not in seen:
            return "cuda"
    return known_device(section)


def settle(
    config: RunConfig, device: Device | None, executor: Executor, unfit: UnfitWorkers, stopped: Callable[[], bool]
) -> Compute:
    """Query the workers until device and precision can be decided.

    Raises
    ------
    KeyboardInterrupt
        The run was asked to stop.
    ExecutorError
        A GPU is requested, and no worker has one.
    """
    while True:
        asked = executor.abilities(stopped)
        if stopped():
            raise KeyboardInterrupt
        if (compute := decide(config, device, asked)) is not None:
            return compute
        for ability in asked:
            unfit.note(ability.place, ability.problem)


def decide(config: RunConfig, device: Device | None, asked: Sequence[Ability]) -> Compute | None:
    """Return device and precision; None where a worker with a GPU is needed, and none of the queried ones has one.

    ``device``: None leaves the choice to the workers: one worker with a GPU is enough for "cuda", the others are then
    excluded. The precision "auto" is bfloat16 only if all GPUs support it.
    """
    if not config.method.computes:
        return Compute("cpu", "float32")  # a copy
    able = [ability for ability in asked if ability.gpu]
    if device is None:
        if not asked:
            return None
        device = "cuda" if able else "cpu"
    wanted = config.training.precision
    if not config.method.trains:
        return Compute(device, "float32")
    if wanted != "auto":
        return Compute(device, wanted)
    if config.method.own_recipe or device == "cpu":
        return Compute(device, "float32")
    if not able:
        return None
    return Compute(device, "bfloat16" if all(ability.bfloat16 for ability in able) else "float32")


def save_compute(context: Context, compute: Compute) -> Context:
    """Write device and precision to the document and the provenance, unless present; returns the updated context."""
    if context.document.compute is None:
        document = context.document.with_compute(compute)
        document.save(context.paths.document)
        context = Context(document, context.paths)
    note_compute(context.document.config.output.path, context.document.basis["compute"])
    return context


def demanded(earlier: Compute | None, config: RunConfig) -> dict[str, Any]:
    """Return the device and precision that the configuration demands of a resumed run; 'auto' keeps the earlier."""
    if earlier is None:
        return {}
    device: str = config.executor.device
    if not config.method.computes or device == "auto":
        device = "cuda" if config.executor.gpus is not None and config.method.computes else earlier.device
    return {"compute": {"device": device, "precision": earlier.precision}}


def describe_compute(config: RunConfig) -> str:
    """Return the device for a plan: settled by an earlier start, or expected for the first one."""
    path = StatePaths(config.state_path).document
    if config.executor.device == "auto" and path.exists():
        compute = RunDocument.load(path).compute
        if compute is not None:
            return f"{compute} (settled at the first start)"
    return describe_device(config.executor)
