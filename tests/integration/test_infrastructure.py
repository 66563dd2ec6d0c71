"""Workers that hang, die or are killed by a tile, on a local cluster: losses and their attribution."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import _inject
import pytest
from builders import complete, make_run, ramp
from kill import hashes

from ssi_pipeline.storage.state.ledger import read_records

pytestmark = pytest.mark.timeout(600)  # whole runs, whose workers start several times

WORKERS = {"kind": "dask", "workers": 2, "memory_gib": 2, "device": "cpu"}


def case(folder: Path, **executor: Any) -> Path:
    tiling = {"core": {"y": 32, "x": 48}, "blend": 4}
    return make_run(folder, ramp((2, 96, 96)), solver="wiener", tiling=tiling, executor={**WORKERS, **executor})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    config = case(tmp_path_factory.mktemp("serial"), kind="serial")
    complete(config)
    return hashes(config.parent / "out.zarr")


def disturbed(config: Path, **what: Any) -> tuple[int, str]:
    """Run with an injection; returns exit status and words."""
    done = subprocess.run(
        [sys.executable, "-m", "ssi_pipeline.cli", "run", str(config)],
        env={**os.environ, **_inject.environment(**what)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    # far above the first tile of a worker on a busy machine, which 8 s were not
    status, words = disturbed(case(tmp_path, tile_limit_s=20), hang=5)
    assert status == 0, words
    assert words.count("solve/5 lost (1 of 3)") == 1
    assert "(limit 20 s)" in words
    assert hashes(tmp_path / "out.zarr") == undisturbed


@pytest.mark.long  # tests/contract/test_executors.py has it too
@pytest.mark.slow
def test_a_tile_that_kills_its_workers_is_set_aside_last_and_alone(tmp_path: Path) -> None:
    status, words = disturbed(case(tmp_path), poison=5, worker_losses=2)
    assert status == 1, words
    records = [r for r in read_records(tmp_path / "out.zarr.run" / "ledger.jsonl") if r.kind == "solve"]
    assert {r.index for r in records if r.status == "done"} == set(range(12)) - {5}
    failed = [r for r in records if r.status == "failed"]
    assert [r.index for r in failed] == [5]
    assert "3 times" in str(failed[0].error)
    assert records[-1] is failed[0]  # the others did not wait for it


@pytest.mark.long
@pytest.mark.slow
def test_workers_that_die_at_random_change_nothing(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    """distributed.chaos: each worker ends after a few seconds, whatever it does; tried again while none happens to."""
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        status, words = disturbed(case(folder), chaos="4 s", sleep=0.7, worker_losses=20)
        assert status == 0, words
        assert hashes(folder / "out.zarr") == undisturbed
        if " lost (" in words:
            return
    pytest.fail("no worker died in four runs")


@pytest.mark.long
@pytest.mark.slow
def test_a_process_that_can_use_its_gpu_no_more_is_replaced(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    """Of one worker: all tiles after the fifth would fail in the same process."""
    status, words = disturbed(case(tmp_path, workers=1), lost=5, tile_attempts=1)
    assert status == 0, words
    assert (tmp_path / "out.zarr.run" / "lost").exists()
    assert words.count("is replaced: after an error it cannot use its GPU any more") == 1
    assert hashes(tmp_path / "out.zarr") == undisturbed


@pytest.mark.long
@pytest.mark.slow
def test_a_machine_whose_mount_is_gone_costs_the_tile_no_try(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    status, words = disturbed(case(tmp_path), stale=5, tile_attempts=1)
    assert (tmp_path / "out.zarr.run" / "stale").exists()
    assert status == 0, words
    assert hashes(tmp_path / "out.zarr") == undisturbed
