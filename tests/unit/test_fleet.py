"""The fleet of jobs: reactions to each state of the queue. SLURM itself is in tests/slurm."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.executors.slurm import fleet as module
from ssi_pipeline.executors.slurm.commands import QueuedJob, SlurmRefusedError, SlurmUnreachableError
from ssi_pipeline.executors.slurm.fleet import Fleet, name_of_job
from ssi_pipeline.executors.slurm.worker_preload import choose_gpu, last_begin


class Queue:
    """A queue whose jobs are in the state that the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.states: dict[str, str] = {}
        self.restarts = 0
        self.cancelled: list[str] = []
        self.scripts: list[str] = []
        self.down = False
        self.full = False
        self.why = "QOSMaxSubmitJobPerUserLimit"
        self.mute = False  # hears, and its answer is lost
        self.clock = 0.0
        monkeypatch.setattr(module, "slurm", self)
        monkeypatch.setattr(module.time, "monotonic", lambda: self.clock)

    LIVE_STATES = module.slurm.LIVE_STATES
    SlurmUnreachableError = SlurmUnreachableError
    SlurmRefusedError = SlurmRefusedError

    def submit(self, script: str) -> str:
        self._answer()
        if self.full:
            raise SlurmRefusedError(self.why)
        self.scripts.append(script)
        job_id = str(len(self.scripts))
        self.states[job_id] = "PENDING"
        if self.mute:
            raise SlurmUnreachableError("timed out")
        return job_id

    def queued_by_name(self, name: str) -> list[QueuedJob]:
        assert name == "ssi-run"
        return list(self.queued([i for i, state in self.states.items() if state in self.LIVE_STATES]).values())

    def queued(self, job_ids: Collection[str]) -> dict[str, QueuedJob]:
        self._answer()
        return {i: QueuedJob(i, self.states[i], f"n{i}", "None") for i in job_ids if i in self.states}

    def cancel(self, job_ids: Collection[str]) -> None:
        self.cancelled += job_ids
        for job_id in job_ids:
            self.states[job_id] = "CANCELLED"

    def state_of(self, job_id: str) -> tuple[str, int] | None:
        self._answer()
        return (self.states[job_id], self.restarts) if job_id in self.states else None

    def _answer(self) -> None:
        if self.down:
            raise SlurmUnreachableError("no answer")


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    return Queue(monkeypatch)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def fleet(queue: Queue, said: list[str], tmp_path: Path) -> Fleet:
    return Fleet(
        size=2,
        name="ssi-run",
        script=lambda name, avoided: f"{name} {sorted(avoided)}",
        log_of=lambda job_id: tmp_path / job_id,
        connect_timeout_s=100,
        log=said.append,
    )


def tend(
    fleet: Fleet, queue: Queue, connected: Collection[str] = (), seconds: float = 10, enough: bool = False
) -> None:
    queue.clock += seconds
    fleet.tend(connected, enough)


def test_it_is_filled_once_and_then_left_alone(fleet: Fleet, queue: Queue) -> None:
    for _ in range(3):
        tend(fleet, queue)
    assert queue.scripts == ["ssi0 []", "ssi1 []"]


def test_it_is_not_looked_at_more_often_than_every_few_seconds(fleet: Fleet, queue: Queue) -> None:
    tend(fleet, queue)
    queue.states.clear()
    tend(fleet, queue, seconds=0.1)
    assert len(queue.scripts) == 2


@pytest.mark.parametrize("state", ["CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", None])
def test_a_job_that_has_ended_is_replaced_under_a_new_name(fleet: Fleet, queue: Queue, state: str | None) -> None:
    tend(fleet, queue)
    queue.states["1"] = "RUNNING"
    tend(fleet, queue, ["ssi0"])
    if state is None:
        del queue.states["1"]  # SLURM has forgotten it
    else:
        queue.states["1"] = state
    tend(fleet, queue, ["ssi1"])
    assert queue.scripts[2:] == ["ssi2 []"]
    assert fleet.departure("ssi0") == (state or "GONE").lower()


