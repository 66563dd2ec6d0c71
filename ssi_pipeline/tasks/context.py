"""Context of a run in a worker, read once from the state folder and cached."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from ssi_pipeline.config.patterns import existing_place
from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import CorruptDataError, DamagedStateError, MissingStateError, RunChangedError
from ssi_pipeline.geometry import Box, TilePlan
from ssi_pipeline.geometry.plan import region_of_interest
from ssi_pipeline.geometry.pyramid import PyramidPlan, plan_pyramid
from ssi_pipeline.physics.psf import Position, Psf
from ssi_pipeline.physics.psf_set import read_saved
from ssi_pipeline.storage.atomic import file_digest
from ssi_pipeline.storage.inputs.mask import Mask, open_mask
from ssi_pipeline.storage.inputs.source import open_source, spec_of
from ssi_pipeline.storage.inputs.source_protocol import Source
from ssi_pipeline.storage.outputs.output import UNCERTAINTY
from ssi_pipeline.storage.outputs.scratch import Scratch, open_scratch
from ssi_pipeline.storage.outputs.sink import Sink
from ssi_pipeline.storage.small_files import read_json
from ssi_pipeline.storage.state.document import RunDocument, StatePaths
from ssi_pipeline.storage.state.marker import other_tokens
from ssi_pipeline.storage.state.records import Kind
from ssi_pipeline.tasks.device import choose_device
from ssi_pipeline.tasks.mounts import Mounts

if TYPE_CHECKING:
    from ssi_pipeline.inversion.channel import ChannelCalibration
    from ssi_pipeline.inversion.network.checkpoint import Model
    from ssi_pipeline.inversion.problem import Problem


_MOST_PROBLEMS = 4
"""Problems of channels cached by a worker: each holds spectra, about four floats per voxel of a tile's domain."""

NO_FILL: dict[str, Any] = {"value": None, "rim": 0, "share": 0.0, "doubt": ""}
"""In place of the fill of a channel that was calibrated without looking for it."""

IDENTITY = "identity"
"""In place of the digest of a PSF, for denoising without blur."""


