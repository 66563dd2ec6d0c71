"""GPUs available to a process by environment, SLURM and driver, and their assignment to workers."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from builders import make_run, ramp

from ssi_pipeline.config import ExecutorConfig, load_config, parse_config
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.executors.gpus import sharing
from ssi_pipeline.executors.gpus import visible as cards
from ssi_pipeline.executors.gpus.sharing import (
    describe_device,
    describe_idle,
    known_device,
    own_cards,
    refuse_missing_gpu,
)
from ssi_pipeline.executors.gpus.visible import hidden_cards, visible_cards
from ssi_pipeline.executors.machine import worker_count
from ssi_pipeline.executors.slurm.job import job_script
from ssi_pipeline.executors.slurm.worker_preload import choose_gpu

FOUR = "\n".join(f"GPU {n}: NVIDIA H100 80GB HBM3 (UUID: GPU-0000000{n}-aaaa)" for n in range(4))
DIVIDED = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c)
  MIG 3g.20gb     Device  0: (UUID: MIG-14c63f0e-1)
  MIG 3g.20gb     Device  1: (UUID: MIG-14c63f0e-2)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-77777777)
"""

VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "SLURM_STEP_GPUS",
    "SLURM_JOB_GPUS",
    "CUDA_DEVICE_ORDER",
)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine of the test has: no variable, and a torch that could use a GPU."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for module in (cards, sharing):
        monkeypatch.setattr(module, "torch_build", lambda: "cuda")


def driver(folder: Path, listing: str, status: int = 0) -> str:
    """Put an nvidia-smi into a folder that lists these; returns the folder."""
    folder.mkdir(exist_ok=True)
    (folder / "listing").write_text(listing)
    program = folder / "nvidia-smi"
    program.write_text(f'#!/bin/sh\n[ "$1" = -L ] || exit 2\n/bin/cat {folder}/listing\nexit {status}\n')
    program.chmod(0o755)
    return str(folder)


