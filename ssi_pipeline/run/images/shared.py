"""Find what all images share, the calibration of each channel and its network, on some of the images as one."""

from __future__ import annotations

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import ChannelError
from ssi_pipeline.run.channels import channels_ready, ready_channels
from ssi_pipeline.run.create import start_or_resume
from ssi_pipeline.run.prepare import Prepared, prepare
from ssi_pipeline.run.session import Caller, open_session, whole_run
from ssi_pipeline.run.workers import workers
from ssi_pipeline.storage.atomic import write_json
from ssi_pipeline.storage.inputs.source import open_source, spec_of
from ssi_pipeline.storage.inputs.stack import StackedSource
from ssi_pipeline.storage.outputs.output_lock import Held
from ssi_pipeline.storage.small_files import read_json
from ssi_pipeline.storage.state.collection import Collection

_SAMPLED = 64
"""Most images that are sampled: a channel is calibrated on 32 boxes and trained on 16 tiles by default."""


def prepare_shared(collection: Collection) -> Prepared | None:
    """Prepare a run over some of the images as one; None if they share nothing.

    The list of these images is written at the first call, and kept.

    Raises
    ------
    InputError
        The images differ in shape, axes, dtype or voxel size.
    """
    config, paths = collection.config, collection.paths
    if config.input.share == "nothing":
        return None
    pooled = config.of_image(paths.pooled, paths.pool, None).without_carrying()
    if not paths.pooled.exists():
        count = len(collection.images)
        chosen = [collection.images[i * count // min(count, _SAMPLED)] for i in range(min(count, _SAMPLED))]
        members = [config.of_image(image.path, paths.pool, None, image.scene).input for image in chosen]
        StackedSource([spec_of(member) for member in members], open_source)
        write_json(paths.pooled, [[str(member.path), member.scene] for member in members])
    return prepare(pooled)


def ready_shared(collection: Collection, prepared: Prepared, lease: Held, caller: Caller) -> bool:
    """Find what the images share, unless an earlier call has; returns False when asked to stop.

    Raises
    ------
    ChannelError
        A channel cannot be calibrated, or no network be trained for it.
    """
    context, _ = start_or_resume(prepared)
    with open_session(context, whole_run(context), lease, caller=caller) as session:
        if not channels_ready(context, session.state):
            with workers(session) as loop:
                if not ready_channels(session, loop):
                    return False
        _refuse_untrained(collection.config, read_json(context.paths.model_list))
    return True


def _refuse_untrained(config: RunConfig, models: list[str | None]) -> None:
    if config.input.share == "network" and None in models:
        raise ChannelError(
            f"input.share is network, but no network could be trained for channel {models.index(None)}: set "
            "input.share: calibration, or more training.steps"
        )
