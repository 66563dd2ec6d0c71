"""Runs on machines with GPUs, simulated without one: assignment of cards, and workers that do not qualify.

Nothing here computes on a GPU; tests/gpu does, where there is one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _inject
import dask
import pytest
import zarr
from builders import SERIAL, TINY, complete, config_of, go, make_run, ramp, records

from ssi_pipeline.config import ExecutorConfig
from ssi_pipeline.errors import ConfigError, RunChangedError, StoppedError
from ssi_pipeline.executors import local, open_executor
from ssi_pipeline.executors.gpus import sharing
from ssi_pipeline.results.status import read_status
from ssi_pipeline.run import failure_budget
from ssi_pipeline.run.planning import describe_plan
from ssi_pipeline.run.prepare import prepare
from ssi_pipeline.storage.state.document import RunDocument, StatePaths
from ssi_pipeline.tasks import RunSpec, attempt

TILES: dict[str, Any] = {"tiling": {"core": {"y": 32, "x": 48}}}
SEEN = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SEEN, "GPU_DEVICE_ORDINAL", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS"):
        monkeypatch.delenv(name, raising=False)


def seen_by_workers(executor: Any) -> list[str | None]:
    """What each connected worker has for CUDA_VISIBLE_DEVICES (getenv: a method of environ would take ours along)."""
    return list(executor._client.run(os.getenv, SEEN[0]).values())


def wait_for(condition: Any, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that do not import torch, which takes seconds, and no tile comes to need it."""
    monkeypatch.setattr(local, "WARM", "ssi_pipeline")


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_with_a_card_each_also_after_one_was_killed(light: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SEEN[0], "4,GPU-8932f937,7")
    section = ExecutorConfig(kind="dask", gpus=2, memory_gib=1)
    with contextlib.closing(open_executor(section, RunSpec("nowhere", "0"))) as opened:
        executor: Any = opened
        assert sorted(map(str, seen_by_workers(executor))) == ["4", "GPU-8932f937"]
        nannies = executor._cluster.workers
        before = {name: nanny.pid for name, nanny in nannies.items()}
        assert len(before) == 2
        os.kill(before[1], signal.SIGKILL)
        wait_for(lambda: nannies[1].pid not in (None, before[1]))
        wait_for(lambda: len(seen_by_workers(executor)) == 2)
        assert sorted(map(str, seen_by_workers(executor))) == ["4", "GPU-8932f937"]
        # one that has gone with its nanny is replaced under its number, and so with its card
        executor._cluster.sync(nannies[0].close)
        wait_for(lambda: executor.completed(0.1) == [] and len(executor._cluster.scheduler_info["workers"]) == 2, 90)
        wait_for(lambda: sorted(map(str, seen_by_workers(executor))) == ["4", "GPU-8932f937"])


@pytest.mark.slow
def test_two_cards_with_two_processes_each(light: None) -> None:
    section = ExecutorConfig(kind="dask", gpus=2, workers_per_gpu=2, memory_gib=1)
    with contextlib.closing(open_executor(section, RunSpec("nowhere", "0"))) as executor:
        assert Counter(seen_by_workers(executor)) == {"0": 2, "1": 2}
        assert executor.slots == 4


