"""What has to be known of each channel before its tiles can be solved."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ssi_pipeline.errors import ConfigError, SsiError
from ssi_pipeline.run.loop import Loop
from ssi_pipeline.run.stages import ListStage, pending
from ssi_pipeline.storage.atomic import write_json
from ssi_pipeline.storage.ledger import LedgerState, latest_records
from ssi_pipeline.storage.records import Job, TaskRecord
from ssi_pipeline.tasks import Context, RunSpec, execute


def ready_channels(context: Context, state: LedgerState, loop: Loop) -> bool:
    """Calibrate every channel and train what its tiles share; returns False when asked to stop.

    Raises
    ------
    SsiError
        A channel cannot be calibrated: without that no tile can be solved.
    """
    channels = range(context.plan.shape[1])
    todo = pending(state, "calibrate", channels)
    if todo and not loop.drive(ListStage("calibrate", todo), "calibrate", "calibrating channels"):
        return False
    records = latest_records(context.paths.ledger, "calibrate")
    _refuse_failures([records[c] for c in channels])
    write_json(context.paths.calibration, [records[c].quality for c in channels])
    if not _trains_shared(context):
        return True
    todo = pending(state, "train", channels)
    if todo and not loop.drive(ListStage("train", todo), "train", "training shared networks"):
        return False
    records = latest_records(context.paths.ledger, "train")
    _refuse_failures([records[c] for c in channels])
    return True


def prepare_channels_here(context: Context, spec: RunSpec) -> None:
    """Do the same in this process and without a ledger, for a pilot."""
    channels = range(context.plan.shape[1])
    records = [execute(spec, [Job("calibrate", c)])[-1] for c in channels]
    _refuse_failures(records)
    write_json(context.paths.calibration, [record.quality for record in records])
    if _trains_shared(context):
        _refuse_failures([execute(spec, [Job("train", c)])[-1] for c in channels])


def _trains_shared(context: Context) -> bool:
    """Tell whether networks are to be trained that tiles share; copies them where they are given."""
    training = context.document.config.training
    if context.starts_from_model and training.start_from is not None:
        for c in range(context.plan.shape[1]):
            copy_model(training.start_from, context.paths.shared_model(c))
        return False
    return context.starts_from_model


def copy_model(source: Path, target: Path) -> None:
    """Take over a network: ``source`` is a file, or a ``models`` folder that has one of the same name.

    Raises
    ------
    ConfigError
        There is no such file.
    """
    file = source / target.name if source.is_dir() else source
    if not file.is_file():
        raise ConfigError(f"training.start_from: {file} not found; give a .pt file, or the models folder of a run")
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(file, target)


def _refuse_failures(records: Sequence[TaskRecord]) -> None:
    for record in records:
        if record.status != "done":
            raise SsiError(f"channel {record.index} cannot be prepared ({record.key}): {record.error}")
