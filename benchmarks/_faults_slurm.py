"""Faults of a cluster, on a real SLURM that is started for them: jobs and controller go away and come back."""

from __future__ import annotations

import time
from typing import Any

import _slurm
from _faults import Bench, Call, Case, Fault, Tally

_PREEMPTED = "preempted, will be retried"
_ACCUSED = "lost (1 of"


def _case(bench: Bench, **site: Any) -> Case:
    """Two jobs of two workers."""
    section = {"partition": "main", "walltime": "00:10:00", "workers_per_job": 2, "gres": "gpu:2", **site}
    return bench.case(kind="slurm", workers=4, memory_gib=1, slurm=section)


def _start(case: Case, cluster: _slurm.Slurm, **inject: Any) -> Call:
    return case.start(environment=cluster.environment, **inject)


def _end(bench: Bench, tally: Tally, case: Case, call: Call) -> None:
    tally.ended(call, 0)
    tally.expect(_ACCUSED not in call.text(), f"a tile was blamed: {call.text()}")
    tally.judge(case, bench.expected())


def cancelled_job(bench: Bench, tally: Tally) -> None:
    """Its running tiles are repeated, and the loss counts against no tile."""
    with _slurm.slurm() as cluster:
        for _ in bench.times(1, 2):
            case = _case(bench)
            call = _start(case, cluster, sleep=2)
            call.wait_for(lambda case=case: case.done() >= 4)
            cluster.command("scancel", bench.rng.choice(cluster.jobs()))
            tally.times += 1
            _end(bench, tally, case, call)
            tally.expect(_PREEMPTED in call.text(), f"no tile was lost, the job was not in the middle: {call.text()}")


def requeued_job(bench: Bench, tally: Tally) -> None:
    """As a preempting partition does."""
    with _slurm.slurm() as cluster:
        for _ in bench.times(1, 2):
            case = _case(bench)
            call = _start(case, cluster, sleep=2)
            call.wait_for(lambda case=case: case.done() >= 4)
            job = bench.rng.choice(cluster.jobs())
            cluster.command("scontrol", "requeue", job)
            cluster.command("scontrol", "update", f"jobid={job}", "StartTime=now")  # it would wait for two minutes
            tally.times += 1
            _end(bench, tally, case, call)


def short_walltime(bench: Bench, tally: Tally) -> None:
    """Counts the jobs that it ended; a tile of a fifth of it may be cut, and is repeated."""
    with _slurm.slurm() as cluster:
        case = _case(bench, walltime="00:01:00")
        call = _start(case, cluster, sleep=12)
        _end(bench, tally, case, call)
        words = call.text()
        tally.times += words.count("has ended (completed)") + words.count("has ended (timeout)")
        tally.expect(tally.times >= 2, f"no job reached its walltime: {words}")


def silent_controller(bench: Bench, tally: Tally) -> None:
    """It does not answer, tiles continue."""
    with _slurm.slurm() as cluster:
        for _ in bench.times(1, 2):
            case = _case(bench)
            call = _start(case, cluster, sleep=4)
            call.wait_for(lambda case=case: case.done() >= 2)
            cluster.stop_controller()
            time.sleep(20)
            cluster.resume_controller()
            tally.times += 1
            _end(bench, tally, case, call)


def killed_client(bench: Bench, tally: Tally) -> None:
    """The next client cancels its jobs."""
    with _slurm.slurm() as cluster:
        for _ in bench.times(1, 2):
            case = _case(bench)
            call = _start(case, cluster, sleep=2)
            call.wait_for(lambda case=case: case.done() >= 4)
            tally.killed(call)
            _end(bench, tally, case, _start(case, cluster))
            time.sleep(1)
            tally.expect(not cluster.jobs(), f"jobs are left: {cluster.jobs()}")


FAULTS = (
    Fault("scancel", "SLURM: scancel of a job in mid-tile", cancelled_job, _slurm.missing),
    Fault("requeue", "SLURM: scontrol requeue of a job", requeued_job, _slurm.missing, short=False),
    Fault("walltime", "SLURM: one minute of walltime, a longer run", short_walltime, _slurm.missing, short=False),
    Fault("controller", "SLURM: controller stopped for 20 s", silent_controller, _slurm.missing, short=False),
    Fault("slurm-client", "SLURM: SIGKILL of the client", killed_client, _slurm.missing, short=False),
)
