"""Several nodes of a site, asked by one job: each tells what it has, and those that do not are named."""

from __future__ import annotations

import json
import shlex
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssi_pipeline.cluster.probe import TOKEN
from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.executors.slurm import commands as slurm
from ssi_pipeline.executors.slurm.job import job_options, log_pattern, nodes_script, quoted_with_variables

_START_S = 180.0
"""A job that has not started by then will not soon."""

_ANSWER_S = 120.0
"""From its start: torch is imported from a slow network on each node."""

_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class AskedNodes:
    """What came of it. ``answers``: what each node told, by its name. ``asked``: the number of nodes of the job."""

    job: str
    asked: int
    answers: dict[str, dict[str, Any]]
    problems: tuple[str, ...]


def ask_nodes(config: RunConfig, folder: Path, count: int) -> AskedNodes:
    """Run the probe on up to ``count`` nodes, as many as are free when the job starts, once on each.

    The job asks on each node for what a job of workers does. It writes to ``nodes`` in ``folder``.

    Raises
    ------
    ExecutorError
        SLURM does not answer, or refuses the job.
    """
    place = folder / "nodes"
    log_pattern(place).parent.mkdir(parents=True)
    (place / TOKEN).write_text(folder.name)
    # one shell for each node: the prologue may set up each of them
    lines = "\n".join([*config.executor.slurm.prologue, probe_command(config, place)])
    once_each = "--nodes=$SLURM_JOB_NUM_NODES --ntasks=$SLURM_JOB_NUM_NODES --kill-on-bad-exit=0 --wait=0"
    command = f"srun {once_each} bash -c {shlex.quote(lines)}"
    job = slurm.submit(nodes_script(job_options(config.executor, "ssi-check", place), count, command))
    try:
        return _answers(job, place, min(_START_S, config.executor.slurm.connect_timeout_s))
    finally:
        with suppress(ExecutorError):  # it ends by itself as well
            slurm.cancel([job])


def probe_command(config: RunConfig, folder: Path) -> str:
    """Return the line of a job's script that tells, in ``folder``, what its node has."""
    words = [sys.executable, "-m", "ssi_pipeline.cluster.probe", str(folder), str(config.input.path)]
    scratch = config.executor.slurm.scratch
    return shlex.join(words) + (f" {quoted_with_variables(scratch)}" if scratch else "")


def _answers(job: str, place: Path, start_s: float) -> AskedNodes:
    """Wait until all nodes have answered, the job has ended, or it takes too long."""
    names: list[str] = []
    until, started = time.monotonic() + start_s, False
    while True:
        seen = slurm.queued([job]).get(job)
        answers = _read(place)
        live = seen is not None and seen.state in slurm.LIVE_STATES
        if seen is not None and seen.node and not names:
            names = slurm.host_names(seen.node)
        if names and not started:
            started, until = True, time.monotonic() + _ANSWER_S
        if not live or (names and answers.keys() >= set(names)) or time.monotonic() > until:
            break
        time.sleep(_POLL_S)
    state = "is gone" if seen is None else f"is {seen.state}" + (f" ({seen.reason})" if seen.reason != "None" else "")
    missing = [name for name in names if name not in answers]
    problems = [f"{name} did not answer: job {job} {state}; its log: {_log(place, job)}" for name in missing]
    if not names and not answers:
        problems.append(f"no node was given to job {job} to ask them: it {state}")
    return AskedNodes(job, len(names), answers, tuple(problems))


def _read(place: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in sorted(place.glob("probe-*.json"))]
    return {answer["node"]: answer for answer in found}


def _log(place: Path, job: str) -> Path:
    return Path(str(log_pattern(place)).replace("%j", job))
