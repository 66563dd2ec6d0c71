"""The sections of a run configuration as frozen pydantic models.

Lengths are in pixels unless the name ends in ``_um`` (micrometres). Mappings over axes use the
letters of the axes as keys, for instance ``{z: 16, y: 256, x: 256}``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from ssi_pipeline.config.executor import ExecutorConfig
from ssi_pipeline.config.on_end import OnEndConfig
from ssi_pipeline.config.psf import FilePsf, GaussianPsf, GibsonLanniPsf, IdentityPsf, PsfConfig, WidefieldPsf
from ssi_pipeline.config.rules import refuse_contradictions
from ssi_pipeline.config.section import (
    Axis,
    Count,
    Float,
    Int,
    Margin,
    NonNegativeFloat,
    NonNegativeInt,
    Pixels,
    Position,
    PositiveFloat,
    PositiveInt,
    RawPositive,
    Section,
    SpatialAxis,
    Steps,
    Stop,
    VoxelSize,
    no_truth_value,
    up_to,
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


class InputConfig(Section):
    """The measurement y."""

    path: Path
    level: Annotated[NonNegativeInt, up_to(100)] = 0
    axes: str | None = None
    voxel_size_um: dict[SpatialAxis, VoxelSize] | None = None
    roi: dict[Axis, tuple[Position, Stop]] = Field(default_factory=dict)
    nonfinite: Literal["mask", "fail"] = "mask"

    @model_validator(mode="after")
    def _check(self) -> InputConfig:
        for axis, (start, stop) in self.roi.items():
            if start >= stop:
                raise ValueError(f"roi.{axis} is [{start}, {stop}]: expected start < stop")
        if self.axes is not None:
            once = len(set(self.axes)) == len(self.axes)
            if not (once and {"y", "x"} <= set(self.axes) <= set("tczyx")):
                raise ValueError(
                    f"axes is {self.axes!r}: expected y and x, and some of t, c and z, each once, in the file's order"
                )
        return self


class OutputConfig(Section):
    """The estimate x, as OME-Zarr."""

    path: Path
    ome_zarr: Literal["0.4", "0.5"] = "0.5"
    dtype: Literal["input", "float32"] = "input"
    shard: dict[SpatialAxis, Pixels] | None = None
    chunk: dict[SpatialAxis, Pixels] | None = None
    pyramid: bool = True
    uncertainty: Annotated[Int, Field(ge=0, le=256)] = 0
    state: Path | None = None
    keep_scratch: bool = False

    @field_validator("path")
    @classmethod
    def _named(cls, path: Path) -> Path:
        if not path.name:
            raise ValueError(f"{path} is no place for an output: expected a name, for instance output.zarr")
        return path

    @field_validator("ome_zarr", mode="before")
    @classmethod
    def _version_is_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, float) else value  # YAML reads 0.5 without quotes as a number


class TilingConfig(Section):
    """How the volume is cut. ``dimensions`` is the number of spatial axes that a tile spans."""

    dimensions: Literal[2, 3] = 2
    core: Pixels | dict[SpatialAxis, Pixels] | None = None
    blend: Margin | dict[SpatialAxis, Margin] | None = None

    @model_validator(mode="after")
    def _check(self) -> TilingConfig:
        for name in ("core", "blend"):
            value = getattr(self, name)
            if self.dimensions == 2 and isinstance(value, dict) and value.get("z", 0) > (name == "core"):
                raise ValueError(f"{name} has z, but tiles are 2D: leave z out, or set tiling.dimensions: 3")
        return self


class MaskingConfig(Section):
    """The masks m_J."""

    density: Annotated[Float, Field(gt=0, le=0.5)] = 0.25
    replacement: Literal["neighbours", "random", "zeros"] = "neighbours"


class NetworkConfig(Section):
    """The inverse f: a UNet that corrects the Wiener solution."""

    width: Annotated[PositiveInt, up_to(4096)] = 8
    levels: Annotated[Int, Field(ge=1, le=5)] = 3


class BoundsConfig(Section):
    """Soft bounds on f's output, in the units of the input; 'auto' is 0 where no pixel is negative."""

    lower: Float | Literal["auto"] | None = "auto"
    upper: Float | None = None


class TrainingConfig(Section):
    """How f is trained. Rates and weights act on normalised intensities."""

    scope: Literal["per_tile", "shared", "fine_tune"] = "per_tile"
    steps: Steps = 500
    fine_tune_steps: Steps = 60
    shared_tiles: Count = 16
    patch: Pixels | dict[SpatialAxis, Pixels] | None = None
    batch: Count = 8
    learning_rate: Annotated[RawPositive, up_to(100)] = 4e-3
    weight_l1: NonNegativeFloat = 0.0
    weight_l2: NonNegativeFloat = 0.0
    total_variation: NonNegativeFloat = 1.0
    bounds: BoundsConfig = BoundsConfig()
    attempts: Count = 2
    select: Literal["best", "network"] = "best"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    retrain: bool = False
    keep_models: bool = False
    start_from: Path | None = None


class PublishedConfig(Section):
    """The published recipe; everything else about it is fixed."""

    steps: Steps = 3000


class ClassicalConfig(Section):
    """The knob of the solvers that need no training; 'auto' chooses it by the masked loss on samples of the channel.

    ``weight: likelihood``: of ``wiener`` alone, the weight of greatest marginal likelihood.
    """

    weight: PositiveFloat | Literal["auto", "likelihood"] = "auto"
    iterations: Steps | Literal["auto"] = "auto"


class QualityConfig(Section):
    """What is measured of each tile. Nothing here changes what is computed."""

    extended: bool = True


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
        refuse_contradictions(self)
        return self

    @property
    def impulse_sigma(self) -> float | None:
        """Standard deviations of the noise beyond which a lone pixel is an impulse; None: none is looked for."""
        return None if self.sensor.impulse_share == 0 else _IMPULSE_SIGMA

    @property
    def state_path(self) -> Path:
        """Folder of the ledger, scratch, models and logs: ``output.state``, or the output's name + '.run'."""
        return self.output.state or self.output.path.with_name(self.output.path.name + ".run")

    def psf_of(self, channel: int) -> FilePsf | GaussianPsf | WidefieldPsf | GibsonLanniPsf | IdentityPsf:
        """Return the PSF section of a channel, given by its index in the output; one section serves all."""
        return self.psf[channel if len(self.psf) > 1 else 0]
