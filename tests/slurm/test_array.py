"""Job arrays on a real SLURM: the array, and the merge job that depends on it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import _slurm
import pytest
from builders import beads, complete, config_of, hashes, make_run

from ssi_pipeline.exit_status import ExitStatus
from ssi_pipeline.run import verify
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.parts import Part, part_ledger

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(_slurm.missing() is not None, reason=str(_slurm.missing())),
]

SCRIPTS = Path(__file__).parents[2] / "cluster"


@pytest.fixture(scope="module")
def slurm() -> Iterator[_slurm.Slurm]:
    with _slurm.slurm() as cluster:
        yield cluster


def case(folder: Path, tiles: int = 12) -> Path:
    tiling = {"core": {"y": 32, "x": 32}, "blend": 8}
    image = beads((2, 64, 16 * tiles // 2))
    # quality is not the question here: its metrics invert each tile five times more
    return make_run(folder, image, solver="wiener", tiling=tiling)


def submit(slurm: _slurm.Slurm, config: Path, script: str, *options: str, parts: str = "") -> str:
    command = config.parent / "ssi"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m ssi_pipeline.cli "$@"\n')
    command.chmod(0o755)
    site = [
        f"--chdir={config.parent}",
        "--mem=1G",
        "--cpus-per-task=1",
        "--time=10",
        f"--export=ALL,SSI={command}{parts}",
    ]
    said = slurm.command("sbatch", "--parsable", *site, *options, str(SCRIPTS / script), str(config))
    return said.strip()


def ended(slurm: _slurm.Slurm, job: str) -> set[tuple[str, str]]:
    """Wait for the end of a job; returns state and exit code of each of its tasks."""
    until = time.monotonic() + 200
    while slurm.command("squeue", "-h", "-j", job).strip() and time.monotonic() < until:
        time.sleep(0.3)
    shown = slurm.command("scontrol", "show", "job", job)
    return set(zip(re.findall(r"JobState=(\w+)", shown), re.findall(r"ExitCode=(\S+)", shown), strict=True))


@pytest.mark.long
def test_an_array_then_the_finish(tmp_path: Path, slurm: _slurm.Slurm) -> None:
    expected = hashes(complete(case(tmp_path / "whole")))
    config = case(tmp_path / "parts")
    array = submit(slurm, config, "array.sbatch", "--array=1-3")
    finish = submit(slurm, config, "finish.sbatch", f"--dependency=afterany:{array}")
    assert ended(slurm, finish) == {("COMPLETED", "0:0")}, [p.read_text() for p in config.parent.glob("*.log")]
    assert ended(slurm, array) == {("COMPLETED", "0:0")}
    assert hashes(tmp_path / "parts" / "out.zarr") == expected
    assert verify(config_of(config)).good


def test_a_part_that_is_told_to_end_goes_on_later(tmp_path: Path, slurm: _slurm.Slurm) -> None:
    """The signal that comes before the end of the walltime reaches `ssi`, and the part's ledger is in order."""
    expected = hashes(complete(case(tmp_path / "whole", 96)))
    config = case(tmp_path / "parts", 96)
    ledger = part_ledger(StatePaths(config_of(config).state_path), Part(2, 2))
    array = submit(slurm, config, "array.sbatch", "--array=1-2")
    until = time.monotonic() + 100
    while not (ledger.exists() and ledger.stat().st_size) and time.monotonic() < until:
        time.sleep(0.02)
    slurm.command("scancel", "--batch", "--signal=TERM", f"{array}_2")
    states = ended(slurm, array)
    assert ("COMPLETED", "0:0") in states
    finish = submit(slurm, config, "finish.sbatch")
    if ("FAILED", "130:0") in states:  # it was not done before the signal came
        assert ended(slurm, finish) == {("FAILED", f"{ExitStatus.UNFINISHED}:0")}
        said = "".join(p.read_text() for p in config.parent.glob("ssi-finish-*.log"))
        assert "--part 2/2`" in said
        again = submit(slurm, config, "array.sbatch", "--array=2", parts=",SSI_PARTS=2")
        assert ended(slurm, again) == {("COMPLETED", "0:0")}
        finish = submit(slurm, config, "finish.sbatch")
    assert ended(slurm, finish) == {("COMPLETED", "0:0")}
    assert hashes(tmp_path / "parts" / "out.zarr") == expected
