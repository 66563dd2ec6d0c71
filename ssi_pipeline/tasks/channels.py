"""Tasks of a whole channel: its statistics, and the network that its tiles share."""

from __future__ import annotations

from typing import Any

from ssi_pipeline.errors import TrainingError
from ssi_pipeline.storage.atomic import file_digest
from ssi_pipeline.storage.mount import make_folder
from ssi_pipeline.storage.state.records import Job
from ssi_pipeline.tasks.context import Context
from ssi_pipeline.tasks.read_measurement import sample_measurements, sample_tiles
from ssi_pipeline.tasks.seeds import seed_for


def calibrate_channel(context: Context, job: Job) -> dict[str, Any]:
    """Estimate a channel's intensity range, noise and linear solution from a sample."""
    from ssi_pipeline.inversion.calibrate import calibrate

    config = context.document.config
    samples = sample_measurements(context, job.index)
    return calibrate(samples, context.psf(job.index), config).to_json()


def train_channel(context: Context, job: Job) -> dict[str, Any]:
    """Train one network on sampled tiles of a channel and keep it in the state folder.

    Where every attempt fails there is no network, and the channel's tiles take the linear solution.
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
