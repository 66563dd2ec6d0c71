"""What a solver calls its result is known wherever results are counted and shown."""

from __future__ import annotations

import typing

from ssi_pipeline.config import PUBLISHED_SOLVERS, RunConfig
from ssi_pipeline.inversion.solution import Method
from ssi_pipeline.inversion.solve import SOLVERS
from ssi_pipeline.report.categories import CATEGORIES, COLORS
from ssi_pipeline.report.outcome import _METHOD_NAMES
from ssi_pipeline.run.finish import METHODS


def test_every_method_has_a_code_a_name_and_a_colour() -> None:
    methods = set(typing.get_args(Method))
    assert set(METHODS) == set(_METHOD_NAMES) == methods
    assert set(CATEGORIES["method"]) == set(METHODS.values()) == set(range(COLORS.N))
    assert len(set(CATEGORIES["method"].values())) == len(methods)


def test_every_solver_of_the_configuration_is_there() -> None:
    known = typing.get_args(RunConfig.model_fields["solver"].annotation)
    assert set(known) == {*SOLVERS, *PUBLISHED_SOLVERS, "identity"}
