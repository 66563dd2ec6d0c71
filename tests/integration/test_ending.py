"""The end of a run: summary on screen and in the log, and the user's notification command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from builders import SERIAL, TINY, complete, config_of, go, make_run, ramp, write_zarr
from numpy.typing import NDArray

from ssi_pipeline.cli import main
from ssi_pipeline.report import write_report
from ssi_pipeline.run import run
from ssi_pipeline.storage.state.document import RunDocument, StatePaths
from ssi_pipeline.storage.state.lock import is_locked

SSI = [sys.executable, "-m", "ssi_pipeline.cli"]
DUMP = "env | grep ^SSI_ | sort > env.txt"


def with_damage(folder: Path, **sections: Any) -> Path:
    """A run of 12 tiles, one of which cannot be read."""
    config = make_run(folder, None, **sections)
    write_zarr(folder / "in.zarr", ramp((2, 64, 96)), "zyx", crc=True)
    chunk = folder / "in.zarr" / "c" / "1" / "0" / "0"
    damaged = bytearray(chunk.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    chunk.write_bytes(damaged)
    return config


def log_of(config: Path) -> str:
    return (config_of(config).state_path / "run.log").read_text()


def environment(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def long_run(folder: Path, image: NDArray[Any], **sections: Any) -> Path:
    """A run whose tiles take long enough to be caught at it."""
    training = {**TINY["training"], "steps": 100}
    return make_run(folder, image, solver="ssi", network=TINY["network"], training=training, **sections)


def solving(config: Path) -> int:
    """Wait until some worker says that it solves a tile; returns its process."""
    until = time.monotonic() + 180
    while time.monotonic() < until:
        for path in (config_of(config).state_path / "logs").glob("*.log"):
            if "solve/" in path.read_text():
                return int(path.stem.rsplit("-", 1)[1])
        time.sleep(0.02)
    raise AssertionError("no worker has begun a tile within three minutes")


# the summary


def test_a_run_that_is_complete_says_so_in_a_few_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path, ramp((2, 64, 96)))
    assert main(["run", str(config)]) == 0
    said = capsys.readouterr().err
    assert "tiles: 12 done (12 by identity), 0 failed, 0 pending" in said
    assert "worker-hours" in said
    assert "GPU" not in said
    *lines, last, hint = said.splitlines()
    assert last == "complete: 12 of 12 tiles done (12 in this call)"
    assert hint.startswith("look at it: `ssi report ")  # advice for who is there: not in the log
    for line in (*lines, last):
        assert line in log_of(config)


def test_failures_are_told_with_their_cause_and_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = with_damage(tmp_path)
    assert main(["run", str(config)]) == 1
    said = capsys.readouterr().err
    assert "tiles: 11 done (11 by identity), 1 failed, 0 pending" in said
    assert "failed (1): CorruptDataError" in said
    assert "(solve/6)" in said
    assert f"to retry: ssi run {config} --retry-failed" in said
    assert len(said.splitlines()) <= 16
    assert f"to retry: ssi run {config} --retry-failed" in log_of(config)


def test_the_work_of_earlier_calls_is_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path, ramp((2, 64, 96)))
    complete(config)
    capsys.readouterr()
    complete(config)
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("compute time: "))
    assert line.endswith("worker-hours (0 in this call)")
    assert not line.startswith("compute time: 0 ")


@pytest.mark.long
@pytest.mark.slow
def test_tasks_that_went_down_with_their_worker_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The workers of a real dask cluster are killed once; its run goes on and says so."""
    executor = {"kind": "dask", "workers": 1, "memory_gib": 2, "device": "cpu"}
    config = long_run(tmp_path, ramp((1, 64, 64)), executor=executor, tiling={"core": 64})
    client = subprocess.Popen([*SSI, "run", str(config)], stderr=subprocess.PIPE, text=True)
    os.kill(solving(config), signal.SIGKILL)
    said = client.communicate(timeout=120)[1]
    assert client.returncode == 0, said
    assert "lost with their workers: 1 tasks, 1 times; 1 done since; last cause: the worker that ran it died" in said


# the command


def hooked(folder: Path, command: str, **rest: Any) -> dict[str, Any]:
    return {"on_end": {"command": f"cd {folder} && {command}", **rest}}