def test_processors_see_no_card_and_tell_why_they_are_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SEEN[0], "4,6")
    section = ExecutorConfig(kind="dask", workers=1, memory_gib=1, device="cpu")
    with contextlib.closing(open_executor(section, RunSpec("nowhere", "0"))) as executor:
        assert seen_by_workers(executor) == ["-1"]
        (ability,) = executor.abilities(lambda: False)
        assert ability.gpu == ""
        assert ability.problem in ("torch is built without CUDA", "torch sees no GPU; CUDA_VISIBLE_DEVICES is '-1'")
        assert not executor.exclude(ability.place)  # it was the only one


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the client believe that torch can use GPUs, and workers load the injection."""
    monkeypatch.setattr(sharing, "torch_build", lambda: "cuda")
    with dask.config.set({"distributed.client.preload": ["_inject"]}):
        yield


@pytest.mark.slow
def test_a_worker_that_cannot_is_left_alone_and_no_tile_is_blamed(
    tmp_path: Path, pretended: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SSI_INJECT", json.dumps({"unfit": "1", "sleep": 0.1}))
    monkeypatch.setattr(failure_budget, "TILE_ATTEMPTS", 1)
    monkeypatch.setattr(failure_budget, "WORKER_LOSSES", 1)
    executor = {"kind": "dask", "device": "auto", "gpus": 2, "memory_gib": 1}
    config = make_run(tmp_path, ramp((3, 96, 96)), solver="wiener", executor=executor, **TILES)
    output = complete(config)
    log = (config_of(config).state_path / "run.log").read_text()
    assert log.count("excluded: it cannot compute on cuda in float32: cannot use the GPU") == 1
    assert "2 worker(s), dask executor sharing GPU 0, 1; computing on cuda in float32" in log
    solved = records(config, "solve")
    assert {record.status for record in solved} == {"done"}
    assert len({record.host for record in solved}) == 1
    assert RunDocument.load(StatePaths(config_of(config).state_path).document).basis["compute"]["device"] == "cuda"
    provenance: Any = zarr.open_group(output, mode="r").attrs["ssi_pipeline"]
    assert provenance["provenance"]["basis"]["compute"] == {"device": "cuda", "precision": "float32"}
    edit(config, executor={**executor, "device": "cpu", "gpus": None})
    with pytest.raises(RunChangedError, match=r"compute.device: cuda -> cpu"):
        go(config)


def edit(config: Path, **sections: Any) -> None:
    """Write the configuration again, with other sections."""
    import yaml

    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **sections}))


@pytest.mark.slow
def test_a_run_that_no_worker_can_compute_stops_before_anything_is_mixed(tmp_path: Path, pretended: None) -> None:
    """torch has no GPU here; the precision is resolved by the workers."""
    if gpu_here():
        pytest.skip("there is a GPU here")
    executor = {"kind": "dask", "device": "auto", "gpus": 1, "memory_gib": 1}
    config = make_run(tmp_path, ramp((1, 64, 64)), solver="ssi", executor=executor, **TINY)
    with pytest.raises(StoppedError, match=r"no worker can compute on a GPU.*torch.*executor.device: cpu"):
        go(config)
    assert not records(config, "solve")
    assert "compute" not in json.loads((config_of(config).state_path / "run.json").read_text())["basis"]


def gpu_here() -> bool:
    import torch

    return torch.cuda.is_available()


def basis(config: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((config_of(config).state_path / "run.json").read_text())
    return dict(document["basis"])


def rewrite(config: Path, compute: dict[str, str] | None) -> None:
    """Have the run's document say that it is computed on this; None: as earlier releases wrote it."""
    path = config_of(config).state_path / "run.json"
    document = json.loads(path.read_text())
    document["basis"].pop("compute", None)
    if compute is not None:
        document["basis"]["compute"] = compute
    path.write_text(json.dumps(document))


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """A run on the CPU of which one tile is to be done again."""
    config = make_run(tmp_path, ramp((1, 64, 96)), solver="wiener", executor={**SERIAL, "device": "auto"}, **TILES)
    document = config_of(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "torch_build", lambda: "")  # whatever this machine has
        complete(config)
    for path in sorted((document.output.path / "0").rglob("c/**/*")):
        if path.is_file():
            path.unlink()
            break
    return config


def test_what_the_first_start_takes_is_recorded_and_shown(half: Path) -> None:
    assert basis(half)["compute"] == {"device": "cpu", "precision": "float32"}
    rows = dict(describe_plan(prepare(config_of(half)), None))
    assert rows["device"] == "cpu in float32 (settled at the first start)"
    complete(half)


def test_another_kind_of_device_is_refused_with_what_to_do(half: Path) -> None:
    edit(half, executor={**SERIAL, "device": "cuda"})
    with pytest.raises(RunChangedError, match=r"compute.device: cpu -> cuda\n.*restore these to resume, or start over"):
        go(half)


def test_a_run_begun_on_a_gpu_is_not_gone_on_with_on_a_processor(half: Path) -> None:
    if gpu_here():
        pytest.skip("there is a GPU here")
    rewrite(half, {"device": "cuda", "precision": "bfloat16"})
    before = len(records(half, "solve"))
    with pytest.raises(
        StoppedError, match=r"no worker can compute on cuda in bfloat16, which this run requires: .*torch "
    ):
        go(half)
    assert len(records(half, "solve")) == before  # no tile is blamed


