"""A run configuration: its sections together, and what they must not say together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from ssi_pipeline.config.executor import ExecutorConfig
from ssi_pipeline.config.on_end import OnEndConfig
from ssi_pipeline.config.psf import PsfConfig
from ssi_pipeline.config.section import (
    NonNegativeInt,
    Section,
    SpatialAxis,
    no_truth_value,
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
from ssi_pipeline.methods import SOLVERS, Solver

SCHEMA_VERSION: Final = 1

_IMPULSE_SIGMA = 3.0
"""One pixel of noise in 370 is beyond; the window's spread is added to it (docs/experiments.md, impulses)."""

if TYPE_CHECKING:
    SolverName = str
else:
    SolverName = Literal[tuple(SOLVERS)]  # a row there is all that a new solver needs here


class RunConfig(Section):
    """Everything that a run depends on."""

    schema_version: Annotated[Literal[1], BeforeValidator(no_truth_value)] = SCHEMA_VERSION
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
    on_end: OnEndConfig = Field(default=OnEndConfig(), exclude=True, repr=False)
    seed: Annotated[NonNegativeInt, up_to(2**63 - 1)] = 0
    _file: Path | None = PrivateAttr(default=None)

    @property
    def method(self) -> Solver:
        """What is known of the solver beyond its name."""
        return SOLVERS[self.solver]

    @property
    def file(self) -> Path | None:
        """The file that the configuration was read from, if any; no part of what a run is."""
        return self._file

    def read_from(self, file: Path) -> RunConfig:
        """Return the configuration with the file that it was read from."""
        copy = self.model_copy()
        copy._file = file
        return copy

    def with_input(self, path: Path) -> RunConfig:
        """Return the configuration of a run whose input lies at another place."""
        return self.model_copy(update={"input": self.input.model_copy(update={"path": path})})

    def with_output(self, path: Path, state: Path | None = None) -> RunConfig:
        """Return the configuration of a run that writes to another place."""
        return self.model_copy(update={"output": self.output.model_copy(update={"path": path, "state": state})})

    def with_core(self, core: dict[SpatialAxis, int]) -> RunConfig:
        """Return the configuration of a run whose tiles have cores of another size."""
        return self.model_copy(update={"tiling": self.tiling.model_copy(update={"core": core})})

    def resolved(self, device: Literal["cpu", "cuda"], precision: Literal["float32", "bfloat16"]) -> RunConfig:
        """Return the configuration with what ``auto`` left open, as the first start has settled it."""
        training = self.training.model_copy(update={"precision": precision})
        return self.model_copy(update={"executor": self.executor.resolved(device), "training": training})

    @field_validator("psf", mode="before")
    @classmethod
    def _one_psf_for_all(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _check(self) -> RunConfig:
        _refuse_contradictions(self)
        return self

    @property
    def impulse_sigma(self) -> float | None:
        """Standard deviations of the noise beyond which a lone pixel is an impulse; None: none is looked for."""
        return None if self.sensor.impulse_share == 0 else _IMPULSE_SIGMA

    @property
    def state_path(self) -> Path:
        """Folder of the ledger, scratch, models and logs: ``output.state``, or the output's name + '.run'."""
        return self.output.state or self.output.path.with_name(self.output.path.name + ".run")

    def psf_of(self, channel: int) -> PsfConfig:
        """Return the PSF section of a channel, given by its index in the output; one section serves all."""
        return self.psf[channel if len(self.psf) > 1 else 0]


def _refuse_contradictions(config: RunConfig) -> None:
    """Look at options together.

    Raises
    ------
    ValueError
        What was expected, what was found, what to do.
    """
    strange = sorted(set('"\\%') & set(str(config.state_path)))
    if config.executor.kind == "slurm" and strange:
        raise ValueError(
            f"output.state is {config.state_path}, with {' and '.join(strange)} in it, which SLURM reads in its own "
            "way in the names of log files: expected another name (output.state, or output.path where that is left out)"
        )
    if config.output.uncertainty == 1:
        raise ValueError("output.uncertainty: 1 prediction disagrees with nothing: expected 0 (no map) or 2 to 256")
    if config.output.uncertainty and not config.method.predicts:
        raise ValueError(
            f"output.uncertainty is {config.output.uncertainty}, but solver: {config.solver} makes no predictions to "
            "repeat: expected 0, or another solver"
        )
    if config.training.retrain and (not config.method.network or config.training.scope == "shared"):
        raise ValueError(
            f"training.retrain: with solver: {config.solver} and training.scope: {config.training.scope} no tile has a "
            "training of its own: expected solver: ssi with scope per_tile or fine_tune, or retrain: false"
        )
    if config.training.retrain and not config.quality.extended:
        raise ValueError(
            "training.retrain needs the scores of quality.extended: true, by which the better solution is kept"
        )
    weighs = config.method.tunes and not config.method.counts
    if weighs and not config.method.likelihood and config.classical.weight == "likelihood":
        raise ValueError(
            f"classical.weight: likelihood is for solver: wiener, a linear filter, but solver is {config.solver}: "
            "expected auto (by the masked loss) or a number"
        )
