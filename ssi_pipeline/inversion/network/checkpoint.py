"""Save and load trained models: parameters, and a document with network, PSF digest and calibration."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ssi_pipeline.config import NetworkConfig
from ssi_pipeline.errors import ConfigError, CorruptDataError
from ssi_pipeline.inversion.problem import Problem

_FORMAT = 2
"""2: the constants that standardise the inputs of f are part of its state."""


@dataclass(frozen=True, slots=True)
class Model:
    """A trained inverse f.

    Attributes
    ----------
    state
        Parameters by name, float32.
    document
        ``network`` (its configuration), ``axes`` (number of spatial axes), ``psf_digest`` and ``calibration``, as
        plain JSON values.
    psf
        PSF of the training, (z) y x; None in older files, which have the digest only.
    """

    state: dict[str, NDArray[np.float32]]
    document: dict[str, Any] = field(default_factory=dict)
    psf: NDArray[np.float32] | None = None

    def save(self, path: Path | str) -> None:
        """Write the model to a file atomically."""
        path = Path(path)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(6)}.partial")
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in self.state.items()}
        content: dict[str, Any] = {"state": tensors, "document": json.dumps({"format": _FORMAT, **self.document})}
        if self.psf is not None:
            content["psf"] = torch.from_numpy(np.array(self.psf))
        try:
            with temporary.open("wb") as stream:
                torch.save(content, stream)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path | str) -> Model:
        """Read a model written by ``save``, without executing code from the file.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        CorruptDataError
            The file is not a model, or damaged.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            document = dict(json.loads(content["document"]))
            state = {str(name): tensor.numpy() for name, tensor in content["state"].items()}
            psf = content["psf"].numpy() if "psf" in content else None
        except FileNotFoundError:
            raise
        except Exception as error:  # torch raises many exceptions for damaged files
            raise CorruptDataError(
                f"{path} is not a model of ssi_pipeline, or damaged ({type(error).__name__})"
            ) from error
        if document.pop("format", None) != _FORMAT:
            raise CorruptDataError(f"{path} has an unknown format: train it again")
        return cls(state, document, psf)


def pack(problem: Problem, state: dict[str, torch.Tensor]) -> Model:
    """Return trained parameters of a problem as a model."""
    document = {
        "network": _described(problem.config.network, problem.axes),
        "axes": problem.axes,
        "psf_digest": problem.forward.digest,
        "calibration": problem.calibration.to_json(),
    }
    arrays = {name: p.detach().cpu().numpy().copy() for name, p in state.items()}
    return Model(arrays, document, problem.forward.approximate_psf.copy())


def unpack(problem: Problem, model: Model) -> dict[str, torch.Tensor]:
    """Return the parameters of a model as tensors.

    Raises
    ------
    ConfigError
        The model has another network configuration, or another number of spatial axes, than the problem.
    """
    refuse_other_network(model, problem.config.network, problem.axes)
    return {name: torch.from_numpy(np.array(array)) for name, array in model.state.items()}


def refuse_other_network(model: Model, network: NetworkConfig, axes: int) -> None:
    """Refuse a model of another network configuration, or with another number of spatial axes.

    Raises
    ------
    ConfigError
        Network or number of axes differ.
    """
    wanted = {"network": _described(network, axes), "axes": axes}
    for key, value in wanted.items():
        if model.document.get(key) != value:
            raise ConfigError(
                f"the model to start from has {key} {model.document.get(key)}, the configuration has {value}: "
                "make them equal, or leave training.start_from out"
            )


def _described(network: NetworkConfig, axes: int) -> dict[str, Any]:
    return {**network.model_dump(mode="json"), "width": network.features(axes)}
