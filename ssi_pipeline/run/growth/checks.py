"""Refuse to follow what cannot work, before time points are waited for."""

from __future__ import annotations

from pathlib import Path

from ssi_pipeline.config import RunConfig
from ssi_pipeline.config.patterns import has_placeholders
from ssi_pipeline.config.url import Url
from ssi_pipeline.errors import ConfigError, InputError
from ssi_pipeline.executors.gpus.sharing import refuse_missing_gpu
from ssi_pipeline.run.checks.output_checks import refuse_unknown_output
from ssi_pipeline.run.checks.overlap import refuse_overlap, sources
from ssi_pipeline.run.prepare import start_models
from ssi_pipeline.storage.inputs.mask import Mask
from ssi_pipeline.storage.state.marker import refuse_foreign_folder

_READ_BESIDES = ("psf", "input.mask", "training.start_from", "sensor.calibration")
"""Keys of files that a run reads besides its input."""


def refuse_unfollowable(config: RunConfig) -> None:
    """Refuse options whose result depends on time points that have not come yet.

    Raises
    ------
    ConfigError
        Names the option, and what to do.
    """
    training, network = config.training, config.method.network
    if config.input.images is not None:
        raise ConfigError("--follow works on one image: remove input.images, and follow each image by a run of its own")
    if isinstance(config.output.path, Url):
        raise ConfigError("--follow extends an output in a folder: expected a path in output.path, found a URL")
    if "t" in config.input.roi:
        raise ConfigError("--follow processes all time points as they come: remove input.roi.t")
    if network and training.scope != "per_tile" and training.start_from is None:
        raise ConfigError(
            f"training.scope: {training.scope} trains on tiles of all time points, which have not come yet: expected "
            "scope: per_tile, or the networks of an earlier run in training.start_from"
        )
    if network and config.network.context.get("t"):
        raise ConfigError(
            "network.context.t looks at the time point after each, which has not come yet: expected 0 with --follow"
        )
    if network and training.retrain:
        raise ConfigError(
            "training.retrain compares each tile with those of all time points, which have not come yet: expected "
            "false with --follow"
        )


def refuse_unstartable(config: RunConfig) -> None:
    """Refuse what an ordinary run refuses at its start, as far as it is known without an image.

    Raises
    ------
    ConfigError, InputError, OutputError
        Paths overlap, a folder is not ssi's, a file or a GPU is missing.
    """
    refuse_overlap(config)
    refuse_foreign_folder(config.state_path)
    refuse_unknown_output(config)
    for name, path in sources(config):
        if name.startswith(_READ_BESIDES) and isinstance(path, Path) and not (path.exists() or has_placeholders(path)):
            raise InputError(f"{name}: {path} not found (relative paths start from the configuration's folder)")
    start_models(config, len(config.psf))
    refuse_missing_gpu(config)


def refuse_mask_in_time(mask: Mask | None) -> None:
    """Refuse a mask with time points of its own: it cannot grow with the input.

    Raises
    ------
    ConfigError
        It has several.
    """
    if mask is not None and mask.source.volume.shape[0] > 1:
        raise ConfigError(
            f"input.mask has {mask.source.volume.shape[0]} time points: expected one for all, as the input grows"
        )
