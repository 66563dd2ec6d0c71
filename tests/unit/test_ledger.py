"""Lines of the ledger: round trip, compatibility between versions, and detection of damage."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssi_pipeline.storage.state.ledger import (
    DONE,
    FAILED,
    Ledger,
    latest_records,
    read_heads,
    read_records,
    read_state,
    records_of,
)
from ssi_pipeline.storage.state.records import Failure, Kind, RecordHead, TaskRecord, head_of
from ssi_pipeline.storage.state.tail import LedgerTail, records_and_gaps

SIZES: dict[Kind, int] = {"calibrate": 1, "train": 1, "solve": 5, "stitch": 5, "pyramid": 2}

SOLVED = TaskRecord(
    kind="solve",
    index=3,
    status="done",
    attempt=2,
    seconds=1.5,
    peak_bytes=2**33,
    host="node-7:4711",
    finished=1790000000.125,
    quality={"method": "network", "heldout_after": 0.1, "trace": [[0, 1.0, 2.0]], "note": None},
    device="NVIDIA H100",
)
WRITTEN = TaskRecord("stitch", 2, "done", quality={"digest": "00ff00ff00ff00ff", "stored_bytes": 4321})
FAILURE = TaskRecord("solve", 1, "failed", error="OSError: [Errno 5] gone")
ALL = [SOLVED, WRITTEN, FAILURE, replace(FAILURE, failure=Failure("machine"))]


def write(path: Path, *lines: str, end: str = "\n") -> Path:
    path.write_text("\n".join(lines) + end)
    return path


@pytest.mark.parametrize("record", ALL, ids=lambda record: record.key)
def test_a_record_survives_its_line(record: TaskRecord) -> None:
    assert TaskRecord.from_line(record.to_line()) == record
    assert TaskRecord.from_line(record.to_line().encode() + b"\n") == record
    assert RecordHead.from_line(record.to_line()) == head_of(record)


def test_a_line_of_an_earlier_version_is_read() -> None:
    """Written before there was ``device``, byte for byte."""
    line = (
        '{"kind":"stitch","index":0,"status":"done","attempt":1,"seconds":0.0,"peak_bytes":0,"host":"","finished":0.0,'
        '"quality":{"digest":"8f0c","stored_bytes":77},"error":null}'
    )
    record = TaskRecord.from_line(line)
    assert record == TaskRecord("stitch", 0, "done", quality={"digest": "8f0c", "stored_bytes": 77})
    assert record.device == ""
    assert RecordHead.from_line(line).stored_bytes == 77


def test_a_line_of_a_later_version_is_read() -> None:
    document = json.loads(SOLVED.to_line()) | {"colour": "red", "nested": {"a": [1]}}
    line = json.dumps(document)
    assert TaskRecord.from_line(line) == SOLVED
    assert RecordHead.from_line(line) == head_of(SOLVED)


def test_metrics_may_be_numpy_numbers() -> None:
    record = TaskRecord("solve", 1, "done", quality={"gain": np.float32(0.5), "steps": np.int64(3)})
    assert TaskRecord.from_line(record.to_line()).quality == {"gain": 0.5, "steps": 3}


def test_numbers_that_json_does_not_know_survive() -> None:
    record = TaskRecord("solve", 0, "done", quality={"loss": math.nan, "best": math.inf, "wide": np.float64(0.5)})
    read = TaskRecord.from_line(record.to_line())
    assert math.isnan(read.quality["loss"])
    assert (read.quality["best"], read.quality["wide"]) == (math.inf, 0.5)
    assert RecordHead.from_line(record.to_line()).key == "solve/0"


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "foo"},
        {"status": "maybe"},
        {"index": "3"},
        {"index": None},
        {"index": 1.5},
        {"quality": []},
    ],
    ids=str,
)
def test_what_is_no_task_is_refused(change: dict[str, Any]) -> None:
    line = json.dumps(json.loads(SOLVED.to_line()) | change)
    for parse in (TaskRecord.from_line, RecordHead.from_line):
        with pytest.raises(ValueError):
            parse(line)


UNREADABLE = [
    '{"kind":"solve","ind',
    "",
    "[1]",
    '{"kind":"solve"}',
    "\x00\x00",
    '{"kind":"foo","index":1,"status":"done"}',
]


@pytest.mark.parametrize("bad", UNREADABLE)
def test_a_line_that_cannot_be_read_is_passed_over_and_counted(tmp_path: Path, bad: str) -> None:
    path = write(tmp_path / "ledger", SOLVED.to_line(), bad, WRITTEN.to_line())
    assert list(read_records(path)) == [SOLVED, WRITTEN]
    assert list(read_heads(path)) == [head_of(SOLVED), head_of(WRITTEN)]
    state = read_state(path, SIZES)
    assert (state.count("solve", DONE), state.count("stitch", DONE)) == (1, 1)
    (lines,) = state.unreadable
    assert str(lines) == f"1 line of {path} cannot be read (line 2)"


def test_zeros_take_only_what_was_under_them(tmp_path: Path) -> None:
    """A page of zeros has no line's end: the next line follows it directly, and is whole."""
    path = tmp_path / "ledger"
    zeros = b"\0" * 4096
    path.write_bytes(SOLVED.to_line().encode() + b"\n" + zeros + WRITTEN.to_line().encode() + b"\n")
    assert list(read_records(path)) == [SOLVED, WRITTEN]
    (lines,) = read_state(path, SIZES).unreadable
    assert (lines.count, lines.first) == (1, [2])
    assert list(records_and_gaps(path, TaskRecord.from_line)) == [SOLVED, None, WRITTEN]


