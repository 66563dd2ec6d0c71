"""Tasks of a channel: calibration, and training of a shared network."""

from __future__ import annotations

import dataclasses
from typing import Any

from ssi_pipeline.errors import TrainingError
from ssi_pipeline.storage.atomic import file_digest
from ssi_pipeline.storage.mount import make_folder
from ssi_pipeline.storage.state.records import Job
from ssi_pipeline.tasks.context import Context
from ssi_pipeline.tasks.samples import sample_channel
from ssi_pipeline.tasks.seeds import seed_for
from ssi_pipeline.tasks.training_tiles import sample_tiles


def calibrate_channel(context: Context, job: Job) -> dict[str, Any]:
    """Calibrate a channel from samples: fill, intensity range, noise, and Wiener filter."""
    from ssi_pipeline.inversion.calibrate import calibrate

    config = context.document.config
    samples = sample_channel(context, job.index)
    found = calibrate(samples.measurements, context.psf(job.index), config, samples.pairs)
    return dataclasses.replace(found, fill=samples.fill).to_json()


def train_channel(context: Context, job: Job) -> dict[str, Any]:
    """Train one network on sampled tiles of a channel and save it to the state folder.

    If every attempt fails there is no network, and the tiles of the channel are solved by the Wiener filter.
    """
    from ssi_pipeline.inversion.solve import train_shared

    config, c = context.document.config, job.index
    try:
        model = train_shared(
            context.problem(c),
            sample_tiles(context, c, config.training.shared_tiles),
            seed_for(config.seed, "shared", c),
        )
    except TrainingError as error:
        return {"model": None, "note": str(error)}
    path = context.paths.shared_model(c)
    context.mounts.check("train")
    make_folder(path.parent)
    model.save(path)
    return {"model": file_digest(path)}
