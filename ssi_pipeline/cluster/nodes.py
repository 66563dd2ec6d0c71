"""Probe several nodes of a site in one job, and report nodes that do not answer."""

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
from ssi_pipeline.config.patterns import place_of
from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.executors.slurm import commands as slurm
from ssi_pipeline.executors.slurm.job import job_options, log_pattern, nodes_script, quoted_with_variables

_START_S = 180.0
"""Longest wait for the start of the job."""

_ANSWER_S = 120.0
"""Longest wait for the answers after the start: each node imports torch, perhaps from a slow network."""

_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class AskedNodes:
    """Result of a probe. ``answers``: by node name. ``asked``: number of nodes of the job."""

    job: str
    asked: int
    answers: dict[str, dict[str, Any]]
    problems: tuple[str, ...]


def ask_nodes(config: RunConfig, folder: Path, count: int) -> AskedNodes:
    """Run the probe once on each of up to ``count`` nodes, as many as are free when the job starts.

    The job requests the same resources per node as a job of workers. It writes to ``nodes`` in ``folder``.

    Raises
    ------
    ExecutorError
        SLURM does not answer, or rejects the job.
    """
    place = folder / "nodes"
    log_pattern(place).parent.mkdir(parents=True)
    (place / TOKEN).write_text(folder.name)
    # one shell per node, as the prologue sets up each of them
    lines = "\n".join([*config.executor.slurm.prologue, probe_command(config, place)])
    once_each = "--nodes=$SLURM_JOB_NUM_NODES --ntasks=$SLURM_JOB_NUM_NODES --kill-on-bad-exit=0 --wait=0"
    command = f"srun {once_each} bash -c {shlex.quote(lines)}"
    job = slurm.submit(nodes_script(job_options(config.executor, "ssi-check", place), count, command))
    try:
        return _answers(job, place, min(_START_S, config.executor.slurm.connect_timeout_s))
    finally:
        with suppress(ExecutorError):  # the job also ends by itself
            slurm.cancel([job])


def probe_command(config: RunConfig, folder: Path) -> str:
    """Return the shell command that runs the probe and writes its answer to ``folder``."""
    words = [sys.executable, "-m", "ssi_pipeline.cluster.probe", str(folder), str(place_of(config.input.path))]
    scratch = config.executor.slurm.scratch
    return shlex.join(words) + (f" {quoted_with_variables(scratch)}" if scratch else "")


def _answers(job: str, place: Path, start_s: float) -> AskedNodes:
    """Wait until all nodes have answered, the job has ended, or a timeout."""
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
    state = "has ended" if seen is None else f"is {seen.state}" + (f" ({seen.reason})" if seen.reason != "None" else "")
    missing = [name for name in names if name not in answers]
    problems = [f"{name} did not answer: job {job} {state}; its log: {_log(place, job)}" for name in missing]
    if not names and not answers:
        problems.append(f"job {job} got no node to probe: it {state}")
    return AskedNodes(job, len(names), answers, tuple(problems))


def _read(place: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in sorted(place.glob("probe-*.json"))]
    return {answer["node"]: answer for answer in found}


def _log(place: Path, job: str) -> Path:
    return Path(str(log_pattern(place)).replace("%j", job))
