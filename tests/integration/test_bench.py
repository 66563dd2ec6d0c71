"""``ssi bench`` on a small tile."""

from __future__ import annotations

import pytest
from test_command_line import check_document

from ssi_pipeline.bench.measure import measure
from ssi_pipeline.cli import main
from ssi_pipeline.errors import ConfigError

QUICK = ("training.steps=12", "training.select=network", "quality.extended=false")


def test_it_measures_every_phase_and_names_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for change in QUICK for word in ("--set", change)]
    assert main(["bench", "--size", "64", "--json", *words]) == 0
    found = check_document("bench", capsys.readouterr().out)
    phases = {row["name"]: row for row in found["phases"]}
    assert list(phases) == ["read", "calibrate", "prepare", "rival", "train", "estimate", "judge", "write", "other"]
    assert sum(row["seconds"] for row in phases.values()) == pytest.approx(found["seconds"])
    assert (found["steps"], found["method"]) == (12, "network")
    assert all(row["seconds"] > 0 for row in phases.values())
    assert phases["train"]["operations"] > 12 * found["operations_of_a_step"] / 2 > 500
    # 12 steps on 4 patches as large as the tile and a validation, beside 2 estimates of 8 orientations
    assert phases["train"]["floor"]["gflop"] / phases["estimate"]["floor"]["gflop"] == pytest.approx(145 / 16)
    assert phases["read"]["bytes"] == 2 * 64**2
    assert all(found["machine"].values())
    assert min(found["rates"].values()) > 0


def test_it_stays_in_this_process() -> None:
    with pytest.raises(ConfigError, match="leave executor"):
        measure(64, ["executor.kind=dask"], print)
