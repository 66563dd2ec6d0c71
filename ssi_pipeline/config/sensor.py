"""Configuration section of the sensor: noise and clipping."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, model_validator

from ssi_pipeline.config.section import (
    Float,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    Section,
    SpatialAxis,
    refuse_bool,
    up_to,
)

MOST_CORRELATED = 8
"""Largest reach of correlated noise in pixels: windows of 32 pixels, in which it is measured, resolve no larger one."""

Reach = Annotated[NonNegativeInt, up_to(MOST_CORRELATED)]


class SensorConfig(Section):
    """Noise and clipping of the sensor, in the units of the input; None: estimated per channel. 'none': no clipping.

    ``impulse_share``: 0: there are no hot or dead pixels, and they are not searched for. ``correlation``: pixels
    farther apart than this have independent noise; 'none': all have; 'auto': estimated per channel. ``calibration``:
    state folder of a run whose calibration is used in place of one's own.
    """

    offset: Float | None = None
    alpha: NonNegativeFloat | None = None
    sigma: PositiveFloat | None = None
    impulse_share: Annotated[Literal[0], BeforeValidator(refuse_bool)] | None = None
    low: Float | Literal["none"] | None = None
    high: Float | Literal["none"] | None = None
    correlation: Literal["none", "auto"] | Reach | dict[SpatialAxis, Reach] = "auto"
    calibration: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> SensorConfig:
        limits = [limit for limit in (self.low, self.high) if isinstance(limit, float)]
        if len(limits) == 2 and limits[0] >= limits[1]:
            raise ValueError(f"low is {limits[0]:g} and high is {limits[1]:g}: expected low < high")
        return self

    def reach(self, dimensions: int) -> tuple[int, int, int] | None:
        """Return the configured reach of correlated noise along z y x: 0 where independent, None: to be estimated."""
        if self.correlation == "auto":
            return None
        if isinstance(self.correlation, str):
            return 0, 0, 0
        given = self.correlation
        each = given if isinstance(given, dict) else {"z": given, "y": given, "x": given}
        return each.get("z", 0) if dimensions == 3 else 0, each.get("y", 0), each.get("x", 0)

    @property
    def clips(self) -> bool:
        """Whether the sensor may clip."""
        return not self.low == self.high == "none"
