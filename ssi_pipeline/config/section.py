"""What all sections of a configuration are made of: the base model, axes, and numbers with a range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

SpatialAxis = Literal["z", "y", "x"]
Axis = Literal["t", "c", "z", "y", "x"]


def no_truth_value(value: Any) -> Any:
    """Refuse True and False: Python counts True as 1, and ``steps: yes`` would train for one step."""
    if isinstance(value, bool):
        raise PydanticCustomError("truth_value", "expected a number")
    if isinstance(value, str) and len(value) > _MOST_DIGITS:
        raise PydanticCustomError("long_number", "expected a number")
    return value


_MOST_DIGITS = 64
"""Of a number in quotes: arithmetic with thousands of digits takes its time, and Python does not print them."""


@dataclass(frozen=True)
class UpTo:
    """The check that ``up_to`` makes, and its word in the JSON schema."""

    most: float
    least: float

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic call the check after its own."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Put the bounds into the schema of the number."""
        found = handler(schema)
        signed = not {"minimum", "exclusiveMinimum", "gt", "ge"} & set(found)
        return {**found, "maximum": self.most, **({"minimum": -self.most} if signed else {})}

    def _check(self, value: Any) -> Any:
        if abs(value) > self.most:
            raise PydanticCustomError(
                BEYOND, "{text}", {"text": f"{_number(value)} is beyond reason: at most {_number(self.most)} here"}
            )
        if 0 < abs(value) < self.least:
            text = f"{value:g} is as good as 0: at least {self.least:g} here"
            raise PydanticCustomError(BEYOND, "{text}", {"text": text})
        return value


def up_to(most: float, least: float = 1e-18) -> UpTo:
    """Refuse numbers beyond reason: they are typing errors, or ask for more than there is of memory or time.

    ``most``: of the number without its sign. ``least``: the same, of a number that is not 0.
    """
    return UpTo(most, least)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


BEYOND = "beyond_reason"
"""Type of the error of a number that is beyond reason."""

Int = Annotated[int, BeforeValidator(no_truth_value)]
RawFloat = Annotated[float, BeforeValidator(no_truth_value)]
RawPositive = Annotated[RawFloat, Field(gt=0)]
# all is computed in float32, which ends at 3e38 and 1e-38: squares need room
Float = Annotated[RawFloat, up_to(1e18)]
PositiveInt = Annotated[Int, Field(gt=0)]
NonNegativeInt = Annotated[Int, Field(ge=0)]
PositiveFloat = Annotated[Float, Field(gt=0)]
NonNegativeFloat = Annotated[Float, Field(ge=0)]

Count = Annotated[PositiveInt, up_to(100_000)]
"""Of things that are made, asked or counted one by one: workers, samples, attempts."""

Steps = Annotated[PositiveInt, up_to(10_000_000)]
"""Of a training or an iteration: weeks, also for the smallest image."""

Pixels = Annotated[PositiveInt, up_to(2**20)]
"""Along an axis of a tile, a file or a patch."""

Margin = Annotated[NonNegativeInt, up_to(2**20)]
"""Pixels at each side of a tile."""

Position = Annotated[NonNegativeInt, up_to(2**40)]
"""Along an axis of an image: the largest have 1e6 pixels along an axis, and 1e9 planes would be more than a disk."""

Stop = Annotated[PositiveInt, up_to(2**40)]
"""The end of a range of positions."""

VoxelSize = Annotated[RawPositive, up_to(1e6, 1e-6)]
"""Micrometres: from a picometre, below any electron microscope, to a metre."""

Length = Annotated[RawPositive, up_to(1e6, 1e-6)]
"""Micrometres or pixels of something optical: from a picometre to a metre."""

Seconds = Annotated[RawPositive, up_to(1e7)]
"""Up to four months; threads can wait for no more than 292 years."""


class Section(BaseModel):
    """Base of all sections: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
