"""Attribution of a failure to task, worker or machine, by the worker."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ssi_pipeline.errors import DamagedStateError, MissingStateError
from ssi_pipeline.storage.outputs.scratch import ScratchError
from ssi_pipeline.storage.state.records import Failure, Fault, Job
from ssi_pipeline.tasks import RunSpec
from ssi_pipeline.tasks.attempt import failure_of
from ssi_pipeline.tasks.execute import execute


@pytest.mark.parametrize(
    ("problem", "machine"),
    [
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), True),
        (RuntimeError("No CUDA GPUs are available"), True),
        (RuntimeError("CUDA error: out of memory"), False),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), False),
        (ValueError("NaN"), False),
    ],
)
def test_failures_of_a_machine_are_told_from_those_of_a_task(problem: Exception, machine: bool) -> None:
    assert failure_of(problem) == (Failure("machine") if machine else None)


@pytest.mark.parametrize("tile", [errno.EPERM, errno.EIO, errno.ENOSPC])
def test_the_number_of_a_tile_is_no_errno(tile: int) -> None:
    """An OSError of two arguments takes the first for one: tile 28 was a full disk once."""
    assert failure_of(ScratchError(tile, "gone")) == Failure("scratch", tile)


@pytest.mark.parametrize(
    ("problem", "fault"),
    [
        (OSError(errno.EFBIG, "File too large"), "run"),
        (OSError(errno.EROFS, "Read-only file system"), "run"),
        (DamagedStateError("a PSF"), "run"),
        (MissingStateError("a PSF"), "machine"),
    ],
)
def test_what_no_task_can_help_stops_the_run(problem: Exception, fault: Fault) -> None:
    assert failure_of(problem) == Failure(fault)


def test_a_state_folder_that_cannot_be_read_is_the_machines_fault_and_names_it(tmp_path: Path) -> None:
    jobs = [Job("solve", 7), Job("solve", 8)]
    (record,) = execute(RunSpec(str(tmp_path / "away"), "x"), jobs)
    assert record.key == "solve/7"
    assert record.status == "failed"
    assert record.failure == Failure("machine")
    assert record.host
