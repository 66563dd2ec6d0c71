"""What all sections of a configuration are made of: the base model, axes, and numbers with a range."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

SpatialAxis = Literal["z", "y", "x"]
Axis = Literal["t", "c", "z", "y", "x"]


def no_truth_value(value: Any) -> Any:
    """Refuse True and False: Python counts True as 1, and ``steps: yes`` would train for one step."""
    if isinstance(value, bool):
        raise PydanticCustomError("truth_value", "expected a number")
    return value


Int = Annotated[int, BeforeValidator(no_truth_value)]
Float = Annotated[float, BeforeValidator(no_truth_value)]
PositiveInt = Annotated[Int, Field(gt=0)]
NonNegativeInt = Annotated[Int, Field(ge=0)]
PositiveFloat = Annotated[Float, Field(gt=0)]
NonNegativeFloat = Annotated[Float, Field(ge=0)]


class Section(BaseModel):
    """Base of all sections: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