def test_what_needs_no_gpu_is_finished_without(tmp_path: Path) -> None:
    """The tiles are there; a block of theirs has to be stitched again."""
    tiling = {"core": {"y": 32, "x": 48}, "blend": 4}
    output = {"path": "out.zarr", "keep_scratch": True}
    executor = {**SERIAL, "device": "auto"}
    config = make_run(tmp_path, ramp((1, 64, 96)), solver="wiener", executor=executor, tiling=tiling, output=output)
    block = next(path for path in sorted((complete(config) / "0").rglob("c/**/*")) if path.is_file())
    block.unlink()
    rewrite(config, {"device": "cuda", "precision": "float32"})
    before = len(records(config, "solve"))
    complete(config)
    assert block.exists()
    assert len(records(config, "solve")) == before


def test_a_run_begun_on_the_cpu_stays_there_where_a_gpu_is(
    half: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sharing, "torch_build", lambda: "cuda")
    monkeypatch.setenv(SEEN[0], "0")
    complete(half)
    log = (config_of(half).state_path / "run.log").read_text()
    assert "GPU 0 of this machine: not used (this run was started on the CPU" in log
    assert {record.device for record in records(half, "solve")} == {"cpu"}


def test_a_run_of_an_earlier_release_goes_on_where_its_tiles_were_computed(
    half: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(half, None)
    monkeypatch.setattr(sharing, "torch_build", lambda: "cuda")
    monkeypatch.setenv(SEEN[0], "0")
    complete(half)
    assert basis(half)["compute"] == {"device": "cpu", "precision": "float32"}


def test_a_part_finds_what_the_first_one_settled(tmp_path: Path) -> None:
    from ssi_pipeline.run import finish_parts, run_part
    from ssi_pipeline.storage.state.parts import Part

    config = make_run(tmp_path, ramp((1, 64, 96)), solver="wiener", executor={**SERIAL, "device": "auto"}, **TILES)
    first = run_part(config_of(config), Part(2, 1))
    assert first.complete
    settled = basis(config)["compute"]
    assert run_part(config_of(config), Part(2, 2)).complete
    assert finish_parts(config_of(config)).complete
    assert basis(config)["compute"] == settled


def test_a_gpu_that_is_asked_for_and_not_there_leaves_nothing_behind(tmp_path: Path) -> None:
    if gpu_here():
        pytest.skip("there is a GPU here")
    config = make_run(tmp_path, ramp((1, 64, 64)), solver="wiener", executor={**SERIAL, "device": "cuda"})
    with pytest.raises(ConfigError, match=r"executor.device is cuda, but "):
        go(config)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.zarr", "run.yaml"]


def test_the_injection_is_there() -> None:
    assert "unfit" in str(_inject.__doc__)


def test_a_tile_that_always_kills_the_context_of_its_gpu_is_set_aside_by_calls_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call ends with the process that can compute no more, and the next one begins with the same tile."""
    config, steps = make_run(tmp_path, ramp((2, 32, 32))), attempt.STEPS["solve"]

    def cursed(context: Any, job: Any, data: Any) -> Any:
        if job.index == 0:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return steps.compute(context, job, data)

    with monkeypatch.context() as patched:
        patched.setattr(failure_budget, "WORKER_LOSSES", 2)
        patched.setitem(attempt.STEPS, "solve", dataclasses.replace(steps, compute=cursed))
        patched.setattr(attempt, "process_is_lost", lambda: True)
        for _ in range(3):
            with pytest.raises(StoppedError, match="cannot use its GPU any more"):
                go(config)
        outcome = go(config)
    assert (outcome.tiles_done, outcome.tiles_failed) == (1, 1)
    assert [record.status for record in records(config, "solve")] == ["invalid", "invalid", "failed", "done"]
    ((key, error),) = read_status(config_of(config)).failures
    assert key == "solve/0"
    assert "illegal memory access" in error
    complete(config, retry_failed=True)


@pytest.mark.long
def test_a_tile_that_kills_contexts_uses_up_its_workers_and_harms_no_other(
    tmp_path: Path, pretended: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSI_INJECT", json.dumps({"loses": 0}))
    monkeypatch.setattr(failure_budget, "WORKER_LOSSES", 1)
    executor = {"kind": "dask", "device": "cpu", "workers": 1, "memory_gib": 1}
    config = make_run(tmp_path, ramp((3, 32, 32)), executor=executor)
    outcome = go(config)
    assert (outcome.tiles_done, outcome.tiles_failed) == (2, 1)
    (failed,) = (record for record in records(config, "solve") if record.status == "failed")
    assert (failed.index, failed.of_lost_process) == (0, True)