@pytest.fixture
def four(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A machine with four cards, for this process too."""
    path = driver(tmp_path / "four", FOUR)
    monkeypatch.setenv("PATH", path)
    return path


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({"CUDA_VISIBLE_DEVICES": "4,6"}, ("4", "6")),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8932f937, MIG-GPU-8932f937/1/0"}, ("GPU-8932f937", "MIG-GPU-8932f937/1/0")),
        ({"CUDA_VISIBLE_DEVICES": "2,-1,3"}, ("2",)),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "1", "SLURM_JOB_GPUS": "5"}, ("1",)),
        ({"GPU_DEVICE_ORDINAL": "2,3", "SLURM_JOB_GPUS": "6,7"}, ("2", "3")),
        ({"SLURM_JOB_GPUS": "2,3"}, ("2", "3")),
        ({"SLURM_JOB_GPUS": "2,3", "SLURM_STEP_GPUS": "3"}, ("3",)),
        ({}, ("0", "1", "2", "3")),
    ],
)
def test_what_is_visible(environ: dict[str, str], names: tuple[str, ...], four: str) -> None:
    found = visible_cards({"PATH": four, **environ})
    assert found.names == names
    assert bool(found.why) == (not names)


def test_a_job_that_sees_no_more_than_its_own_cards_counts_them_anew(tmp_path: Path) -> None:
    path = driver(tmp_path / "two", "\n".join(FOUR.splitlines()[:2]))
    assert visible_cards({"PATH": path, "SLURM_JOB_GPUS": "6,7"}).names == ("0", "1")


def test_a_divided_card_is_its_parts(tmp_path: Path) -> None:
    path = driver(tmp_path / "mig", DIVIDED)
    assert visible_cards({"PATH": path}).names == ("MIG-14c63f0e-1", "MIG-14c63f0e-2", "1")


@pytest.mark.skipif(any(Path(node).exists() for node in cards._DRIVER), reason="there is a driver here")
def test_why_there_is_none(tmp_path: Path) -> None:
    path = driver(tmp_path / "broken", "NVIDIA-SMI has failed because it couldn't communicate with the driver", 9)
    assert visible_cards({"PATH": path}).why.startswith("nvidia-smi: NVIDIA-SMI has failed")
    assert visible_cards({"PATH": str(tmp_path)}).why == "no GPU is visible here"


def test_a_rocm_build_has_a_variable_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "torch_build", lambda: "hip")
    assert visible_cards({"HIP_VISIBLE_DEVICES": "1,2", "CUDA_VISIBLE_DEVICES": "7"}).names == ("1", "2")
    assert visible_cards({"ROCR_VISIBLE_DEVICES": "5,6"}).environment(1, {}) == {"HIP_VISIBLE_DEVICES": "1"}
    assert hidden_cards() == {"HIP_VISIBLE_DEVICES": "-1"}


@pytest.mark.parametrize(
    ("options", "visible", "names", "workers"),
    [
        ({}, "4,6", ("4", "6"), 2),
        ({"workers_per_gpu": 2}, "4,6", ("4", "6"), 4),
        ({"gpus": 1}, "4,6", ("4",), 1),
        ({"gpus": [6]}, "4,6", ("6",), 1),
        ({"gpus": 3}, None, ("0", "1", "2"), 3),
        ({"gpus": [3, 0], "workers_per_gpu": 3}, None, ("3", "0"), 6),
        ({"gpus": ["GPU-00000001-aaaa"]}, None, ("GPU-00000001-aaaa",), 1),
        ({"workers": 5}, None, ("0", "1", "2", "3"), 5),
        ({"device": "cpu"}, "4,6", (), len(os.sched_getaffinity(0))),
    ],
)
def test_the_cards_and_the_number_of_workers(
    options: dict[str, Any],
    visible: str | None,
    names: tuple[str, ...],
    workers: int,
    four: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    section = ExecutorConfig.model_validate(options)
    assert own_cards(section).names == names
    assert worker_count(section) == workers


@pytest.mark.parametrize(
    ("gpus", "visible", "said"),
    [
        (3, "4,6", r"executor.gpus is 3, but the GPUs visible here are: 4, 6 \(CUDA_VISIBLE_DEVICES is '4,6'\)"),
        ([0], "4,6", r"executor.gpus is \[0\], but the GPUs visible here are: 4, 6"),
        (1, "", r"are: none, CUDA_VISIBLE_DEVICES is ''"),
        (5, None, r"executor.gpus is 5, but the GPUs visible here are: 0, 1, 2, 3$"),
        ([4], None, r"are: 0, 1, 2, 3$"),
    ],
)
def test_cards_that_are_not_visible_are_refused(
    gpus: Any, visible: str | None, said: str, four: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(ConfigError, match=said):
        worker_count(ExecutorConfig.model_validate({"gpus": gpus}))


@pytest.mark.parametrize(
    ("options", "visible", "device"),
    [
        ({}, "0", "cuda"),
        ({}, "", "cpu"),
        ({"kind": "serial"}, "0", "cuda"),
        ({"device": "cpu"}, "0", "cpu"),
        ({"device": "cuda"}, "", "cuda"),
        ({"address": "tcp://127.0.0.1:1"}, "0", None),
        ({"kind": "slurm", "workers": 1, "memory_gib": 1}, "0", None),
        ({"kind": "slurm", "workers": 1, "memory_gib": 1, "slurm": {"gres": "gpu:a100:2"}}, "", "cuda"),
        ({"kind": "slurm", "workers": 1, "memory_gib": 1, "slurm": {"directives": ["--gpus=1"]}}, "", "cuda"),
        ({"kind": "slurm", "workers": 1, "memory_gib": 1, "slurm": {"directives": ["--exclude=gpu7"]}}, "", None),
    ],
)
def test_the_kind_of_device_as_far_as_the_client_knows(
    options: dict[str, Any], visible: str, device: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    section = ExecutorConfig.model_validate(options)
    assert known_device(section) == device
    assert (device or "settled at the first start") in describe_device(section)


def test_a_torch_without_cuda_computes_on_the_processor_and_says_what_is_idle(
    four: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "torch_build", lambda: "")
    section = ExecutorConfig()
    assert known_device(section) == "cpu"
    assert worker_count(section) == len(os.sched_getaffinity(0))
    assert describe_idle(section, "cpu") == "GPU 0, 1, 2, 3 of this machine: not used (torch is built without CUDA)"
    assert describe_idle(section, "cuda") == describe_idle(ExecutorConfig(device="cpu"), "cpu") == ""


@pytest.mark.parametrize("options", [{"device": "cuda"}, {"gpus": 2}])
def test_a_first_start_on_a_gpu_that_is_not_there_is_refused(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "torch_build", lambda: "")
    config = load_config(make_run(tmp_path, ramp((1, 32, 32)), solver="wiener", executor={"kind": "dask"}))
    executor = ExecutorConfig.model_validate(options)
    with pytest.raises(ConfigError, match="but torch is built without CUDA: set executor"):
        refuse_missing_gpu(config.model_copy(update={"executor": executor}))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gpus": 2, "device": "cpu"}, "but device is cpu"),
        ({"gpus": 1, "kind": "serial"}, "kind: serial runs one process on the first GPU of CUDA_VISIBLE_DEVICES"),
        (
            {"workers_per_gpu": 2, "address": "tcp://127.0.0.1:1"},
            "with address, the workers are started elsewhere and get their GPUs there",
        ),
        ({"gpus": 1, "kind": "slurm", "workers": 1, "memory_gib": 1}, "slurm.gres and slurm.workers_per_job"),
        ({"gpus": [0, 0]}, "gpus has a duplicate"),
        ({"gpus": [0, "x"]}, "executor.gpus.1: expected a GPU index, or a name GPU-... or MIG-..."),
        ({"gpus": ["\n0"]}, "executor.gpus.0: a text with the character U+000A"),
        ({"gpus": []}, "executor.gpus: expected an integer above 0 or a list of text, found"),
        ({"gpus": 0}, "found 0"),
    ],
)
def test_options_that_cannot_be_meant(options: dict[str, Any], said: str) -> None:
    document = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {"kind": "identity"}, "executor": options}
    with pytest.raises(ConfigError) as refused:
        parse_config(document)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("name", "environ", "expected"),
    [
        ("ssi0-1", {"SLURM_JOB_GPUS": "2,3"}, {"CUDA_VISIBLE_DEVICES": "3", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}),
        ("ssi0-1", {"GPU_DEVICE_ORDINAL": "0,1"}, {"CUDA_VISIBLE_DEVICES": "1"}),
        ("ssi0-5", {}, {"CUDA_VISIBLE_DEVICES": "1"}),  # a whole node, of which nothing is said
        ("ssi0", {"SLURM_JOB_GPUS": "3"}, {"CUDA_VISIBLE_DEVICES": "3"}),  # another job has card 0
        ("ssi0", {}, {}),
        ("ssi0-0", {"CUDA_VISIBLE_DEVICES": "-1", "SLURM_JOB_GPUS": "3"}, {"CUDA_VISIBLE_DEVICES": "-1"}),
    ],
)
def test_workers_of_a_job_share_its_cards_where_the_site_sets_no_variable(
    name: str, environ: dict[str, str], expected: dict[str, str], four: str
) -> None:
    environment = {"PATH": four, **environ}
    choose_gpu(name, environment)
    assert {key: environment[key] for key in expected} == expected
    assert ("CUDA_VISIBLE_DEVICES" in environment) == ("CUDA_VISIBLE_DEVICES" in expected)


def test_a_plan_says_the_device_without_torch(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 64, 64)), solver="wiener", executor={"kind": "dask", "device": "auto"})
    code = (
        f"import sys; from ssi_pipeline.cli import main; main(['plan', {str(config)!r}]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert "auto, settled at the first start; on this machine: " in done.stdout
    assert done.stdout.split()[-1] == "False"


def test_a_job_of_processors_hides_the_cards() -> None:
    pytest.importorskip("dask_jobqueue")
    from ssi_pipeline.executors.slurm.job import job_options

    for device, hidden in (("cpu", True), ("auto", False)):
        section = ExecutorConfig(kind="slurm", workers=1, memory_gib=1, device=device)
        text = job_script(job_options(section, "x", Path("/state")), "ssi0", "tls://h:1", None)
        assert ("export CUDA_VISIBLE_DEVICES=-1" in text) == hidden


def test_the_processes_of_a_job_have_its_whole_time_to_connect() -> None:
    """Sixty seconds, dask-jobqueue's default, are too few where 64 processes import from a cold network file system."""
    pytest.importorskip("dask_jobqueue")
    from ssi_pipeline.executors.slurm.job import job_options

    for seconds in (600.0, 90.5):
        section = ExecutorConfig(kind="slurm", workers=1, memory_gib=1, slurm={"connect_timeout_s": seconds})
        text = job_script(job_options(section, "x", Path("/state")), "ssi0", "tls://h:1", None)
        assert f"--death-timeout {math.ceil(seconds)}" in text
