"""The summary at the end of a run: grouped by cause, short, and from the last record of each task."""

from __future__ import annotations

from typing import Any

import numpy as np

from ssi_pipeline.results.failure_reasons import Causes, normalised
from ssi_pipeline.run.lost_tasks import LostTasks
from ssi_pipeline.run.summary import Summary, describe_summary
from ssi_pipeline.storage.state.ledger import DONE, FAILED, LedgerState
from ssi_pipeline.storage.state.records import KINDS, TaskRecord


def failed(index: int, error: str, kind: Any = "solve") -> TaskRecord:
    return TaskRecord(kind, index, "failed", error=error)


def causes(*records: TaskRecord, size: int = 1000) -> Causes:
    made = Causes(dict.fromkeys(KINDS, size))
    for record in records:
        made.note(record)
    return made


def state(*codes: int) -> LedgerState:
    status = {kind: np.zeros(4, np.uint8) for kind in KINDS}
    status["solve"] = np.array(codes, np.uint8)
    return LedgerState(status, {})


def test_numbers_and_paths_make_no_other_cause() -> None:
    a = normalised("OSError: [Errno 5] in /data/a/x.zarr/c/0/12 (at /opt/lib/code.py:31), loss 1.5e-3")
    b = normalised("OSError: [Errno 5] in /scratch/b.zarr/c/7/1 (at /usr/lib/code.py:18), loss 2")
    assert a == b == "OSError: [Errno #] in PATH (at PATH:#), loss #"
    assert normalised("OSError: gone") != normalised("ValueError: gone")


def test_failures_are_grouped_the_most_frequent_first() -> None:
    found = causes(
        failed(7, "InputError: no light in /a/1"),
        *(failed(i, f"OSError: chunk {i} is damaged") for i in (3, 900, 4, 5)),
        failed(2, "OSError: chunk 1 is damaged", "stitch"),
    ).found(3)
    assert found == [
        ("OSError: chunk 3 is damaged", 5, ["solve/3", "solve/4", "solve/5"]),
        ("InputError: no light in /a/1", 1, ["solve/7"]),
    ]


def test_the_last_record_of_a_task_counts() -> None:
    again = [failed(1, "A: x"), TaskRecord("solve", 1, "done"), failed(2, "A: x"), TaskRecord("solve", 2, "invalid")]
    assert causes(*again).found(3) == []
    assert causes(failed(1, "A: x"), failed(1, "B: y")).found(3) == [("B: y", 1, ["solve/1"])]


def test_causes_without_end_end_in_one() -> None:
    letters = [f"Error: {'a' * (i + 1)}" for i in range(400)]
    found = causes(*(failed(i, text) for i, text in enumerate(letters))).found(3)
    assert sum(count for _, count, _ in found) == 400
    assert found[0][:2] == ("other causes", 150)
    assert len(found) == 251


def test_a_record_of_a_task_that_the_plan_does_not_have_is_passed_over() -> None:
    assert causes(failed(1000, "A: x")).found(3) == []


def test_all_is_said_in_few_lines() -> None:
    lost = LostTasks()
    for key, preempted in (("solve/0", False), ("solve/0", True), ("solve/1", True), ("train/0", False)):
        lost.note(key, "the worker that ran it died", preempted)
    many = [(f"{letter}: {'long ' * 100}", 4, ["solve/1", "solve/2", "solve/3"]) for letter in "ABCDEFG"]
    summary = Summary({"network": 1, "wiener": 2}, {"": 60.0, "cpu": 7200.0, "NVIDIA H100": 3600.0}, many)
    now = {"cpu": 3600.0, "NVIDIA H100": 1800.0}
    lines = describe_summary(summary, state(DONE, FAILED, DONE, 0, DONE), now, lost, "'my run.yaml'")
    assert lines[:3] == [
        "tiles: 3 done (1 by network, 2 by wiener), 1 failed, 1 pending",
        "compute time: 3.02 worker-hours (1.5 in this call); 1 GPU-hours (0.5 in this call) on NVIDIA H100",
        "lost with their workers: 3 tasks, 4 times (2 preempted); 1 done since; "
        "last cause: the worker that ran it died",
    ]
    assert lines[3].startswith("failed (4): A: long long")
    assert lines[3].endswith("... (solve/1, solve/2, solve/3, ...)")
    assert lines[-2:] == [
        "2 more causes of failure: see `ssi report`",
        "to retry: ssi run 'my run.yaml' --retry-failed",
    ]
    assert len(lines) <= 11  # and one more, the verdict
    assert max(map(len, lines)) < 220


def test_a_good_run_needs_two_lines() -> None:
    lines = describe_summary(
        Summary({"wiener": 2}, {"cpu": 36.0}, []), state(DONE, DONE), {"cpu": 36.0}, LostTasks(), "c"
    )
    assert lines == [
        "tiles: 2 done (2 by wiener), 0 failed, 0 pending",
        "compute time: 0.01 worker-hours (0.01 in this call)",
    ]


def test_blocks_alone_are_tried_again_without_an_option() -> None:
    summary = Summary({}, {}, [("OSError: x", 1, ["stitch/3"])])
    assert describe_summary(summary, state(DONE), {}, LostTasks(), "c")[-1] == "to retry: ssi run c"


def test_secrets_in_old_records_are_not_repeated() -> None:
    summary = Summary({}, {}, [("OSError: https://a:hunter22@host/x", 1, ["solve/3"])])
    assert "hunter22" not in "".join(describe_summary(summary, state(FAILED), {}, LostTasks(), "c"))