@dataclass(frozen=True)
class Context:
    """An opened run. Channels and time points are indices into the output."""

    document: RunDocument
    paths: StatePaths
    _problems: dict[int, Problem] = field(default_factory=dict, init=False, repr=False, compare=False)
    _building: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    @cached_property
    def mounts(self) -> Mounts:
        """Mounts of state folder, output and input at the first access."""
        config = self.document.config
        files = (place for place in (config.input.path, config.input.mask) if isinstance(place, Path))
        return Mounts.of(self.paths.root, config.output.path, *map(existing_place, files))

    @property
    def plan(self) -> TilePlan:
        """The tiling."""
        return self.document.plan

    @cached_property
    def origin(self) -> tuple[int, ...]:
        """First position (t c z y x) of the region of interest in the input."""
        return tuple(start for start, _ in region_of_interest(self.document.volume, self.document.config.input.roi))

    def place(self, box: Box) -> Position:
        """Return the middle of a box (z y x, in the output) in the input image, for a PSF that varies."""
        z, y, x = (o + (a + b) / 2 for o, a, b in zip(self.origin[2:], box.start, box.stop, strict=True))
        return z, y, x

    @cached_property
    def source(self) -> Source:
        """The opened input."""
        return open_source(spec_of(self.document.config.input, self.document.frames))

    @cached_property
    def mask(self) -> Mask | None:
        """The opened mask of the input; None without one."""
        return open_mask(self.document.config.input, self.document.volume)

    @cached_property
    def dtype(self) -> str:
        """Dtype of the output."""
        return "float32" if self.document.config.output.dtype == "float32" else self.document.volume.dtype

    @cached_property
    def sink(self) -> Sink:
        """The opened output, writable."""
        return self.sinks[0]

    @cached_property
    def sinks(self) -> tuple[Sink, ...]:
        """The opened images for blocks of the full resolution: the output, and its uncertainty."""
        return self.open_sinks(writable=True)

    def sinks_of(self, kind: Kind) -> tuple[Sink, ...]:
        """Return the images for blocks of a kind: coarser levels exist for the output only."""
        return self.sinks if kind == "stitch" else (self.sink,)

    def open_sinks(self, writable: bool) -> tuple[Sink, ...]:
        """Open the images of ``sinks`` anew.

        Raises
        ------
        RunChangedError
            Writable, and the output belongs to another run by now.
        """
        output, axes = self.document.config.output, self.document.volume.axes
        if writable:
            self._refuse_other_output(output.path)
        paths = [output.path, output.path / UNCERTAINTY][: self.layers]
        return tuple(Sink(path, axes, self.plan.shard, writable) for path in paths)

    def _refuse_other_output(self, output: Place) -> None:
        if (tokens := other_tokens(output, self.paths.root)) is not None:
            found, expected = tokens
            raise RunChangedError(
                f"{output} now belongs to another run ({found[:8]}), not to that of {self.paths.root} ({expected[:8]})"
            )

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays in the output."""
        levels = tuple(str(level) for level in range(self.pyramid.n_levels))
        return (*levels, f"{UNCERTAINTY}/0") if self.uncertain else levels

    @property
    def layers(self) -> int:
        """Arrays computed for each tile: the estimate and, if configured, its uncertainty."""
        return 2 if self.uncertain else 1

    @property
    def uncertain(self) -> bool:
        """Whether the uncertainty is computed."""
        return self.document.config.output.uncertainty > 0

    @property
    def scratch_path(self) -> Path:
        """Path of the scratch of this run."""
        return self.paths.scratch(self.document.fingerprint)

    @cached_property
    def scratch(self) -> Scratch:
        """The opened scratch."""
        return open_scratch(self.scratch_path)

    @cached_property
    def pyramid(self) -> PyramidPlan:
        """The levels of the output."""
        return plan_pyramid(self.plan, self.document.volume.voxel_size_um, self.document.config.output.pyramid)

    @cached_property
    def _psfs(self) -> dict[int, Psf]:
        return {}

    def psf(self, c: int) -> Psf | None:
        """Return the PSF of a channel, None for the identity.

        Raises
        ------
        MissingStateError, DamagedStateError
            Its file is missing, or is not the one that the run was started with.
        """
        expected = self.document.basis["psf"][c]
        if expected == IDENTITY:
            return None
        if c not in self._psfs:
            path = self.paths.psf(c)
            if not path.exists():
                raise MissingStateError(f"{path} is not visible on this machine; the next start writes it")
            psf = read_saved(path, self.document.volume.voxel_size_um)
            if psf is None or psf.digest != expected:
                raise DamagedStateError(f"{path} is not the PSF of the run; the next start writes it")
            self._psfs[c] = psf
        return self._psfs[c]

    @cached_property
    def _calibrations(self) -> list[ChannelCalibration]:
        from ssi_pipeline.inversion.channel import ChannelCalibration

        return [ChannelCalibration.from_json(item) for item in _load_list(self.paths.calibration)]

    def fill(self, c: int) -> dict[str, Any]:
        """Return the fill of a channel as plain values, available once the calibration tasks are done."""
        return self._fills[c]

    @cached_property
    def _fills(self) -> list[dict[str, Any]]:
        return [item.get("fill") or NO_FILL for item in _load_list(self.paths.calibration)]

    def calibration(self, c: int) -> ChannelCalibration:
        """Return the calibration of a channel, available once the calibration tasks are done."""
        return self._calibrations[c]

    def problem(self, c: int) -> Problem:
        """Return the inverse problem of a channel, built once and shared by its tiles; thread-safe."""
        with self._building:
            problem = self._problems.pop(c, None) or self._build_problem(c)
            self._problems[c] = problem  # most recently used last; the first one is evicted
            while len(self._problems) > _MOST_PROBLEMS:
                del self._problems[next(iter(self._problems))]
        return problem

    def _build_problem(self, c: int) -> Problem:
        from ssi_pipeline.inversion.problem import build_problem  # imports torch

        config = self.document.config
        return build_problem(self.psf(c), self.calibration(c), config, choose_device(config.executor.device))

    @cached_property
    def _models(self) -> dict[int, Model]:
        return {}

    @property
    def starts_from_model(self) -> bool:
        """Whether tiles share a network, or start from a given one."""
        training = self.document.config.training
        return self.document.config.method.network and (training.scope != "per_tile" or training.start_from is not None)

    @cached_property
    def _model_digests(self) -> list[str | None]:
        return _load_list(self.paths.model_list)

    def start_model(self, c: int) -> Model | None:
        """Return the start network of a channel; None if tiles start from scratch, or if its training failed.

        Raises
        ------
        CorruptDataError
            Its file is missing, or its digest is not the recorded one.
        """
        if not self.starts_from_model or self._model_digests[c] is None:
            return None
        if c not in self._models:
            from ssi_pipeline.inversion.network.checkpoint import Model

            path = self.paths.shared_model(c)
            if file_digest(path) != self._model_digests[c]:
                raise CorruptDataError(f"{path} is missing or changed: `ssi run` trains it again")
            self._models[c] = Model.load(path)
        return self._models[c]


def _load_list(path: Path) -> list[Any]:
    """Return the list in a small file of the state folder."""
    try:
        document = read_json(path)
    except FileNotFoundError as error:
        raise MissingStateError(f"{path} is not visible on this machine; the next start writes it") from error
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, list):
        raise DamagedStateError(f"{path} is damaged; the next start writes it")
    return document