@pytest.mark.parametrize("state", ["PENDING", "REQUEUED", "COMPLETING", "SUSPENDED"])
def test_a_requeued_job_still_belongs_to_it(fleet: Fleet, queue: Queue, state: str) -> None:
    tend(fleet, queue)
    queue.states["1"] = "RUNNING"
    tend(fleet, queue, ["ssi0"])
    queue.states["1"] = state
    tend(fleet, queue)
    assert len(queue.scripts) == 2


def test_a_running_job_without_workers_is_given_up(fleet: Fleet, queue: Queue) -> None:
    tend(fleet, queue)
    queue.states["1"] = queue.states["2"] = "RUNNING"
    tend(fleet, queue, ["ssi1"])
    tend(fleet, queue, ["ssi1"], seconds=90)
    assert not queue.cancelled
    tend(fleet, queue, ["ssi1"], seconds=90)
    assert queue.cancelled == ["1"]
    assert len(queue.scripts) == 3


def test_nothing_is_submitted_when_enough_workers_are_there(fleet: Fleet, queue: Queue) -> None:
    tend(fleet, queue)
    queue.states = {"1": "RUNNING", "2": "CANCELLED"}
    tend(fleet, queue, ["ssi0"], enough=True)
    assert len(queue.scripts) == 2


def test_jobs_that_end_before_they_report_end_the_run(fleet: Fleet, queue: Queue, tmp_path: Path) -> None:
    for name in "123456789":
        (tmp_path / name).write_text("module: not found\n")
    for _ in range(2):
        tend(fleet, queue)
        queue.states.clear()
    with pytest.raises(ExecutorError, match=r"3 consecutive jobs(.|\n)*module: not found"):
        tend(fleet, queue)


def test_while_slurm_does_not_answer_it_waits_longer_and_longer(fleet: Fleet, queue: Queue, said: list[str]) -> None:
    tend(fleet, queue)
    queue.down = True
    tend(fleet, queue)
    tend(fleet, queue, seconds=11)
    tend(fleet, queue, seconds=11)  # too early
    asked = [line.split("next attempt in ")[1] for line in said if "next attempt" in line]
    assert asked == ["10 s", "20 s"]
    with pytest.raises(SlurmUnreachableError):
        fleet.departure("ssi0")
    queue.down = False
    queue.states["1"] = "CANCELLED"
    tend(fleet, queue, seconds=10)
    assert len(queue.scripts) == 3


@pytest.mark.parametrize(("state", "preempted"), [("RUNNING", False), ("OUT_OF_MEMORY", False), ("TIMEOUT", True)])
def test_whose_fault_a_lost_worker_is(fleet: Fleet, queue: Queue, state: str, preempted: bool) -> None:
    tend(fleet, queue)
    queue.states["1"] = state
    assert (fleet.departure("ssi0-1") is not None) == preempted


def test_a_job_that_was_requeued_and_runs_again_took_its_workers_along_once(fleet: Fleet, queue: Queue) -> None:
    tend(fleet, queue)
    queue.states["1"], queue.restarts = "RUNNING", 1
    assert [fleet.departure(worker) for worker in ("ssi0-0", "ssi0-1")] == ["requeued"] * 2
    assert fleet.departure("ssi0-0") is None  # died alone since


def test_a_limit_of_jobs_ends_the_run_only_when_none_was_ever_taken(
    fleet: Fleet, queue: Queue, said: list[str]
) -> None:
    queue.full = True
    with pytest.raises(SlurmRefusedError):
        tend(fleet, queue)
    queue.full = False
    tend(fleet, queue)
    queue.full = True
    queue.states = {"1": "RUNNING", "2": "CANCELLED"}
    tend(fleet, queue, ["ssi0"])
    assert "SLURM accepts no jobs (QOSMaxSubmitJobPerUserLimit)" in said[-1]
    queue.full = False
    tend(fleet, queue, ["ssi0"])
    assert len(queue.scripts) == 3


