"""Building blocks of all configuration sections: base model, axes and bounded numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

SpatialAxis = Literal["z", "y", "x"]
Axis = Literal["t", "c", "z", "y", "x"]


def refuse_bool(value: Any) -> Any:
    """Refuse True and False: Python counts True as 1, and ``steps: yes`` would train for one step."""
    if isinstance(value, bool):
        raise PydanticCustomError("truth_value", "expected a number")
    if isinstance(value, str) and len(value) > _MOST_DIGITS:
        raise PydanticCustomError("long_number", "expected a number")
    return value


_MOST_DIGITS = 64
"""Longest number in quotes: arithmetic with thousands of digits is slow, and Python refuses to print them."""


@dataclass(frozen=True)
class UpTo:
    """Magnitude check of ``up_to``, and its bounds in the JSON schema."""

    most: float
    least: float

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Run the check after pydantic's own."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the bounds to the schema of the number."""
        found = handler(schema)
        signed = not {"minimum", "exclusiveMinimum", "gt", "ge"} & set(found)
        return {**found, "maximum": self.most, **({"minimum": -self.most} if signed else {})}

    def _check(self, value: Any) -> Any:
        if abs(value) > self.most:
            text = f"{_number(value)} is too large: expected at most {_number(self.most)}"
            raise PydanticCustomError(OUT_OF_RANGE, "{text}", {"text": text})
        if 0 < abs(value) < self.least:
            text = f"{value:g} is too close to 0: expected at least {self.least:g}"
            raise PydanticCustomError(OUT_OF_RANGE, "{text}", {"text": text})
        return value


def up_to(most: float, least: float = 1e-18) -> UpTo:
    """Return a check that refuses implausible magnitudes: typing errors, or requests beyond any memory or time.

    ``most``: largest absolute value. ``least``: smallest absolute value other than 0.
    """
    return UpTo(most, least)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


OUT_OF_RANGE = "out_of_range"
"""Error type of a number of implausible magnitude."""

Int = Annotated[int, BeforeValidator(refuse_bool)]
RawFloat = Annotated[float, BeforeValidator(refuse_bool)]
RawPositive = Annotated[RawFloat, Field(gt=0)]
# computation is in float32, from 1e-38 to 3e38: squares need a margin
Float = Annotated[RawFloat, up_to(1e18)]
PositiveInt = Annotated[Int, Field(gt=0)]
NonNegativeInt = Annotated[Int, Field(ge=0)]
PositiveFloat = Annotated[Float, Field(gt=0)]
NonNegativeFloat = Annotated[Float, Field(ge=0)]

Count = Annotated[PositiveInt, up_to(100_000)]
"""Number of items that are handled one by one: workers, samples, attempts."""

Steps = Annotated[PositiveInt, up_to(10_000_000)]
"""Training steps or iterations: the maximum takes weeks even for the smallest image."""

Pixels = Annotated[PositiveInt, up_to(2**20)]
"""Length of a tile, a shard or a patch along an axis."""

Margin = Annotated[NonNegativeInt, up_to(2**20)]
"""Margin on each side of a tile, in pixels."""

Position = Annotated[NonNegativeInt, up_to(2**40)]
"""Position along an image axis: the largest images have 1e6 pixels per axis; 1e9 planes exceed any disk."""

Stop = Annotated[PositiveInt, up_to(2**40)]
"""Exclusive end of a range of positions."""

VoxelSize = Annotated[RawPositive, up_to(1e6, 1e-6)]
"""Voxel size in micrometres: from a picometre, below any electron microscope, to a metre."""

Length = Annotated[RawPositive, up_to(1e6, 1e-6)]
"""Optical length in micrometres or pixels: from a picometre to a metre."""

Seconds = Annotated[RawPositive, up_to(1e7)]
"""Time limit in seconds: up to four months; threads can wait for at most 292 years."""


class Section(BaseModel):
    """Base class of all sections: immutable; unknown keys are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
