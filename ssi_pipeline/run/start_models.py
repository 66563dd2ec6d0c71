"""Check the networks of ``training.start_from``: before any work, and again when the calibration is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import NetworkConfig, RunConfig
from ssi_pipeline.errors import ConfigError, CorruptDataError, InputError
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.network.checkpoint import Model, refuse_other_network
from ssi_pipeline.inversion.network.inverse import Inverse
from ssi_pipeline.physics.psf import Psf, psf_digest, psf_values

_SAME_PSF = 1e-4
"""Tolerance relative to the peak: float32 has seven digits, of which the last differ between machines."""

_LARGEST_FACTOR = 4.0
"""Between the intensity scales of two images. f works on normalised values, so a scale alone does no harm, but photon
counts that differ by 4 change the signal-to-noise ratio by 2, for which the network was not trained."""

_INSTEAD = "use a model trained for it, or remove training.start_from"


def check_given_models(config: RunConfig, files: Sequence[Path], psfs: Sequence[Psf | None]) -> None:
    """Load the network of each channel and compare it with the configuration; no pixels are read.

    Raises
    ------
    ConfigError
        A file is damaged, is not a model, or belongs to another network, other axes or another PSF.
    """
    for c, (file, psf) in enumerate(zip(files, psfs, strict=True)):
        try:
            check_model(Model.load(file), config, psf)
        except (ConfigError, CorruptDataError) as error:
            raise ConfigError(f"training.start_from, channel {c}: {file}: {error}") from error


def check_model(model: Model, config: RunConfig, psf: Psf | None) -> None:
    """Compare the network of a channel with the configuration.

    Raises
    ------
    ConfigError, CorruptDataError
        It belongs to another network, other axes or another PSF, or is damaged.
    """
    refuse_other_network(model, config.network, config.tiling.dimensions)
    _refuse_other_parameters(model, config.network, config.tiling.dimensions)
    _refuse_other_psf(model, psf_values(psf, config.tiling.dimensions))


def _refuse_other_parameters(model: Model, network: NetworkConfig, axes: int) -> None:
    expected = {name: tuple(p.shape) for name, p in Inverse(network, axes, generator(0)).state_dict().items()}
    found = {name: values.shape for name, values in model.state.items()}
    if found != expected:
        wrong = sorted(name for name in {**expected, **found} if expected.get(name) != found.get(name))
        name = wrong[0]
        raise CorruptDataError(
            f"its parameters do not match its network: {name} has the shape {found.get(name, 'nothing')}, expected "
            f"{expected.get(name, 'nothing')} ({len(wrong)} differ): {_INSTEAD}"
        )
    bad = sorted(name for name, values in model.state.items() if not np.isfinite(values).all())
    if bad:
        raise CorruptDataError(f"its parameters {bad[0]} have values that are NaN or infinite: {_INSTEAD}")


def _refuse_other_psf(model: Model, psf: NDArray[np.float32]) -> None:
    digest = psf_digest(psf)
    if model.document.get("psf_digest") == digest or _is_same(model.psf, psf):
        return
    made_for = f"{model.document.get('psf_digest')}{_shape(model.psf)}"
    raise ConfigError(f"the model was trained for the PSF {made_for}, this run has {digest}{_shape(psf)}: {_INSTEAD}")


def _is_same(one: NDArray[np.float32] | None, other: NDArray[np.float32]) -> bool:
    return one is not None and one.shape == other.shape and bool(abs(one - other).max() <= _SAME_PSF * other.max())


def _shape(psf: NDArray[np.float32] | None) -> str:
    if psf is None:
        return ""
    return f" ({' x '.join(map(str, psf.shape))} pixels, peak {float(psf.max()):.3g})"


def refuse_other_scale(model: Model, calibration: ChannelCalibration, c: int) -> None:
    """Refuse a network that was trained on an image of another intensity scale.

    Raises
    ------
    InputError
        They differ by more than a factor of 4.
    """
    if calibration.empty or not isinstance(model.document.get("calibration"), dict):
        return
    try:
        before = ChannelCalibration.from_json(model.document["calibration"])
    except TypeError:  # of an earlier release with other constants
        return
    made_for, found = before.scale, calibration.scale
    if made_for > 0 and abs(math.log(found / made_for)) > math.log(_LARGEST_FACTOR):
        raise InputError(
            f"training.start_from, channel {c}: the model was trained on an image of intensity scale {made_for:.4g} "
            f"(offset {before.offset:.4g}), this one has {found:.4g} (offset {calibration.offset:.4g}), more than "
            f"{_LARGEST_FACTOR:g} times apart. Use a model trained on similar images, or remove training.start_from"
        )
