"""Run configuration: all sections, and checks for contradictions between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    field_validator,
    model_validator,
)

from ssi_pipeline.config.executor import ExecutorConfig
from ssi_pipeline.config.follow import FollowConfig
from ssi_pipeline.config.on_end import OnEndConfig
from ssi_pipeline.config.psf_varying import PsfConfig, refuse_shared_network, varies
from ssi_pipeline.config.recipe import Recipe, recipe_of
from ssi_pipeline.config.section import (
    NonNegativeInt,
    Section,
    SpatialAxis,
    refuse_bool,
    up_to,
)
from ssi_pipeline.config.sections import (
    ClassicalConfig,
    InputConfig,
    MaskingConfig,
    NetworkConfig,
    OutputConfig,
    PublishedConfig,
    QualityConfig,
    TilingConfig,
    TrainingConfig,
)
from ssi_pipeline.config.sensor import SensorConfig
from ssi_pipeline.config.storage import StorageConfig
from ssi_pipeline.config.url import Place, Url
from ssi_pipeline.methods import SOLVERS, Solver

SCHEMA_VERSION: Final = 1

_IMPULSE_SIGMA = 3.0
"""One noise pixel in 370 exceeds it; the spread of the window is added (docs/experiments.md, impulses)."""

if TYPE_CHECKING:
    SolverName = str
else:
    SolverName = Literal[tuple(SOLVERS)]  # a new solver needs only a row in SOLVERS


class RunConfig(Section):
    """All options of a run."""

    schema_version: Annotated[Literal[1], BeforeValidator(refuse_bool)] = SCHEMA_VERSION
    input: InputConfig
    output: OutputConfig
    psf: Annotated[tuple[PsfConfig, ...], Field(min_length=1)]
    solver: SolverName = "ssi"
    tiling: TilingConfig = TilingConfig()
    sensor: SensorConfig = SensorConfig()
    masking: MaskingConfig = MaskingConfig()
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    published: PublishedConfig = PublishedConfig()
    classical: ClassicalConfig = ClassicalConfig()
    quality: QualityConfig = QualityConfig()
    executor: ExecutorConfig = ExecutorConfig()
    storage: StorageConfig = StorageConfig()
    follow: FollowConfig = FollowConfig()
    on_end: OnEndConfig = Field(default=OnEndConfig(), exclude=True, repr=False)
    seed: Annotated[NonNegativeInt, up_to(2**63 - 1)] = 0
    _file: Path | None = PrivateAttr(default=None)

    @property
    def method(self) -> Solver:
        """Properties of the solver."""
        return SOLVERS[self.solver]

    @property
    def recipe(self) -> Recipe:
        """How the network is trained: start, and options that are 'auto'."""
        return recipe_of(self.tiling.dimensions, self.network, self.training)

    @property
    def file(self) -> Path | None:
        """File that the configuration was read from, if any; not part of the run's identity."""
        return self._file

    def read_from(self, file: Path) -> RunConfig:
        """Return the configuration with its file set."""
        copy = self.model_copy()
        copy._file = file
        return copy

    def with_input(self, path: Place, mask: Place | None) -> RunConfig:
        """Return the configuration with other paths of input and mask."""
        return self.model_copy(update={"input": self.input.model_copy(update={"path": path, "mask": mask})})

    def with_output(self, path: Place, state: Path | None = None) -> RunConfig:
        """Return the configuration with another output and state path."""
        return self.model_copy(update={"output": self.output.model_copy(update={"path": path, "state": state})})

    def of_image(self, path: Path, output: Path, state: Path | None, scene: int | None = None) -> RunConfig:
        """Return the configuration of one of many images: its input, output and state, and no command at the end."""
        own = {"path": path, "images": None, "share": "nothing", "scene": self.input.scene if scene is None else scene}
        section = self.input.model_copy(update=own)
        copy = self.model_copy(update={"input": section, "on_end": OnEndConfig()})
        return copy.with_output(output, state)

    def without_sharing(self) -> RunConfig:
        """Return the configuration of many images of which each has a calibration and network of its own."""
        return self.model_copy(update={"input": self.input.model_copy(update={"share": "nothing"})})

    def with_shared(self, what: str, state: Path) -> RunConfig:
        """Return the configuration with the calibration, or also the network, of another run's state folder."""
        if what == "nothing":
            return self
        given: dict[str, Any] = {"sensor": self.sensor.model_copy(update={"calibration": state})}
        if what == "network":
            given["training"] = self.training.model_copy(update={"start_from": state / "models"})
        return self.model_copy(update=given)

    def without_carrying(self) -> RunConfig:
        """Return the configuration without what is carried along from the input."""
        return self.model_copy(update={"output": self.output.model_copy(update={"carry": ()})})

    def with_core(self, core: dict[SpatialAxis, int]) -> RunConfig:
        """Return the configuration with another tile core."""
        return self.model_copy(update={"tiling": self.tiling.model_copy(update={"core": core})})

    def with_executor(self, **values: Any) -> RunConfig:
        """Return the configuration with other values of the executor's section."""
        return self.model_copy(update={"executor": self.executor.model_copy(update=values)})

    def with_psf_paths(self, paths: Sequence[Path | None]) -> RunConfig:
        """Return the configuration with another path of each PSF, None: as it is."""
        psfs = [
            p if path is None else p.model_copy(update={"path": path}) for p, path in zip(self.psf, paths, strict=True)
        ]
        return self.model_copy(update={"psf": tuple(psfs)})

    def resolved(self, device: Literal["cpu", "cuda"], precision: Literal["float32", "bfloat16"]) -> RunConfig:
        """Return the configuration with ``auto`` replaced by the device and precision chosen at the first start."""
        training = self.training.model_copy(update={"precision": precision})
        return self.model_copy(update={"executor": self.executor.resolved(device), "training": training})

    @field_validator("psf", mode="before")
    @classmethod
    def _one_psf_for_all(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @model_validator(mode="wrap")
    @classmethod
    def _reached_through_storage(cls, value: Any, handler: ModelWrapValidatorHandler[RunConfig]) -> RunConfig:
        """Let every URL know how its store is reached."""
        config = handler(value)
        here = (config.input.path, config.input.mask, config.output.path)
        path, mask, output = there = tuple(_through(place, config.storage) for place in here)
        assert path is not None
        assert output is not None
        return config if there == here else config.with_input(path, mask).with_output(output, config.output.state)

    @model_validator(mode="after")
    def _check(self) -> RunConfig:
        _refuse_contradictions(self)
        return self

    @property
    def impulse_sigma(self) -> float | None:
        """Threshold of impulse detection in standard deviations of the noise; None: no detection."""
        return None if self.sensor.impulse_share == 0 else _IMPULSE_SIGMA

    @property
    def state_path(self) -> Path:
        """State folder (ledger, scratch, models, logs): ``output.state``, or the output's name + '.run'."""
        if self.output.state is not None:
            return self.output.state
        assert isinstance(self.output.path, Path)  # a URL demands output.state
        return self.output.path.with_name(self.output.path.name + ".run")

    def psf_of(self, channel: int) -> PsfConfig:
        """Return the PSF section of a channel by its index in the output; a single section is used for all."""
        return self.psf[channel if len(self.psf) > 1 else 0]


def _through(place: Place | None, storage: StorageConfig) -> Place | None:
    return replace(place, storage=storage) if isinstance(place, Url) else place


def _refuse_contradictions(config: RunConfig) -> None:
    """Refuse options that contradict each other.

    Raises
    ------
    ValueError
        Two options exclude each other.
    """
    strange = sorted(set('"\\%') & set(str(config.state_path)))
    if config.executor.kind == "slurm" and strange:
        raise ValueError(
            f"output.state is {config.state_path} and contains {' and '.join(strange)}, which SLURM interprets in "
            "names of log files: expected another name (output.state, or output.path if output.state is not set)"
        )
    if config.input.images is not None and isinstance(config.output.path, Url):
        raise ValueError(
            f"output.path is {config.output.path}, but input.images selects several images, whose output is a folder: "
            "expected a path, or one image"
        )
    if config.output.uncertainty == 1:
        raise ValueError("output.uncertainty is 1, but a spread needs 2 predictions: expected 0 (no map) or 2 to 256")
    if config.output.uncertainty and not config.method.predicts:
        raise ValueError(
            f"output.uncertainty is {config.output.uncertainty}, but solver: {config.solver} cannot estimate an "
            "uncertainty: expected 0, or another solver"
        )
    _refuse_context(config)
    _ = config.recipe  # refuses a start that does not fit
    _refuse_sharing(config)
    if config.method.network and any(map(varies, config.psf)):
        refuse_shared_network(config.training)
    if config.training.retrain and (not config.method.network or config.training.scope == "shared"):
        raise ValueError(
            f"training.retrain: with solver: {config.solver} and training.scope: {config.training.scope} no tile is "
            "trained on its own: expected solver: ssi with scope per_tile or fine_tune, or retrain: false"
        )
    if config.training.retrain and not config.quality.extended:
        raise ValueError("training.retrain needs quality.extended: true, whose scores select the better result")
    weighs = config.method.tunes and not config.method.counts
    if weighs and not config.method.likelihood and config.classical.weight == "likelihood":
        raise ValueError(
            f"classical.weight: likelihood is available for solver: wiener only, but solver is {config.solver}: "
            "expected auto (lowest masked loss) or a number"
        )


def _refuse_sharing(config: RunConfig) -> None:
    """Refuse to share over many images what no image would use.

    Raises
    ------
    ValueError
        A calibration or network is given as well, or no network is shared by tiles.
    """
    if config.input.share == "nothing":
        return
    if config.sensor.calibration is not None:
        raise ValueError(f"input.share is {config.input.share}, but sensor.calibration gives one: expected one of them")
    if "t" in config.input.roi:
        raise ValueError(
            f"input.share is {config.input.share}, for which all time points are sampled, but input.roi selects some: "
            "expected no t in roi, or share: nothing"
        )
    if config.network.context.get("t"):
        raise ValueError(
            f"input.share is {config.input.share}, for which images are read as time points of one, but "
            "network.context sees neighbouring time points: expected no context along t, or share: nothing"
        )
    if config.input.share == "network" and (
        not config.method.network or config.training.scope == "per_tile" or config.training.start_from is not None
    ):
        raise ValueError(
            f"input.share is network, but with solver: {config.solver}, training.scope: {config.training.scope} and "
            f"training.start_from: {config.training.start_from} no network is trained for all tiles: expected "
            "solver: ssi with scope shared or fine_tune and no start_from, or share: calibration"
        )


def _refuse_context(config: RunConfig) -> None:
    """Refuse neighbouring planes and frames where no network of single planes would see them.

    Raises
    ------
    ValueError
        Tiles are 3D, or the solver does not train the network.
    """
    if not config.network.neighbours:
        return
    if config.tiling.dimensions == 3:
        raise ValueError(
            "network.context is for 2D tiles, but tiling.dimensions is 3, and such tiles contain the neighbouring "
            "planes: remove network.context, or set tiling.dimensions: 2"
        )
    if not config.method.network:
        raise ValueError(
            f"network.context: solver: {config.solver} does not train the network that would see neighbouring planes "
            "and frames: expected solver: ssi, or no network.context"
        )
