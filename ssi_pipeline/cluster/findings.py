"""Findings on the answer of a node (``probe.describe``)."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssi_pipeline.config import RunConfig
from ssi_pipeline.config.url import Url
from ssi_pipeline.executors.gpus.sharing import asks_for_gpus

HERE = "here"
"""Name of the client in the comparison of versions."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check: whether it passed, and a message."""

    good: bool
    text: str


def of_node(found: dict[str, Any], folder: Path, config: RunConfig) -> Iterator[Finding]:
    """Check storage, input, GPUs and scratch of a node; ``folder``: contains the token that the node had to read."""
    yield _storage(found, folder)
    yield _input(found, config)
    yield _gpu(found, config)
    if "scratch" in found:
        text = f"scratch {config.executor.slurm.scratch}: {found['scratch']}"
        yield Finding(not isinstance(found["scratch"], dict), text)


def slow_starts(nodes: Mapping[str, dict[str, Any]]) -> Iterator[Finding]:
    """Tell on which nodes each worker compiles the libraries anew; ``nodes``: the answers."""
    where: dict[str, list[str]] = {}
    for node, found in nodes.items():
        if isinstance(found["bytecode"], list):
            where.setdefault(shlex.join(found["bytecode"]), []).append(node)
    for command, names in where.items():
        yield Finding(
            True,
            f"workers start slowly {_where(names)}: Python compiles the libraries in each of them, because it does not "
            "keep the bytecode (PYTHONDONTWRITEBYTECODE is set, or the folder is read-only). "
            f"Compile them once, with write access: {command}",
        )


def same_versions(places: Mapping[str, Mapping[str, str]]) -> Finding:
    """Compare the versions of all nodes and of the client (``HERE``)."""
    other = []
    for name in places[HERE]:
        by_version: dict[str, list[str]] = {}
        for place, versions in places.items():
            by_version.setdefault(versions.get(name, "unknown"), []).append(place)
        if len(by_version) > 1:
            other.append(f"{name} " + ", ".join(f"{v} {_where(names)}" for v, names in by_version.items()))
    if other:
        return Finding(False, f"versions differ: {'; '.join(other)}")
    equal = ", ".join(f"{name} {text}" for name, text in places[HERE].items())
    return Finding(True, f"versions are equal {_where(list(places))}: {equal}")


def _where(places: list[str]) -> str:
    nodes = [place for place in places if place != HERE]
    here = [HERE] if HERE in places else []
    return " and ".join([*here, *([f"on {', '.join(nodes)}"] if nodes else [])])


def _storage(found: dict[str, Any], folder: Path) -> Finding:
    if found["token"] == folder.name:
        return Finding(True, f"the node reads and writes {folder.parent}")
    return Finding(False, f"the node cannot read files written to {folder} here: {found['token']}")


def _input(found: dict[str, Any], config: RunConfig) -> Finding:
    if isinstance(found["input"], dict):
        return Finding(False, f"the node cannot open input.path: {found['input']['error']}")
    if isinstance(config.input.path, Url):
        return Finding(True, f"{config.input.path} was not tried: jobs need the variables of the environment for it")
    return Finding(True, f"the node can open {config.input.path}")


def _gpu(found: dict[str, Any], config: RunConfig) -> Finding:
    wanted, site = config.executor.device, config.executor.slurm
    asked = wanted == "cuda" or (wanted == "auto" and asks_for_gpus(config.executor))
    if isinstance(found["gpus"], dict):
        return Finding(False, f"torch on the node: {found['gpus']['error']}")
    if not asked:
        return Finding(True, f"no GPU requested; torch on the node sees {len(found['gpus'])}")
    text = f"torch on the node sees {len(found['gpus'])} GPUs ({', '.join(found['gpus']) or 'none'})"
    enough = len(found["gpus"]) >= site.workers_per_job
    hint = "" if enough else f"; expected {site.workers_per_job}, one for each worker of a job (executor.slurm.gres)"
    return Finding(enough, text + f", CUDA_VISIBLE_DEVICES is {found['visible']}" + hint)
