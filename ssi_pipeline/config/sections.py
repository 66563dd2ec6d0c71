"""Sections of the run configuration as frozen pydantic models.

Lengths are in pixels unless the name ends in ``_um`` (micrometres). Mappings over axes use the
letters of the axes as keys, for instance ``{z: 16, y: 256, x: 256}``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

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
    up_to,
)
from ssi_pipeline.config.url import Place, PlaceField, Url


class InputConfig(Section):
    """Input: the measured image y, or several of them.

    ``images``: pattern of the names of images inside ``path``. ``scene``: number of an image of a file with several.
    ``share``: what is found once for all of them: nothing, the calibration of each channel, or also its network.
    """

    path: PlaceField
    images: str | None = None
    share: Literal["nothing", "calibration", "network"] = "nothing"
    level: Annotated[NonNegativeInt, up_to(100)] = 0
    scene: Position | None = None
    axes: str | None = None
    voxel_size_um: dict[SpatialAxis, VoxelSize] | None = None
    roi: dict[Axis, tuple[Position, Stop]] = Field(default_factory=dict)
    nonfinite: Literal["mask", "fail"] = "mask"
    fill: Float | Literal["auto", "none"] = "auto"
    mask: PlaceField | None = None

    @model_validator(mode="after")
    def _check(self) -> InputConfig:
        for axis, (start, stop) in self.roi.items():
            if start >= stop:
                raise ValueError(f"roi.{axis} is [{start}, {stop}]: expected start < stop")
        if self.images is None and self.share != "nothing":
            raise ValueError(f"share is {self.share}, but there is one image: expected images, or share: nothing")
        if self.images is not None and isinstance(self.path, Url):
            raise ValueError("images are read from folders, but path is a URL: expected a folder, or one image")
        if self.images is not None and self.mask is not None:
            raise ValueError("mask is that of one image, but images selects several: expected no mask")
        if self.axes is not None:
            once = len(set(self.axes)) == len(self.axes)
            if not (once and {"y", "x"} <= set(self.axes) <= set("tczyx")):
                raise ValueError(
                    f"axes is {self.axes!r}: expected y and x, optionally t, c and z, each once, in the file's order"
                )
        return self


class OutputConfig(Section):
    """Output: the deconvolved image x as OME-Zarr."""

    path: PlaceField
    ome_zarr: Literal["0.4", "0.5"] = "0.5"
    dtype: Literal["input", "float32"] = "input"
    shard: dict[SpatialAxis, Pixels] | None = None
    chunk: dict[SpatialAxis, Pixels] | None = None
    pyramid: bool = True
    uncertainty: Annotated[Int, Field(ge=0, le=256)] = 0
    state: Path | None = None
    keep_scratch: bool = False
    carry: tuple[Literal["labels", "tables"], ...] = ()

    @property
    def folder(self) -> Path:
        """The output of a run that was refused by URL before: several images, the example, a measurement."""
        assert isinstance(self.path, Path)
        return self.path

    @field_validator("path")
    @classmethod
    def _named(cls, path: Place) -> Place:
        if not path.name:
            raise ValueError(f"{path} is not a valid output: expected the name of a folder, for instance output.zarr")
        if isinstance(path, Url) and path.scheme.startswith("http"):
            raise ValueError(
                f"{path} is on a web server, which cannot be written: expected s3://, gs://, az://, or a path"
            )
        return path

    @model_validator(mode="after")
    def _has_a_state_folder(self) -> OutputConfig:
        if isinstance(self.path, Url) and self.state is None:
            raise ValueError(
                f"path is {self.path}, but ledger, locks and calibration need a file system: expected output.state, "
                f"a folder that all workers see, for instance {self.path.name}.run"
            )
        return self

    @field_validator("ome_zarr", mode="before")
    @classmethod
    def _version_is_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, float) else value  # YAML parses an unquoted 0.5 as a number


class TilingConfig(Section):
    """Tiling of the volume. ``dimensions``: number of spatial axes that a tile spans."""

    dimensions: Literal[2, 3] = 2
    core: Pixels | dict[SpatialAxis, Pixels] | None = None
    blend: Margin | dict[SpatialAxis, Margin] | None = None

    @model_validator(mode="after")
    def _check(self) -> TilingConfig:
        for name in ("core", "blend"):
            value = getattr(self, name)
            if self.dimensions == 2 and isinstance(value, dict) and value.get("z", 0) > (name == "core"):
                raise ValueError(f"{name} has z, but tiles are 2D: remove z, or set tiling.dimensions: 3")
        return self


class MaskingConfig(Section):
    """Blind-spot masks m_J."""

    density: Annotated[Float, Field(gt=0, le=0.5)] = 0.25
    replacement: Literal["neighbours", "random", "zeros"] = "neighbours"


_WIDTHS = {2: 16, 3: 8}
"""Channels of the network's first level by spatial axes: in 3D 16 would take four times as long."""


