"""Configuration section of the sensor: noise and clipping."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, model_validator

from ssi_pipeline.config.section import Float, NonNegativeFloat, PositiveFloat, Section, refuse_bool


class SensorConfig(Section):
    """Noise and clipping of the sensor, in the units of the input; None: estimated per channel. 'none': no clipping.

    ``impulse_share``: 0: there are no hot or dead pixels, and they are not searched for.
    """

    offset: Float | None = None
    alpha: NonNegativeFloat | None = None
    sigma: PositiveFloat | None = None
    impulse_share: Annotated[Literal[0], BeforeValidator(refuse_bool)] | None = None
    low: Float | Literal["none"] | None = None
    high: Float | Literal["none"] | None = None

    @model_validator(mode="after")
    def _check(self) -> SensorConfig:
        limits = [limit for limit in (self.low, self.high) if isinstance(limit, float)]
        if len(limits) == 2 and limits[0] >= limits[1]:
            raise ValueError(f"low is {limits[0]:g} and high is {limits[1]:g}: expected low < high")
        return self

    @property
    def clips(self) -> bool:
        """Whether the sensor may clip."""
        return not self.low == self.high == "none"
