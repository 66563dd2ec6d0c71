"""Is this site ready? One small job tells: queue, GPU, shared storage, versions, network, and four tiles solved."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from ssi_pipeline.cluster.probe import TOKEN, versions
from ssi_pipeline.cluster.script import require_slurm
from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.errors import SsiError
from ssi_pipeline.executors import slurm_commands as slurm
from ssi_pipeline.executors.slurm_job import require_jobqueue
from ssi_pipeline.run import run, verify

_CONNECT_S = 180.0
_SIDE = 64


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: whether it is well, and what was found."""

    good: bool
    text: str


def check(config: RunConfig, say: Callable[[str], None]) -> bool:
    """Check a site with the executor section of a configuration; tells whether all is well.

    Raises
    ------
    ConfigError, ExecutorError
        The configuration is not about SLURM, or its commands or dask-jobqueue are missing here.
    """
    require_slurm(config)
    require_jobqueue()
    findings = []

    def tell(finding: Finding) -> None:
        findings.append(finding)
        say(f"{'ok    ' if finding.good else 'FAILED'}  {finding.text}")

    tell(_partition(config))
    if findings[0].good:
        folder = _make_folder(config)
        for finding in _job(config, folder):
            tell(finding)
        if all(f.good for f in findings):
            shutil.rmtree(folder)
        else:
            say(f"kept: {folder}, with the logs of the jobs in tiles.zarr.run/logs")
    return all(f.good for f in findings)


def _partition(config: RunConfig) -> Finding:
    known, wanted = slurm.partitions(), config.executor.slurm.partition
    if wanted is None:
        return Finding(True, "SLURM answers; no partition is named, its default is used")
    if wanted not in known:
        return Finding(False, f"executor.slurm.partition is {wanted}: expected one of {', '.join(sorted(known))}")
    return Finding(True, f"SLURM answers; partition {wanted} has {known[wanted] or 'no GPUs'}")


def _make_folder(config: RunConfig) -> Path:
    """Make a folder where the output will be, with a volume of four tiles."""
    folder = config.output.path.parent / f".ssi-check-{time.strftime('%Y%m%d-%H%M%S')}"
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
            "training": {"steps": 10, "patch": 32, "batch": 1, "validate_every": 5, "attempts": 1},
            "executor": executor,
        },
        base=folder,
    )


def _job(config: RunConfig, folder: Path) -> Iterator[Finding]:
    """Run four tiles in one job that looks around first, then tell of both."""
    section = config.executor.model_dump(mode="json")
    probe = [sys.executable, "-m", "ssi_pipeline.cluster.probe", str(folder), str(config.input.path)]
    scratch = [f'"{config.executor.slurm.scratch}"'] if config.executor.slurm.scratch else []
    section["workers"] = config.executor.slurm.workers_per_job
    section["profile"] = None
    section["slurm"]["prologue"] = [*config.executor.slurm.prologue, " ".join([shlex.join(probe), *scratch])]
    section["slurm"]["connect_timeout_s"] = min(_CONNECT_S, config.executor.slurm.connect_timeout_s)
    tiles = _four_tiles(folder, "tiles", section)
    began, problem = time.monotonic(), None
    try:
        complete = run(tiles).complete
    except SsiError as error:
        complete, problem = False, str(error)
    yield from _probed(config, folder)
    if not complete:
        yield Finding(False, f"four tiles: {problem or 'not all could be solved'}")
        return
    yield _compared(config, folder, tiles, time.monotonic() - began)


def _probed(config: RunConfig, folder: Path) -> Iterator[Finding]:
    files = sorted(folder.glob("probe-*.json"))
    if not files:
        yield Finding(False, f"no job has written to {folder}: is it on storage that the nodes share?")
        return
    found = json.loads(files[-1].read_text())
    yield Finding(True, f"job {found['job']} ran on {found['node']}")
    yield _storage(found, folder)
    yield _input(found, config)
    yield _same_versions(found)
    yield _gpu(found, config)
    if "scratch" in found:
        text = f"scratch {config.executor.slurm.scratch}: {found['scratch']}"
        yield Finding(not isinstance(found["scratch"], dict), text)


def _storage(found: dict[str, Any], folder: Path) -> Finding:
    if found["token"] == folder.name:
        return Finding(True, f"the node reads and writes {folder.parent}")
    return Finding(False, f"the node does not see what is written to {folder} here: {found['token']}")


def _input(found: dict[str, Any], config: RunConfig) -> Finding:
    if isinstance(found["input"], dict):
        return Finding(False, f"the node cannot open input.path: {found['input']['error']}")
    return Finding(True, f"the node sees {config.input.path}")


def _same_versions(found: dict[str, Any]) -> Finding:
    here = versions()
    other = [f"{k} {v} there, {here[k]} here" for k, v in found["versions"].items() if v != here[k]]
    if other:
        return Finding(False, f"versions differ: {'; '.join(other)}")
    return Finding(True, "versions are equal: " + ", ".join(f"{name} {text}" for name, text in here.items()))


def _gpu(found: dict[str, Any], config: RunConfig) -> Finding:
    wanted, site = config.executor.device, config.executor.slurm
    asked = wanted == "cuda" or (wanted == "auto" and (site.gres or site.gpus_per_node))
    if isinstance(found["gpus"], dict):
        return Finding(False, f"torch on the node: {found['gpus']['error']}")
    if not asked:
        return Finding(True, f"no GPU asked for; torch on the node sees {len(found['gpus'])}")
    text = f"torch on the node sees {len(found['gpus'])} GPUs ({', '.join(found['gpus']) or 'none'})"
    enough = len(found["gpus"]) >= site.workers_per_job
    hint = "" if enough else f"; expected {site.workers_per_job}, one for each worker of a job: see gres, gpus_per_node"
    return Finding(enough, text + f", CUDA_VISIBLE_DEVICES is {found['visible']}" + hint)


def _compared(config: RunConfig, folder: Path, tiles: RunConfig, seconds: float) -> Finding:
    """Compare with the same tiles solved here, without any cluster; GPUs round otherwise."""
    text = f"four tiles solved by the job's workers, {seconds:.0f} s with the wait"
    if not verify(tiles).good:
        return Finding(False, text + ", but they cannot be read back here as they were written")
    if config.executor.device != "cpu":
        return Finding(True, text)
    serial = {"kind": "serial", "device": "cpu", "threads": config.executor.threads}
    here = _four_tiles(folder, "here", serial)
    run(here)
    same = bool(np.array_equal(_level(tiles), _level(here)))
    return Finding(same, f"{text}, {'equal to the bit' if same else 'NOT equal'} to those solved here")


def _level(config: RunConfig) -> Any:
    return zarr.open_array(config.output.path / "0", mode="r")[...]