def test_it_learns_how_a_run_ended(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((2, 64, 96)), **hooked(tmp_path, DUMP))
    complete(config)
    assert environment(tmp_path / "env.txt") == {
        "SSI_EXIT_STATUS": "0",
        "SSI_MESSAGE": "complete: 12 of 12 tiles done (12 in this call)",
        "SSI_OUTCOME": "complete",
        "SSI_OUTPUT": str(tmp_path / "out.zarr"),
        "SSI_STATE": str(tmp_path / "out.zarr.run"),
        "SSI_TILES": "12",
        "SSI_TILES_DONE": "12",
        "SSI_TILES_FAILED": "0",
    }
    assert "on_end: exit status 0" in log_of(config)


def test_it_learns_of_failed_tiles(tmp_path: Path) -> None:
    config = with_damage(tmp_path, **hooked(tmp_path, DUMP))
    assert not go(config).complete
    found = environment(tmp_path / "env.txt")
    assert (found["SSI_OUTCOME"], found["SSI_TILES_DONE"], found["SSI_TILES_FAILED"]) == ("incomplete", "11", "1")
    assert found["SSI_EXIT_STATUS"] == "1"


def test_it_learns_of_a_run_stopped_by_an_error(tmp_path: Path) -> None:
    executor = {"kind": "dask", "address": "nowhere://127.0.0.1:9"}
    config = make_run(tmp_path, ramp((2, 64, 96)), executor=executor, **hooked(tmp_path, DUMP))
    assert main(["run", str(config)]) == 3
    found = environment(tmp_path / "env.txt")
    assert (found["SSI_OUTCOME"], found["SSI_EXIT_STATUS"]) == ("failed", "3")
    assert "no dask scheduler answers" in found["SSI_MESSAGE"]
    assert "stopped: no dask scheduler answers" in log_of(config)
    assert "tiles: 0 done, 0 failed, 12 pending" in log_of(config)


def test_it_learns_of_a_run_stopped_by_its_user(tmp_path: Path) -> None:
    config = long_run(tmp_path, ramp((4, 64, 64)), **hooked(tmp_path, DUMP))
    client = subprocess.Popen([*SSI, "run", str(config)], stderr=subprocess.PIPE, text=True)
    solving(config)
    client.send_signal(signal.SIGINT)
    said = client.communicate(timeout=60)[1]
    assert client.returncode == 130, said
    assert environment(tmp_path / "env.txt")["SSI_OUTCOME"] == "interrupted"
    assert "tiles: " in said


def test_a_run_that_is_refused_has_no_end(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((2, 64, 96)))
    complete(config)
    make_run(tmp_path, None, seed=1, **hooked(tmp_path, DUMP))
    assert main(["run", str(config)]) == 2
    assert not (tmp_path / "env.txt").exists()


def test_its_failure_is_one_line_and_its_last_words_are_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "seq 1000; printf 'tell \\033[31mme\\n' >&2; exit 3"
    config = make_run(tmp_path, ramp((2, 64, 96)), **hooked(tmp_path, command))
    assert main(["run", str(config)]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[-3:-1] == ["complete: 12 of 12 tiles done (12 in this call)", "on_end: exit status 3"]
    assert said[-1].startswith("look at it: ")
    kept = [line.split(" ", 2)[2] for line in log_of(config).splitlines() if " on_end: | " in line]
    assert kept == ["on_end: | 997", "on_end: | 998", "on_end: | 999", "on_end: | 1000", "on_end: | tell  [31mme"]


def test_it_is_killed_with_all_that_it_started_when_it_takes_too_long(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((2, 64, 96)), **hooked(tmp_path, "sleep 987 & sleep 988", timeout_s=1))
    started = time.monotonic()
    complete(config)
    assert time.monotonic() - started < 60
    assert "on_end: killed after 1 s (on_end.timeout_s)" in log_of(config)
    time.sleep(0.2)
    sleeping = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"]]
    assert not [line for line in sleeping if line[:1] == ["sleep"] and line[1] in ("987", "988")]


def test_what_it_leaves_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((2, 64, 96)), **hooked(tmp_path, "sleep 20 & true", timeout_s=15))
    complete(config)
    assert "on_end: exit status 0" in log_of(config)


