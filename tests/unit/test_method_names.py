"""A solver is one row, and codes in outputs never change their meaning."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import pytest

import ssi_pipeline
from ssi_pipeline.config import RunConfig
from ssi_pipeline.methods import RESULTS, SOLVERS
from ssi_pipeline.quality.alarms import ALARMS
from ssi_pipeline.report.categories import CATEGORIES, COLORS

ROOT = Path(ssi_pipeline.__file__).parent


def test_codes_in_outputs_never_change() -> None:
    """Append new ones: outputs of every release contain these."""
    assert {result.name: result.code for result in RESULTS.values()} == {
        "identity": 0,
        "network": 1,
        "wiener": 2,
        "constant": 3,
        "richardson_lucy": 4,
        "tv": 5,
        "tv_cg": 6,
        "published": 7,
        "blank": 8,
        "unmeasured": 9,
    }


def test_bits_of_alarms_never_change() -> None:
    names = (
        "held-out", "gain", "whiteness", "r2r", "chi2", "flux", "clipped", "saturated", "impulses", "background",
        "seam", "steps",
    )  # fmt: skip
    assert tuple(alarm.name for alarm in ALARMS[: len(names)]) == names


def test_every_result_can_be_told_on_a_map() -> None:
    assert set(CATEGORIES["method"]) == {r.code for r in RESULTS.values()} == set(range(COLORS.N))
    for field in ("title", "short", "colour"):
        assert len({getattr(result, field) for result in RESULTS.values()}) == len(RESULTS)


def test_the_configuration_knows_every_solver() -> None:
    assert typing.get_args(RunConfig.model_fields["solver"].annotation) == tuple(SOLVERS)


@pytest.mark.parametrize("name", SOLVERS)
def test_every_row_can_be_loaded_and_records_a_known_result(name: str) -> None:
    row = SOLVERS[name]
    assert row.result in RESULTS
    assert row.computes == bool(row.load)
    if row.computes:
        assert row.loaded() is not None


def test_no_other_module_branches_on_a_solver() -> None:
    """Except the benchmark, whose rows are named methods of the published tables."""
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        if path.name != "methods.py" and path.relative_to(ROOT).parts[0] != "benchmark":
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if re.search(r"\.solver (==|!=|in|not in) ", line):
                    wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert wrong == []
