"""The fault suite itself: a short selection of faults, and its table for a fault with an effect."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import faults
import overhead
import pytest
from _faults import Bench, Tally, end_processes

from ssi_pipeline.storage.state.records import TaskRecord

FAULTS = {fault.name: fault for fault in faults.FAULTS}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield Bench(tmp_path_factory.mktemp("faults"), few=True, rng=random.Random(1))
    end_processes()


@pytest.mark.slow
@pytest.mark.timeout(600)  # whole runs, several of them
@pytest.mark.long
@pytest.mark.parametrize("name", ["full", "read-only", "scheduler"])
def test_a_fault_changes_nothing(bench: Bench, name: str) -> None:
    """Those that no other test injects into a whole run."""
    row = faults.inject(bench, FAULTS[name])
    if row["missing"]:
        pytest.skip(row["missing"])
    assert row["times"] == 1
    assert faults.is_good(row), row["wrong"]
    assert "equal, 1 of 1 | nothing" in faults.line(row)


def test_the_table_says_what_went_wrong() -> None:
    tally = Tally(times=2, ends=[137, 0, 0], images=2, equal=1, lost=3, again=4, wrong=["a tile was blamed"])
    row = {"fault": "thunder", "missing": None, **asdict(tally)}
    assert not faults.is_good(row)
    expected = "| thunder | 2 | 2 x 0, 1 x 137; NOT AS EXPECTED: 1 | DIFFERENT, 1 of 2 | 3 | 4 |"
    assert faults.line(row) == expected
    skipped = {"fault": "thunder", "missing": "the sky is clear", **asdict(Tally())}
    assert "not done: the sky is clear" in faults.line(skipped)


def test_an_unknown_fault_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        faults.main(["--only", "thunder"])
    assert "there are workers," in capsys.readouterr().err


def test_overhead_is_told_apart() -> None:
    """Two workers, 4 s: 5 s of solving; one is 1 s late and waits 0.5 s, the other is idle for 1.5 s."""
    spans = [("a", 0.0, 1.0), ("a", 1.0, 2.5), ("b", 1.0, 2.0), ("b", 2.5, 4.0)]
    records = [
        TaskRecord("solve", i, "done", seconds=end - begin, host=host, finished=end)
        for i, (host, begin, end) in enumerate(spans)
    ]
    found = overhead.account("made up", records)
    assert (found.wall, found.solving) == (4.0, 5.0)
    assert (found.late, found.between, found.idle) == (1.0, 0.5, 1.5)
    assert found.ratio == pytest.approx(8 / 5)
    assert found.ratio_when_up == pytest.approx(7 / 5)
