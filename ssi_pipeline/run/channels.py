"""Prepare the channels of a run: calibrate each one and train shared networks, before any tile is solved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ssi_pipeline.errors import ChannelError, CorruptDataError
from ssi_pipeline.inversion.sensor.correlation import between_words, correlation_words
from ssi_pipeline.results.alarms import calibration_alarms
from ssi_pipeline.results.channel_facts import channel_psfs, plain_calibration
from ssi_pipeline.results.unmeasured import describe_fill
from ssi_pipeline.run.prepare import start_models
from ssi_pipeline.run.scheduling import Scheduler
from ssi_pipeline.run.session import RunSession
from ssi_pipeline.run.stages import ListStage, pending
from ssi_pipeline.storage.atomic import copy_file, file_digest, write_json
from ssi_pipeline.storage.state.ledger import DONE, LedgerState, latest_records
from ssi_pipeline.storage.state.records import Job, Kind, TaskRecord
from ssi_pipeline.tasks import Context, RunSpec
from ssi_pipeline.tasks.execute import execute

_TITLES: dict[Kind, str] = {"calibrate": "calibrating channels", "train": "training shared networks"}


def ready_channels(session: RunSession, loop: Scheduler) -> bool:
    """Calibrate every channel and train its shared network; returns False when asked to stop.

    A recorded network whose file is missing or changed is trained again.

    Raises
    ------
    ChannelError
        A channel cannot be calibrated, so none of its tiles can be solved.
    """
    context, channels = session.context, range(session.context.plan.shape[1])
    for record in _unusable_models(context):
        session.invalidate(record)
    for kind in _kinds(context):
        todo = pending(session.state, kind, channels)
        if todo and not loop.drive(ListStage(kind, todo), kind, _TITLES[kind]):
            return False
        _save(context, kind, latest_records(context.paths.ledger, kind))
    for line in describe_fill([context.fill(c) for c in channels]):
        session.display.line(line)
    for c in channels:
        if context.calibration(c).empty:
            session.display.line(
                f"channel {c} is constant (or not finite) in all samples: the output will be a copy of it"
            )
    for text in (*noise_found(context), *calibration_alarms(plain_calibration(context), channel_psfs(context))):
        session.display.line(text)
    return True


def noise_found(context: Context) -> list[str]:
    """Return a sentence for each channel whose noise is correlated between pixels, or between planes or frames."""
    found = []
    for c in range(context.plan.shape[1]):
        known = context.calibration(c)
        found += [] if known.correlation is None else [f"channel {c}: {correlation_words(known.correlation)}"]
        shared = [(axis, rho) for axis, rho in known.between.items() if axis not in known.independent]
        found += [f"channel {c}: {between_words(axis, rho)}" for axis, rho in shared]
    return found


def channels_ready(context: Context, state: LedgerState) -> bool:
    """Return whether ``ready_channels`` has nothing left to do."""
    trained = not context.starts_from_model
    if not trained and context.document.basis["start_from"]:
        wanted = context.document.basis["start_from"]
        trained = all(file_digest(context.paths.shared_model(c)) == digest for c, digest in enumerate(wanted))
    elif not trained:
        trained = bool((state.status["train"] == DONE).all()) and not _unusable_models(context)
    files = context.paths.calibration.exists() and context.paths.model_list.exists()
    return trained and files and bool((state.status["calibrate"] == DONE).all())


def ready_channels_here(context: Context, spec: RunSpec) -> None:
    """Prepare the channels in this process, without a ledger, for a pilot."""

    for kind in _kinds(context):
        _save(context, kind, {c: execute(spec, [Job(kind, c)])[-1] for c in range(context.plan.shape[1])})


def _kinds(context: Context) -> tuple[Kind, ...]:
    """Return the kinds of task that a channel needs, in order."""
    trains = context.starts_from_model and not context.document.basis["start_from"]
    return ("calibrate", "train") if trains else ("calibrate",)


def _save(context: Context, kind: Kind, found: Mapping[int, TaskRecord]) -> None:
    """Write the results of the tasks of one kind, for the tiles of all channels."""
    records = [found[c] for c in range(context.plan.shape[1])]
    _refuse_failures(records)
    if kind == "calibrate":
        write_json(context.paths.calibration, [record.quality for record in records])
    if kind == _kinds(context)[-1]:
        write_json(context.paths.model_list, _models(context, records))


def _models(context: Context, records: Sequence[TaskRecord]) -> list[str | None]:
    """Return the digest of the network of each channel, None where its training failed."""
    if context.document.basis["start_from"]:
        digests = _given_models(context)
        _refuse_other_scales(context)
        return digests
    return [record.model for record in records] if context.starts_from_model else []


def _unusable_models(context: Context) -> list[TaskRecord]:
    found = []
    for c, record in latest_records(context.paths.ledger, "train").items():
        wanted = record.model
        if record.status == "done" and wanted and file_digest(context.paths.shared_model(c)) != wanted:
            found.append(TaskRecord("train", c, "invalid", error="the network's file is missing or changed"))
    return found


def _given_models(context: Context) -> list[str | None]:
    """Copy the networks to start from into the state folder, unless they are there.

    Raises
    ------
    CorruptDataError
        A file changed while the run was starting.
    """
    wanted: list[str] = context.document.basis["start_from"]
    context.paths.models.mkdir(exist_ok=True)
    for c, (source, digest) in enumerate(zip(start_models(context.document.config, len(wanted)), wanted, strict=True)):
        target = context.paths.shared_model(c)
        if file_digest(target) != digest:
            copy_file(source, target)
        if file_digest(target) != digest:
            raise CorruptDataError(f"training.start_from: {source} changed while the run was starting: run again")
    return list(wanted)


def _refuse_other_scales(context: Context) -> None:
    # these bring torch: only with training.start_from
    from ssi_pipeline.inversion.network.checkpoint import Model
    from ssi_pipeline.run.start_models import refuse_other_scale

    for c in range(context.plan.shape[1]):
        refuse_other_scale(Model.load(context.paths.shared_model(c)), context.calibration(c), c)


def _refuse_failures(records: Sequence[TaskRecord]) -> None:
    for record in records:
        if record.status != "done":
            raise ChannelError(f"cannot prepare channel {record.index} ({record.key}): {record.error}")
