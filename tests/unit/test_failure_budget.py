"""Separate failure budgets for tiles and for machines, and time limits of tasks."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import pytest

from ssi_pipeline.errors import ConfigError, ExecutorError
from ssi_pipeline.executors.hung import HungWorkers
from ssi_pipeline.executors.local import refuse_open_connection
from ssi_pipeline.executors.watch import Clock, SeenWorker, TimeLimit
from ssi_pipeline.run.failure_budget import FailureBudget
from ssi_pipeline.storage.state.records import Job, TaskRecord


def done(index: int = 0, host: str = "n1", seconds: float = 1.0) -> TaskRecord:
    return TaskRecord("solve", index, "done", seconds=seconds, host=f"{host}:1")


def budget(in_a_row: int = 3) -> tuple[FailureBudget, list[str]]:
    avoided: list[str] = []

    def avoid(host: str) -> bool:
        avoided.append(host)
        return True

    return FailureBudget(2, in_a_row, avoid, lambda text: None), avoided


def test_a_tile_has_so_many_workers_and_one_more() -> None:
    account, _ = budget()
    assert account.note_worker_loss("solve/1") == 1
    assert not account.last_try("solve/1")
    account.note_worker_loss("solve/1")
    assert account.last_try("solve/1")
    account.note_worker_loss("solve/1")
    assert account.used_up("solve/1")
    assert not account.used_up("solve/2")


def test_failures_of_machines_end_the_run_only_when_nothing_is_done_in_between() -> None:
    account, _ = budget()
    for _ in range(20):
        account.note_infrastructure_failure("preempted")
        account.note_infrastructure_failure("preempted")
        account.done(done())
    for _ in range(3):
        account.note_infrastructure_failure("preempted")
    with pytest.raises(ExecutorError, match="4 consecutive failures of workers or machines"):
        account.note_infrastructure_failure("preempted")


def test_a_machine_that_fails_while_others_work_gets_no_more() -> None:
    account, avoided = budget(in_a_row=100)
    for _ in range(5):
        account.note_infrastructure_failure("stale file handle", "n2")
    assert avoided == []  # nobody has shown yet that it is not all of them
    account.done(done(host="n1"))
    account.done(done(host="n2"))
    for _ in range(3):
        account.note_infrastructure_failure("stale file handle", "n2")
        account.done(done(host="n1"))
    assert avoided == ["n2"]


def test_a_machine_that_failed_before_any_other_worked_is_avoided_once_one_does() -> None:
    account, avoided = budget(in_a_row=100)
    for _ in range(5):
        account.note_infrastructure_failure("stale file handle", "n2")
    account.done(done(host="n1"))
    account.note_infrastructure_failure("stale file handle", "n2")
    assert avoided == ["n2"]


def test_a_task_that_breaks_every_machine_is_to_blame_in_the_end() -> None:
    account, _ = budget(in_a_row=100)
    for _ in range(20):  # an outage: nothing is done
        assert account.is_machine_fault("solve/1")
    for index in range(4):
        account.done(done(index + 2))
        assert account.is_machine_fault("solve/1")
    account.done(done(9))
    assert not account.is_machine_fault("solve/1")
    assert account.is_machine_fault("solve/7")


def test_the_limit_follows_the_longest_of_its_kind() -> None:
    limit = TimeLimit("auto")
    for seconds in (10, 200):
        limit.note(done(seconds=seconds))
    assert limit.of("solve") is None
    limit.note(done(seconds=20))
    assert limit.of("solve") == 1000
    assert limit.of("train") is None
    quick = TimeLimit("auto")
    for _ in range(3):
        quick.note(done(seconds=0.1))
    assert quick.of("solve") == 300
    assert TimeLimit(7.0).of("calibrate") == 7
    assert TimeLimit(None).of("solve") is None


def test_a_task_is_timed_from_when_its_worker_was_first_seen_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("ssi_pipeline.executors.watch.time.monotonic", lambda: now[0])
    clock = Clock()
    worker = SeenWorker("tcp://1", "w", 1, ("a",))
    assert clock.look([worker])["a"] == (worker, 0)
    now[0] = 5
    assert clock.look([worker])["a"][1] == 5
    clock.look([])
    now[0] = 9
    assert clock.look([worker])["a"][1] == 0  # it left and came back


def test_a_task_may_wait_for_the_others_of_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that waited behind a tile of 75 s was said to hang, and at 300 s its worker would have been restarted."""
    now = [0.0]
    monkeypatch.setattr("ssi_pipeline.executors.watch.time.monotonic", lambda: now[0])
    limit, nothing = TimeLimit("auto"), cast(Any, None)
    hung = HungWorkers(nothing, None, limit)
    for seconds in (100.0, 100.0, 100.0):
        limit.note(done(seconds=seconds))
        limit.note(dataclasses.replace(done(seconds=1.0), kind="stitch"))
    jobs = {"tile": Job("solve", 0), "block": Job("stitch", 0)}
    waiting, alone = SeenWorker("tls://1", "1", 1, ("tile", "block")), SeenWorker("tls://2", "2", 1, ("block",))
    assert hung.slow([waiting], jobs) == hung.find([waiting], jobs) == []
    now[0] = 350  # slow: 300 s for a tile, 60 for a block; hung: 500 and 300
    assert hung.slow([waiting], jobs) == hung.find([waiting], jobs) == []
    now[0] = 370
    assert [line.split(" from ")[0] for line in hung.slow([waiting], jobs)] == [
        "no result of solve/0",
        "no result of stitch/0",
    ]
    now[0] = 801
    assert [task.key for task in hung.find([waiting], jobs)] == ["tile", "block"]
    hung = HungWorkers(nothing, None, limit)
    assert hung.find([alone], jobs) == []
    now[0] += 301
    assert [task.key for task in hung.find([alone], jobs)] == ["block"]


@pytest.mark.parametrize("address", ["tcp://10.0.0.1:8786", "node7:8786", "tcp://node7:8786"])
def test_an_open_connection_to_another_machine_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="without encryption"):
        refuse_open_connection(address, allowed=False)
    refuse_open_connection(address, allowed=True)


@pytest.mark.parametrize("address", ["tls://10.0.0.1:8786", "tcp://127.0.0.1:8786", "localhost:1", "tcp://[::1]:8786"])
def test_an_encrypted_or_local_one_is_not(address: str) -> None:
    refuse_open_connection(address, allowed=False)