@pytest.mark.parametrize("command", ["no-such-command-anywhere", "kill -9 $$", 'printf "a\\0b\\377"; exit 1'])
def test_nothing_that_it_does_changes_how_the_run_ended(tmp_path: Path, command: str) -> None:
    config = make_run(tmp_path, ramp((2, 64, 96)), **hooked(tmp_path, command))
    assert main(["run", str(config)]) == 0
    assert "on_end: exit status " in log_of(config)


@pytest.mark.long
def test_it_may_start_the_next_command_on_the_same_output(tmp_path: Path) -> None:
    """The lock is given back before: a run started by it is not refused, also not one that starts over."""
    follow = make_run(tmp_path, ramp((2, 64, 96))).rename(tmp_path / "next.yaml")
    command = f"{sys.executable} -m ssi_pipeline.cli run --new {follow}"
    config = make_run(tmp_path, None, **hooked(tmp_path, command, timeout_s=120))
    complete(config)
    (old,) = tmp_path.glob("out.zarr.run.old-*")
    assert "on_end: exit status 0" in (old / "run.log").read_text()
    assert "complete: 12 of 12" in log_of(config)
    assert not is_locked(config_of(config).state_path / "lock")


# secrets

SECRET = "s3cr3tValue0123456789"


def test_secrets_are_nowhere_in_what_a_run_writes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", f"{SECRET}-env")
    command = (
        f"TOKEN={SECRET} ; curl-that-is-not-there -H 'Authorization: Bearer {SECRET}' "
        f"https://hooks.example.org/services/T0/{SECRET} ; echo {SECRET} ; env | grep TOKEN ; exit 1"
    )
    config = with_damage(tmp_path, **hooked(tmp_path, command))
    assert main(["run", str(config)]) == 1
    address = f"tcp://ada:{SECRET}@127.0.0.1:9"
    make_run(tmp_path, None, executor={"kind": "dask", "address": address}, **hooked(tmp_path, command))
    assert main(["run", "--retry-failed", str(config)]) == 3
    make_run(tmp_path, None, executor=SERIAL, **hooked(tmp_path, command))
    assert main(["run", str(config)]) == 1
    write_report(config_of(config), tmp_path / "report.html")
    said = capfd.readouterr()
    assert SECRET not in said.out + said.err
    written = [p for p in tmp_path.rglob("*") if p.is_file() and p != config]
    assert {"run.json", "run.log", "ledger.jsonl", "report.html", "zarr.json"} <= {p.name for p in written}
    assert any(p.parent.name == "logs" for p in written)
    assert [str(p) for p in written if SECRET.encode() in p.read_bytes()] == []
    assert "exit status 1" in log_of(config)


def test_what_a_site_profile_exports_is_not_kept(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 64, 64)))
    complete(config)
    path = StatePaths(config_of(config).state_path).document
    slurm = {"kind": "slurm", "workers": 2, "memory_gib": 2, "slurm": {"prologue": [f"export LICENCE_TOKEN={SECRET}"]}}
    make_run(tmp_path, None, executor=slurm)
    replace(RunDocument.load(path), config=config_of(config)).save(path)
    assert SECRET not in path.read_text()
    assert RunDocument.load(path).config.executor.slurm.prologue == ("export LICENCE_TOKEN=***",)


def test_the_address_of_a_store_is_refused_without_showing_its_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_run(tmp_path, None, input={"path": f"s3://key:{SECRET}@bucket/in.zarr"})
    assert main(["run", str(config)]) == 2
    said = capsys.readouterr().err
    assert "a URL with credentials or a query: expected the plain URL" in said
    assert SECRET not in said


def test_the_api_works_without_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(config_of(with_damage(tmp_path)))
    assert "ssi run CONFIG --retry-failed" in capsys.readouterr().err


def test_the_report_names_the_configuration_in_the_command(tmp_path: Path) -> None:
    config = with_damage(tmp_path)
    assert main(["run", str(config)]) == 1
    assert main(["report", str(config), "--output", str(tmp_path / "report.html")]) == 0
    assert f"ssi run --retry-failed {config}" in (tmp_path / "report.html").read_text()