def test_no_node_but_those_that_are_avoided_ends_the_run(fleet: Fleet, queue: Queue) -> None:
    tend(fleet, queue)
    queue.states = dict.fromkeys("12", "RUNNING")
    tend(fleet, queue, ["ssi0", "ssi1"])
    queue.full = True
    queue.why = "Requested node configuration is not available"
    fleet.avoid("n1")
    tend(fleet, queue, ["ssi1"])  # the other node works
    fleet.avoid("n2")
    with pytest.raises(ExecutorError, match=r"only excluded nodes left \(n1, n2; the reasons"):
        tend(fleet, queue, seconds=30)


def test_a_job_that_was_taken_without_an_answer_is_cancelled(fleet: Fleet, queue: Queue) -> None:
    tend(fleet, queue)
    queue.states["2"] = "CANCELLED"
    queue.mute = True
    tend(fleet, queue)
    assert queue.states["3"] == "PENDING"
    queue.mute = False
    tend(fleet, queue)
    assert queue.cancelled == ["3"]
    assert queue.states["4"] == "PENDING"


def test_jobs_that_are_taken_away_before_they_report_do_not_end_the_run(fleet: Fleet, queue: Queue) -> None:
    for _ in range(6):
        tend(fleet, queue)
        queue.states = dict.fromkeys(queue.states, "PREEMPTED")
    assert len(queue.scripts) == 12


def test_a_job_whose_workers_are_there_is_there(fleet: Fleet, queue: Queue) -> None:
    tend(fleet, queue)
    queue.states.clear()
    tend(fleet, queue, ["ssi0", "ssi1"])
    assert len(queue.scripts) == 2


def test_a_node_that_is_avoided_loses_its_jobs_and_gets_no_more(fleet: Fleet, queue: Queue) -> None:
    tend(fleet, queue)
    queue.states = dict.fromkeys("12", "RUNNING")
    tend(fleet, queue, ["ssi0", "ssi1"])
    fleet.avoid("n2")
    tend(fleet, queue, ["ssi0"])
    assert queue.scripts[2:] == ["ssi2 ['n2']"]
    queue.states["3"] = "CANCELLED"
    tend(fleet, queue, ["ssi0"], seconds=3601)
    assert queue.scripts[3:] == ["ssi3 []"]


def test_a_job_is_cancelled_whose_worker_cannot_be_restarted(fleet: Fleet, queue: Queue) -> None:
    tend(fleet, queue)
    queue.states = dict.fromkeys("12", "RUNNING")
    tend(fleet, queue, ["ssi0-1", "ssi1"])
    fleet.give_up("ssi0-1")
    tend(fleet, queue, ["ssi1"])
    assert queue.cancelled == ["1"]
    assert len(queue.scripts) == 3


def test_it_tells_why_it_waits(fleet: Fleet, queue: Queue, said: list[str]) -> None:
    for _ in range(10):
        tend(fleet, queue)
    assert sum("no worker yet: 2 job(s) pending" in line for line in said) == 2  # after 15 s, then after 30 more
    fleet.close()
    assert queue.cancelled == ["1", "2"]


def test_workers_are_told_from_jobs_by_their_names() -> None:
    assert name_of_job("ssi12") == name_of_job("ssi12-3") == "ssi12"


@pytest.mark.parametrize(
    ("name", "visible", "expected"),
    [
        ("ssi0-1", "4,6", "6"),
        ("ssi0-0", "4,6", "4"),
        ("ssi0", "4,6", "4,6"),
        ("ssi0-3", "4,6", "6"),
        ("ssi0-0", "", ""),
    ],
)
def test_each_worker_of_a_job_takes_its_gpu(name: str, visible: str, expected: str) -> None:
    environment = {"CUDA_VISIBLE_DEVICES": visible}
    choose_gpu(name, environment)
    assert environment["CUDA_VISIBLE_DEVICES"] == expected


def test_a_worker_begins_nothing_that_it_cannot_end() -> None:
    assert last_begin(1000, 0) == 997
    assert last_begin(1000, 100) == 877
    assert last_begin(1000, 900) == 500  # longer than half of a life: begun all the same