def test_many_unreadable_lines_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "ledger", *["?"] * 99)
    (lines,) = read_state(path, SIZES).unreadable
    assert str(lines).startswith(f"99 lines of {path} cannot be read (lines 1, 2, 3,")
    assert str(lines).endswith("10, ...)")


@pytest.mark.parametrize(
    "change", [{"attempt": "x"}, {"peak_bytes": 1.5}, {"quality": {"stored_bytes": "many"}}], ids=str
)
def test_a_line_is_a_record_for_all_readers_or_for_none(tmp_path: Path, change: dict[str, Any]) -> None:
    path = write(tmp_path / "ledger", json.dumps(json.loads(WRITTEN.to_line()) | change), SOLVED.to_line())
    assert [head.key for head in read_heads(path)] == ["solve/3"]
    if "quality" not in change:
        assert list(read_records(path)) == [SOLVED]


@pytest.mark.parametrize("torn", ['{"kind":"solve","index":4,"sta', '{"kind":"solve","index":4,"status":"done"}', "{"])
def test_a_torn_last_line_is_not_read_and_is_cut_off(tmp_path: Path, torn: str) -> None:
    path = write(tmp_path / "ledger", SOLVED.to_line(), torn, end="")
    assert list(read_records(path)) == [SOLVED]
    assert list(read_heads(path)) == [head_of(SOLVED)]
    with Ledger(path) as ledger:
        ledger.append(WRITTEN)
    assert list(read_records(path)) == [SOLVED, WRITTEN]


def test_the_last_record_of_a_task_counts(tmp_path: Path) -> None:
    again = TaskRecord("stitch", 2, "invalid", error="file of 0 bytes")
    beyond = TaskRecord("solve", 5, "done")
    path = write(tmp_path / "ledger", *(r.to_line() for r in [*ALL, beyond]))
    state = read_state(path, SIZES)
    assert state.status["solve"].tolist() == [0, FAILED, 0, DONE, 0]
    assert state.stored_bytes["stitch"].tolist() == [0, 0, 4321, 0, 0]
    assert not state.all_written
    write(path, *(r.to_line() for r in [*ALL, again]))
    assert read_state(path, SIZES).count("stitch", DONE) == 0
    assert list(records_of(path, "stitch")) == [WRITTEN, again]
    assert latest_records(path, "stitch") == {2: again}


def test_there_is_nothing_in_a_ledger_that_is_not_there(tmp_path: Path) -> None:
    assert list(read_records(tmp_path / "ledger")) == []
    assert not LedgerTail(tmp_path / "ledger").replaced()


def test_each_look_goes_on_where_the_last_ended(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    tail = LedgerTail(path)
    assert list(tail.heads()) == []
    write(path, SOLVED.to_line(), WRITTEN.to_line()[:20], end="")
    assert [head.key for head in tail.heads()] == ["solve/3"]
    write(path, SOLVED.to_line(), WRITTEN.to_line())
    assert not tail.replaced()
    assert [head.key for head in tail.heads()] == ["stitch/2"]
    assert tail.bytes_read == path.stat().st_size
    with path.open("a") as stream:
        stream.write("what\n")
    assert list(tail.heads()) == []
    assert tail.unreadable.first == [3]


@pytest.mark.parametrize("change", ["shorter", "gone", "other", "other and longer"])
def test_a_ledger_that_was_replaced_is_noticed(tmp_path: Path, change: str) -> None:
    path = write(tmp_path / "ledger", SOLVED.to_line(), WRITTEN.to_line())
    tail = LedgerTail(path)
    list(tail.heads())
    lines = {
        "shorter": [SOLVED.to_line()],
        "other": [WRITTEN.to_line(), SOLVED.to_line()],
        "other and longer": [FAILURE.to_line()] * 9,
        "gone": None,
    }[change]
    path.unlink() if lines is None else write(path, *lines)
    assert tail.replaced()
