"""The exit status of every command, for scripts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import SERIAL, complete, config_of, make_run, ramp, write_zarr

from ssi_pipeline.cli import main
from ssi_pipeline.errors import (
    ChannelError,
    ConfigError,
    CorruptDataError,
    ExecutorError,
    GeometryError,
    InputError,
    LockedError,
    LockLostError,
    MissingPackageError,
    OutputError,
    RunChangedError,
    SsiError,
    StoppedError,
    TrainingError,
)
from ssi_pipeline.executors.slurm.commands import SlurmRefusedError, SlurmUnreachableError
from ssi_pipeline.exit_status import ExitStatus
from ssi_pipeline.run.stopped import as_stopped
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.lock import run_lock

READERS = ("status", "verify", "report")


def damaged(folder: Path, planes: int = 2) -> Path:
    """Return a run of 6 tiles a plane, one of which cannot be read."""
    config = make_run(folder, None)
    write_zarr(folder / "in.zarr", ramp((planes, 64, 96)), "zyx", crc=True)
    chunk = folder / "in.zarr" / "c" / str(planes - 1) / "1" / "1"
    broken = bytearray(chunk.read_bytes())
    broken[len(broken) // 2] ^= 1
    chunk.write_bytes(broken)
    return config


def change(config: Path, **sections: Any) -> None:
    document = yaml.safe_load(config.read_text()) | sections
    config.write_text(yaml.safe_dump(document))


def paths_of(config: Path) -> StatePaths:
    return StatePaths(config_of(config).state_path)


def test_the_numbers_never_change() -> None:
    assert {status.name: status.value for status in ExitStatus} == {
        "COMPLETE": 0,
        "FAILED": 1,
        "REFUSED": 2,
        "STOPPED": 3,
        "UNFINISHED": 4,
        "BUG": 70,
        "INTERRUPTED": 130,
        "BROKEN_PIPE": 141,
    }


def test_they_are_documented(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = capsys.readouterr().out
    table = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    for status in ExitStatus:
        assert re.search(rf"^ +{status.value}  {re.escape(status.meaning[:20])}", shown, re.MULTILINE)
        assert re.search(rf"^\| {status.value} \|", table, re.MULTILINE)


def test_every_error_has_one() -> None:
    expected: dict[type[SsiError], int] = {
        ConfigError: 2,
        InputError: 2,
        GeometryError: 2,
        OutputError: 2,
        RunChangedError: 2,
        CorruptDataError: 2,
        TrainingError: 2,
        LockedError: 3,
        LockLostError: 3,
        ChannelError: 1,
        StoppedError: 3,
        ExecutorError: 3,
        MissingPackageError: 2,
        SlurmRefusedError: 2,
        SlurmUnreachableError: 3,
    }
    assert {kind: kind("x").exit_status for kind in expected} == expected


def test_in_the_middle_of_a_run_what_counts_is_whether_the_same_command_helps() -> None:
    for outside in (OSError(28, "No space left"), OutputError("x"), InputError("x"), LockLostError("x")):
        assert as_stopped(outside).exit_status == 3
    assert as_stopped(ChannelError("x")).exit_status == 1
    assert as_stopped(MissingPackageError("x")).exit_status == 2
    assert as_stopped(as_stopped(SlurmRefusedError("x"))).exit_status == 2


def test_complete(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 64, 96)))
    assert main(["plan", str(config)]) == 0
    assert main(["preview", str(config), "--tiles", "2", "--output", str(tmp_path / "preview")]) == 0
    assert main(["run", str(config)]) == 0
    for command in READERS:
        assert main([command, str(config)]) == 0
    assert main(["export", str(config), "--output", str(tmp_path / "table.csv")]) == 0


def test_complete_in_parts(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 64, 96)), tiling={"core": 32, "blend": 4})
    assert main(["run", str(config), "--part", "1/2"]) == 0
    assert main(["status", str(config)]) == 4
    assert main(["verify", str(config)]) == 4
    assert main(["run", str(config), "--finish"]) == 4
    assert main(["run", str(config), "--part", "2/2"]) == 0
    assert main(["status", str(config)]) == 4  # the finish is left
    assert main(["run", str(config), "--finish"]) == 0
    assert main(["status", str(config)]) == 0


def test_failed(tmp_path: Path) -> None:
    config = damaged(tmp_path)
    assert main(["run", str(config)]) == 1
    assert main(["run", str(config)]) == 1
    assert main(["status", str(config)]) == 1
    assert main(["verify", str(config)]) == 4  # what is there is good
    assert main(["report", str(config)]) == 0


def test_failed_in_parts(tmp_path: Path) -> None:
    config = damaged(tmp_path)
    assert sorted(main(["run", str(config), "--part", f"{k}/2"]) for k in (1, 2)) == [0, 1]
    assert main(["run", str(config), "--finish"]) == 1


def test_data_that_are_bad(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 64, 96)))
    output = complete(config)
    shard = output / "0" / "c" / "0" / "0" / "1"
    shard.write_bytes(bytes(shard.stat().st_size))
    assert main(["verify", str(config)]) == 1
    assert main(["status", str(config)]) == 4
    assert main(["run", str(config)]) == 0
    assert main(["status", str(config)]) == 0


def test_refused(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 64, 96)))
    for arguments in (
        ["status", str(config)],  # nothing has been run
        ["verify", str(config)],
        ["report", str(config)],
        ["export", str(config), "--output", str(tmp_path / "t.csv")],
        ["run", str(config), "--finish"],
        ["run", str(config), "--part", "2/1"],
        ["run", str(config), "--part", "1/100000000000000000000000"],
        ["cluster", "script", str(config)],
        ["cluster", "check", str(config)],
        ["preview", str(config), "--set", "solver=2001-99-99", "--output", str(tmp_path / "preview")],
        ["benchmark", "--methods", "nothing", "--output", str(tmp_path / "b")],
        ["demo", "--output", str(config)],
        ["init", str(config)],
        ["init", str(tmp_path / "none" / "run.yaml")],
        ["plan", str(tmp_path / "none.yaml")],
        ["plan", str(tmp_path / ("n" * 300))],
        ["plan", str(tmp_path)],
    ):
        assert main(arguments) == 2, arguments


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "--pilot", "-1", "x"],
        ["plan", "--pilot", "9" * 5000, "x"],
        ["status", "--every", "nan", "x"],
        ["benchmark", "--workers", "0"],
        ["cluster", "check", "--nodes", "0", "x"],
        ["fly"],
        [],
    ],
)
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_stopped_by_another_client(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 64, 96)))
    complete(config)
    with run_lock(paths_of(config).lock):
        assert main(["run", str(config)]) == 3
        assert main(["run", str(config), "--finish"]) == 3
        assert main(["status", str(config)]) == 4


def test_stopped_by_the_workers(tmp_path: Path) -> None:
    executor = {"kind": "dask", "address": "nowhere://127.0.0.1:9"}
    config = make_run(tmp_path, ramp((1, 64, 96)), executor=executor)
    assert main(["run", str(config)]) == 3
    change(config, executor=SERIAL)
    assert main(["run", str(config)]) == 0


def test_stopped_by_storage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file stands where the client writes the metrics: the system refuses that when the tiles are done."""
    config = make_run(tmp_path, ramp((1, 64, 96)))
    output = complete(config)
    next((output / "0" / "c").rglob("2")).unlink()
    shutil.rmtree(output / "quality")
    (output / "quality").touch()
    capsys.readouterr()
    assert main(["run", str(config)]) == 3
    assert "Not a directory" in capsys.readouterr().err
    (output / "quality").unlink()
    assert main(["run", str(config)]) == 0


def test_progress_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """A folder stands where the client writes how far it is."""
    config = make_run(tmp_path, ramp((1, 64, 96)))
    output = complete(config)
    paths_of(config).progress.mkdir()
    next((output / "0" / "c").rglob("2")).unlink()
    assert main(["run", str(config)]) == 0


@pytest.mark.long
def test_a_screen_on_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    """As of a job whose log is in a home folder that is full."""
    config = make_run(tmp_path, ramp((1, 64, 96)))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "ssi_pipeline.cli", "run", str(config)], stderr=full, check=False)
    assert done.returncode == 0
    assert main(["verify", str(config)]) == 0


def test_a_channel_that_cannot_be_prepared_is_a_failure(tmp_path: Path) -> None:
    config = damaged(tmp_path, planes=1)  # the sample that the channel is calibrated on cannot be read
    assert main(["run", str(config)]) == 1
    assert main(["run", str(config)]) == 1
    assert main(["status", str(config)]) == 1
