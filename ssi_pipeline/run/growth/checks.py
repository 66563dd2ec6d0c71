"""Refuse to follow with options that need all time points before the first is solved."""

from __future__ import annotations

from ssi_pipeline.config import RunConfig
from ssi_pipeline.config.url import Url
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.storage.inputs.mask import Mask


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
