"""cluster/driver.sbatch requeues its job where the same command can succeed, and only there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

DRIVER = Path(__file__).parents[2] / "cluster" / "driver.sbatch"


@pytest.mark.parametrize(
    ("status", "state", "restarts", "again"),
    [
        (0, "RUNNING", 0, False),
        (1, "RUNNING", 0, False),
        (2, "RUNNING", 0, False),
        (3, "RUNNING", 0, True),
        (3, "RUNNING", 2, True),
        (3, "RUNNING", 3, False),
        (3, "COMPLETING", 0, False),
        (4, "RUNNING", 0, False),
        (70, "RUNNING", 0, False),
        (130, "RUNNING", 0, False),  # nobody asked for it before the walltime: Ctrl-C by hand
    ],
)
def test_what_is_put_into_the_queue_again(tmp_path: Path, status: int, state: str, restarts: int, again: bool) -> None:
    programs = {
        "ssi": f"exit {status}",
        "squeue": f"echo {state}",
        "scontrol": f'echo "$@" > {tmp_path}/requeued',
        "sleep": ":",
    }
    for name, line in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    environment["SLURM_RESTART_COUNT"] = str(restarts)
    done = subprocess.run(["bash", str(DRIVER), "run.yaml"], env=environment, check=False)
    assert done.returncode == status
    assert (tmp_path / "requeued").exists() == again
    assert not again or (tmp_path / "requeued").read_text() == "requeue 7\n"
