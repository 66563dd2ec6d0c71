"""Identity of a row's set-up besides the image: rows of another set-up must not be reused."""

from __future__ import annotations

from typing import Any

from ssi_pipeline.config import RunConfig, digest
from ssi_pipeline.storage.state.document import ALGORITHM
from ssi_pipeline.tasks.device import choose_device


def solver_identity(config: RunConfig | None, device: str | None = None) -> dict[str, Any]:
    """Return the version of the algorithms, the digest of a solver's whole configuration, its device and precision.

    Parameters
    ----------
    config
        None if no solver of the pipeline runs.
    device
        Device of the run; by default ``executor.device`` resolved on this machine.

    Raises
    ------
    ExecutorError
        This machine lacks ``executor.device``.
    """
    found: dict[str, Any] = {"algorithm": ALGORITHM, "configuration": None, "device": None, "precision": None}
    if config is None:
        return found
    kind = (device or choose_device(config.executor.device)).split(":")[0]
    return {**found, "configuration": _digest(config), "device": kind, "precision": _precision(config, kind)}


def _precision(config: RunConfig, kind: str) -> str:
    if not config.method.trains:
        return "float32"
    from ssi_pipeline.inversion.network.precision import published_precision, resolved_precision  # brings torch

    if config.method.own_recipe:
        return published_precision(config.training.precision)
    return resolved_precision(config.training.precision, kind)


def _digest(config: RunConfig) -> str:
    """Return the digest of all options except paths and metrics; seed and device are separate parts of the identity."""
    document: dict[str, Any] = config.model_dump(mode="json", exclude={"output", "executor", "quality", "seed"})
    document["input"].pop("path")
    return digest(document)
