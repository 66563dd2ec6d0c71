"""Tasks of a channel: calibration, and training of a shared network."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ssi_pipeline.errors import TrainingError
from ssi_pipeline.phases import phase
from ssi_pipeline.storage.atomic import file_digest
from ssi_pipeline.storage.mount import make_folder
from ssi_pipeline.storage.state.records import Job
from ssi_pipeline.tasks.context import Context
from ssi_pipeline.tasks.samples import sample_channel
from ssi_pipeline.tasks.seeds import seed_for
from ssi_pipeline.tasks.training_tiles import sample_tiles

if TYPE_CHECKING:
    from ssi_pipeline.inversion.network.checkpoint import Model


def calibrate_channel(context: Context, job: Job) -> dict[str, Any]:
    """Calibrate a channel from samples: fill, intensity range, noise, and Wiener filter."""
    from ssi_pipeline.inversion.calibrate import calibrate

    config = context.document.config
    with phase("read"):
        samples = sample_channel(context, job.index)
    with phase("calibrate"):
        found = calibrate(samples.measurements, context.psf(job.index), config, samples.pairs)
    return dataclasses.replace(found, fill=samples.fill).to_json()


def train_channel(context: Context, job: Job) -> dict[str, Any]:
    """Train one network on sampled tiles of a channel and save it to the state folder.

    If every attempt fails there is no network, and the tiles of the channel are solved by the Wiener filter.
    """
    try:
        model = trained_model(context, job.index)
    except TrainingError as error:
        return {"model": None, "note": str(error)}
    path = context.paths.shared_model(job.index)
    context.mounts.check("train")
    make_folder(path.parent)
    model.save(path)
    return {"model": file_digest(path)}


def trained_model(context: Context, c: int) -> Model:
    """Train one network on sampled tiles of a channel.

    Raises
    ------
    TrainingError
        Every attempt failed.
    """
    from ssi_pipeline.inversion.solve import train_shared

    config = context.document.config
    with phase("read"):
        tiles = sample_tiles(context, c, config.training.shared_tiles)
    with phase("train"):
        return train_shared(context.problem(c), tiles, seed_for(config.seed, "shared", c))