class NetworkConfig(Section):
    """The network f: a U-Net that corrects the Wiener estimate.

    ``context``: planes (z) and frames (t) on either side of a 2D tile that f sees in addition.
    """

    width: Annotated[PositiveInt, up_to(4096)] | Literal["auto"] = "auto"
    levels: Annotated[Int, Field(ge=1, le=5)] = 3
    context: dict[Literal["z", "t"], Annotated[Int, Field(ge=0, le=3)]] = Field(default_factory=dict)

    def features(self, axes: int) -> int:
        """Return the channels of the first level for networks of ``axes`` spatial axes."""
        return _WIDTHS[axes] if self.width == "auto" else self.width

    @property
    def neighbours(self) -> tuple[tuple[Literal["z", "t"], int], ...]:
        """Axis and distance of each neighbouring plane and frame that f sees: z before t, the nearest first."""
        axes: tuple[Literal["z", "t"], ...] = ("z", "t")
        near = ((axis, d) for axis in axes for d in range(1, self.context.get(axis, 0) + 1))
        return tuple((axis, sign * d) for axis, d in near for sign in (-1, 1))


class BoundsConfig(Section):
    """Bounds on the estimate, in the units of the input: lower, and soft upper; 'auto': the dark level, or less."""

    lower: Float | Literal["auto"] | None = "auto"
    upper: Float | None = None


class TrainingConfig(Section):
    """Training of the network. Learning rate and penalties refer to normalised intensities.

    ``start``, and what is 'auto': ``config.recipe``.
    """

    scope: Literal["per_tile", "shared", "fine_tune"] = "per_tile"
    start: Literal["auto", "simulated", "random"] = "auto"
    steps: Steps | Literal["auto"] = "auto"
    fine_tune_steps: Steps = 60
    shared_tiles: Count = 16
    patch: Pixels | dict[SpatialAxis, Pixels] | None = None
    batch: Count = 4
    learning_rate: Annotated[RawPositive, up_to(100)] | Literal["auto"] = "auto"
    weight_l1: NonNegativeFloat = 0.0
    weight_l2: NonNegativeFloat = 0.0
    total_variation: NonNegativeFloat | Literal["auto"] = "auto"
    bounds: BoundsConfig = BoundsConfig()
    attempts: Count = 2
    select: Literal["best", "network"] = "best"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    retrain: bool = False
    keep_models: bool = False
    start_from: Path | None = None


class PublishedConfig(Section):
    """The paper's recipe; everything else about it is fixed."""

    steps: Steps = 3000


class ClassicalConfig(Section):
    """Regularisation weight or number of iterations of solvers without training; 'auto': lowest masked loss.

    ``weight: likelihood``: the weight of maximum marginal likelihood (``wiener`` only).
    """

    weight: PositiveFloat | Literal["auto", "likelihood"] = "auto"
    iterations: Steps | Literal["auto"] = "auto"


class QualityConfig(Section):
    """Quality metrics per tile. Nothing here changes the result."""

    extended: bool = True
