"""Output of SLURM's commands, simulated by small programs; the real ones are in tests/slurm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ssi_pipeline.executors.slurm import commands as slurm
from ssi_pipeline.executors.slurm.commands import SlurmRefusedError, SlurmUnreachableError

Program = Callable[[str, str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def write(name: str, text: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)

    return write


@pytest.mark.parametrize("says", ["7", "7;cluster", "Welcome to our site\\nYour project has 12 hours left\\n7"])
def test_the_number_of_a_job_is_found_in_what_sbatch_says(program: Program, says: str) -> None:
    program("sbatch", f"printf '{says}\\n'; echo 'lua: partition chosen for you' >&2")
    assert slurm.submit("#!/bin/sh") == "7"


@pytest.mark.parametrize(
    ("says", "error"),
    [
        ("Batch job submission failed: Socket timed out on send/recv operation", SlurmUnreachableError),
        ("Batch job submission failed: Zero Bytes were transmitted or received", SlurmUnreachableError),
        ("Batch job submission failed: Invalid account or account/partition combination", SlurmRefusedError),
        ("Job violates accounting/QOS policy (job submit limit)", SlurmRefusedError),
    ],
)
def test_a_refusal_is_told_from_a_failure_that_passes(program: Program, says: str, error: type[Exception]) -> None:
    program("sbatch", f"echo 'sbatch: error: {says}' >&2; exit 1")
    with pytest.raises(error, match=r"sbatch"):
        slurm.submit("#!/bin/sh")


@pytest.mark.parametrize("ending", ["echo 'Protocol authentication error' >&2; exit 1", "kill -INT $$"])
def test_a_question_that_fails_may_be_asked_again(program: Program, ending: str) -> None:
    program("squeue", ending)
    with pytest.raises(SlurmUnreachableError):
        slurm.queued(["7"])


def test_what_the_script_says_counts_more_than_the_environment(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SBATCH_JOB_NAME", "SBATCH_GPUS_PER_NODE", "SBATCH_ACCOUNT"):
        monkeypatch.setenv(name, "mine")
    program("sbatch", 'test "$SBATCH_JOB_NAME-$SBATCH_GPUS_PER_NODE-$SBATCH_ACCOUNT" = --mine && echo 7')
    assert slurm.submit("#!/bin/sh\n#SBATCH -J ssi-1\n#SBATCH --gpus-per-node=1\n") == "7"


def test_the_queue_is_asked_for_this_user_whatever_the_environment_says(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "somebody")
    program("squeue", 'test "$3" = "$(id -u)" && echo "7|RUNNING|n1|None"')
    assert slurm.queued(["7"])["7"].state == "RUNNING"
