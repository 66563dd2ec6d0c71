"""Context of a run on an image in memory: nothing is read from a state folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssi_pipeline.errors import TrainingError
from ssi_pipeline.phases import Training, following_trainings
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.storage.inputs.source_protocol import Source
from ssi_pipeline.storage.state.records import Job, TaskRecord
from ssi_pipeline.tasks.channels import calibrate_channel, trained_model
from ssi_pipeline.tasks.context import NO_FILL, Context

if TYPE_CHECKING:
    from ssi_pipeline.inversion.channel import ChannelCalibration
    from ssi_pipeline.inversion.network.checkpoint import Model


@dataclass(frozen=True)
class Channel:
    """What the tiles of a channel share: its calibration as plain values, and its network where there is one.

    ``training``: the last validation of the network, where it was trained here.
    """

    calibration: dict[str, Any]
    model: Model | None = None
    training: Training | None = None


@dataclass(frozen=True)
class ArrayContext(Context):
    """A run on an image in memory; problems are built once per process and shared by threads.

    ``image``: the pixels. ``psfs``: by channel. ``channels``: by channel; empty before the calibration.
    """

    image: Source
    psfs: tuple[Psf | None, ...]
    channels: tuple[Channel, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave out caches and locks."""
        return ArrayContext, (self.document, self.paths, self.image, self.psfs, self.channels)

    def on(self, image: Source) -> ArrayContext:
        """Return the same run on other pixels of its image; its problems are shared."""
        other = dataclasses.replace(self, image=image)
        for name in ("_problems", "_building"):
            object.__setattr__(other, name, getattr(self, name))
        return other

    @property
    def source(self) -> Source:
        """The image."""
        return self.image

    def psf(self, c: int) -> Psf | None:
        """Return the PSF of a channel, None for the identity."""
        return self.psfs[c]

    @property
    def _calibrations(self) -> list[ChannelCalibration]:
        from ssi_pipeline.inversion.channel import ChannelCalibration

        return [ChannelCalibration.from_json(channel.calibration) for channel in self.channels]

    @property
    def _fills(self) -> list[dict[str, Any]]:
        return [channel.calibration.get("fill") or NO_FILL for channel in self.channels]

    def start_model(self, c: int) -> Model | None:
        """Return the start network of a channel; None if tiles start from scratch, or if its training failed."""
        return self.channels[c].model if self.starts_from_model else None


def calibrated(context: ArrayContext, c: int) -> Channel:
    """Calibrate a channel, as a task of a run does."""
    job = Job("calibrate", c)
    record = TaskRecord("calibrate", c, "done", quality=calibrate_channel(context, job))
    return Channel(TaskRecord.from_line(record.to_line()).quality)  # numbers as they are read back from a ledger


def trained(context: ArrayContext, c: int) -> Channel:
    """Train the shared network of a calibrated channel; where that fails, its tiles are solved without one."""
    validations: list[Training] = []
    try:
        with following_trainings(validations.append):
            model = trained_model(context, c)
    except TrainingError:
        return context.channels[c]
    return dataclasses.replace(context.channels[c], model=model, training=validations[-1])
