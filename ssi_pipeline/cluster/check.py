"""Check a site with two small jobs: queue, GPU, shared storage, versions, network, and four solved tiles."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from ssi_pipeline.cluster.findings import HERE, Finding, of_node, same_versions, slow_starts
from ssi_pipeline.cluster.nodes import ask_nodes, probe_command
from ssi_pipeline.cluster.probe import TOKEN, versions
from ssi_pipeline.cluster.script import require_slurm
from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.errors import SsiError
from ssi_pipeline.executors.slurm import commands as slurm
from ssi_pipeline.executors.slurm.job import require_jobqueue
from ssi_pipeline.run import run, verify

_CONNECT_S = 180.0
_SIDE = 64


def check(config: RunConfig, log: Callable[[str], None], nodes: int = 4) -> bool:
    """Check a site with the executor section of a configuration; returns whether all checks passed.

    ``nodes``: number of nodes to probe, if as many are free; 1: only the node of the job that solves tiles.

    Raises
    ------
    ConfigError, ExecutorError
        ``executor.kind`` is not slurm, or SLURM's commands or dask-jobqueue are missing.
    """
    require_slurm(config)
    require_jobqueue()
    findings = []

    def report(finding: Finding) -> None:
        """Print and keep a finding."""
        findings.append(finding)
        log(f"{'ok    ' if finding.good else 'FAILED'}  {finding.text}")

    report(_partition(config))
    if findings[0].good:
        folder = _make_folder(config)
        answers: dict[str, dict[str, Any]] = {}
        if nodes > 1:
            answers, problems = _ask(config, folder, nodes)
            for finding in problems:
                report(finding)
        for finding in _job(config, folder, answers):
            report(finding)
        if all(f.good for f in findings):
            shutil.rmtree(folder)
        else:
            log(f"kept {folder}; logs of the jobs: nodes/logs and tiles.zarr.run/logs")
    return all(f.good for f in findings)


def _partition(config: RunConfig) -> Finding:
    known, wanted = slurm.partitions(), config.executor.slurm.partition
    if wanted is None:
        return Finding(True, "SLURM answers; no partition is set, its default is used")
    if wanted not in known:
        return Finding(False, f"executor.slurm.partition is {wanted}: expected one of {', '.join(sorted(known))}")
    return Finding(True, f"SLURM answers; partition {wanted} has {known[wanted] or 'no GPUs'}")


def _make_folder(config: RunConfig) -> Path:
    """Create a folder beside the state folder, with a volume of four tiles."""
    folder = config.state_path.parent / f".ssi-check-{time.strftime('%Y%m%d-%H%M%S')}"
    folder.mkdir(parents=True)
    (folder / TOKEN).write_text(folder.name)
    image = np.random.default_rng(0).poisson(100, (1, 2 * _SIDE, 2 * _SIDE)).astype(np.uint16)
    zarr.create_array(folder / "in.zarr", data=image, chunks=(1, _SIDE, _SIDE), dimension_names=("z", "y", "x"))
    return folder


def _four_tiles(folder: Path, name: str, executor: dict[str, Any]) -> RunConfig:
    return parse_config(
        {
            "input": {"path": "in.zarr"},
            "output": {"path": f"{name}.zarr", "pyramid": False},
            "psf": {"kind": "gaussian", "fwhm_px": {"y": 2, "x": 2}},
            "tiling": {"core": _SIDE},
            "network": {"width": 4, "levels": 2},
            "training": {"steps": 10, "patch": 32, "batch": 1, "attempts": 1},
            "executor": executor,
        },
        base=folder,
    )


def _ask(config: RunConfig, folder: Path, count: int) -> tuple[dict[str, dict[str, Any]], list[Finding]]:
    """Probe several nodes; returns their answers by node, and the findings except the comparison of versions."""
    try:
        asked = ask_nodes(config, folder, count)
    except SsiError as error:
        return {}, [Finding(False, f"cannot probe the nodes: {error}")]
    findings = [Finding(False, problem) for problem in asked.problems]
    if asked.answers:
        few = "" if asked.asked == count else f"; {count} were requested, no more were free"
        findings.append(Finding(True, f"nodes that answered job {asked.job}: {', '.join(asked.answers)}{few}"))
    for node, found in asked.answers.items():
        checked = of_node(found, folder, config)
        findings += [Finding(False, f"{node}: {finding.text}") for finding in checked if not finding.good]
    return asked.answers, findings


def _job(config: RunConfig, folder: Path, answers: dict[str, dict[str, Any]]) -> Iterator[Finding]:
    """Solve four tiles in a job that first runs the probe; yields the findings. ``answers``: of the other nodes."""
    section = config.executor.model_dump(mode="json")
    section["workers"] = config.executor.slurm.workers_per_job
    section["profile"] = None
    section["slurm"]["prologue"] = [*config.executor.slurm.prologue, probe_command(config, folder)]
    section["slurm"]["connect_timeout_s"] = min(_CONNECT_S, config.executor.slurm.connect_timeout_s)
    tiles = _four_tiles(folder, "tiles", section)
    began, problem = time.monotonic(), None
    try:
        complete = run(tiles).complete
    except SsiError as error:
        complete, problem = False, str(error)
    yield from _probed(config, folder, answers)
    if not complete:
        yield Finding(False, f"four tiles: {problem or 'not all were solved'}")
        return
    yield _compared(config, folder, tiles, time.monotonic() - began)


def _probed(config: RunConfig, folder: Path, answers: dict[str, dict[str, Any]]) -> Iterator[Finding]:
    files = sorted(folder.glob("probe-*.json"))
    if not files:
        yield Finding(False, f"no job has written to {folder}: is it on shared storage?")
        return
    found = json.loads(files[-1].read_text())
    yield Finding(True, f"job {found['job']} ran on {found['node']}")
    yield from of_node(found, folder, config)
    nodes = dict(sorted({**answers, found["node"]: found}.items()))
    yield same_versions({HERE: versions(), **{node: answer["versions"] for node, answer in nodes.items()}})
    yield from slow_starts(nodes)


def _compared(config: RunConfig, folder: Path, tiles: RunConfig, seconds: float) -> Finding:
    """Compare with the same tiles solved on this machine; skipped for GPUs, which round differently."""
    text = f"four tiles solved by the job's workers, {seconds:.0f} s including the queue"
    if not verify(tiles).good:
        return Finding(False, text + ", but reading them back here gives other data")
    if config.executor.device != "cpu":
        return Finding(True, text)
    serial = {"kind": "serial", "device": "cpu", "threads": config.executor.threads}
    here = _four_tiles(folder, "here", serial)
    run(here)
    same = bool(np.array_equal(_level(tiles), _level(here)))
    return Finding(same, f"{text}, {'bit-identical' if same else 'NOT equal'} to those solved here")


def _level(config: RunConfig) -> Any:
    return zarr.open_array(config.output.folder / "0", mode="r")[...]
