"""The free memory of GPUs as their driver tells it, in the plan of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import SERIAL, config_of, make_run, ramp

from ssi_pipeline.executors.gpus import memory, sharing, visible
from ssi_pipeline.executors.gpus.memory import free_bytes, free_for_worker, parsed
from ssi_pipeline.run.planning import describe_plan
from ssi_pipeline.run.prepare import prepare

LISTED = "GPU 0: NVIDIA H100 (UUID: GPU-00)\nGPU 1: NVIDIA H100 (UUID: GPU-11)\n"
FREE = "0, GPU-00, 79000\n1, GPU-11, 40000\n"
GIB = 2**30


@pytest.fixture(autouse=True)
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with two GPUs, the second half used by another program; returns the folder of the driver's program."""
    for name in ("CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS"):
        monkeypatch.delenv(name, raising=False)
    for module in (visible, sharing):
        monkeypatch.setattr(module, "torch_build", lambda: "cuda")
    folder = tmp_path / "driver"
    folder.mkdir()
    (folder / "listed").write_text(LISTED)
    (folder / "free").write_text(FREE)
    program = folder / "nvidia-smi"
    program.write_text(f'#!/bin/sh\n[ "$1" = -L ] && exec /bin/cat {folder}/listed\nexec /bin/cat {folder}/free\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def made(folder: Path, solver: str = "ssi", **executor: object) -> Path:
    return make_run(folder, ramp((1, 64, 64)), solver=solver, executor={**SERIAL, "device": "auto", **executor})


def test_the_driver_is_asked_by_number_and_by_name(two: Path) -> None:
    mib = 2**20
    assert free_bytes(str(two)) == {"0": 79000 * mib, "GPU-00": 79000 * mib, "1": 40000 * mib, "GPU-11": 40000 * mib}
    assert free_bytes(str(two / "none")) == {}
    assert parsed("0, GPU-00, [N/A]\nNo devices were found\n\n") == {}


@pytest.mark.parametrize(
    ("workers", "variable", "gib"), [(2, None, 40000 / 1024), (4, None, 20000 / 1024), (3, "0", 79000 / 1024 / 3)]
)
def test_a_worker_has_its_share_of_the_fullest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, variable: str | None, gib: float
) -> None:
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    found = free_for_worker(config_of(made(tmp_path / "run")), workers)
    assert found == pytest.approx(gib * GIB, abs=1)


@pytest.mark.parametrize(
    ("variable", "solver", "device"),
    [("MIG-GPU-8932f937/1/0", "ssi", "auto"), ("0", "identity", "auto"), ("0", "ssi", "cpu")],
)
def test_it_is_not_known_of_a_part_of_a_gpu_and_not_asked_for_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, solver: str, device: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert free_for_worker(config_of(made(tmp_path / "run", solver, device=device)), 1) is None


def test_a_plan_says_what_a_tile_needs_of_a_gpu_beside_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(made(tmp_path / "run"))
    prepared = prepare(config)
    needed = prepared.cost.bytes_device_memory
    assert needed is not None
    rows = dict(describe_plan(prepared, None))
    assert rows["GPU memory"].endswith("per worker, of 41.9 GB free for each")
    monkeypatch.setattr(memory, "free_bytes", lambda _: {})
    assert "not known here" in dict(describe_plan(prepared, None))["GPU memory"]
    on_cpu = prepare(config_of(made(tmp_path / "cpu", device="cpu")))
    assert "GPU memory" not in dict(describe_plan(on_cpu, None))
    assert on_cpu.cost.bytes_device_memory is None
