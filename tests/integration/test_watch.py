"""`ssi status --watch` from another process, during a real run."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from builders import complete, config_of, make_run, ramp

from ssi_pipeline.cli import main


def watcher(config: Path, stdout: int, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-u", "-m", "ssi_pipeline.cli", "status", "--watch", str(config)]
    command += ["--every", options[0]] if options else []
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, env=os.environ | {"TERM": "xterm"})


def cut(config: Path, lines: int) -> bytes:
    """Leave so many lines of the ledger; returns the rest."""
    ledger = config_of(config).state_path / "ledger.jsonl"
    whole = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(whole[:lines]))
    return b"".join(whole[lines:])


def test_lines_follow_the_ledger_until_the_end(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((2, 64, 96)))
    complete(config)
    rest = cut(config, 5)
    process = watcher(config, subprocess.PIPE, "0.1")
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        assert b"tiles: 2 done" in process.stdout.readline()
        with (config_of(config).state_path / "ledger.jsonl").open("ab") as stream:
            stream.write(rest[:-7])
        while b"12 done" not in (line := process.stdout.readline()):
            assert line
        assert b"blocks: 11 of 12" in line
        with (config_of(config).state_path / "ledger.jsonl").open("ab") as stream:
            stream.write(rest[-7:])
        last = process.stdout.read()
        assert process.wait(timeout=30) == 0, process.stderr.read()
    assert b"blocks: 12 of 12" in last
    assert b"all blocks are written" in last
    assert b"\x1b" not in last


@pytest.mark.parametrize("terminal", [True, False])
def test_ctrl_c_ends_it_with_130(tmp_path: Path, terminal: bool) -> None:
    config = make_run(tmp_path, ramp((1, 64, 96)))
    complete(config)
    cut(config, 5)
    read, write = pty.openpty() if terminal else os.pipe()
    process = watcher(config, write, "0.2")
    os.close(write)
    shown = b""
    while shown.count(b"2 done") < 2:  # the picture was drawn again, or a second line was printed
        shown += os.read(read, 4096)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    os.close(read)
    assert process.returncode == 130
    assert error == b""
    assert (b"\x1b" in shown) == terminal


def test_a_run_that_is_started_over_is_read_anew(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 64, 96)))
    complete(config)
    state = config_of(config).state_path
    cut(config, 5)
    process = watcher(config, subprocess.PIPE, "0.1")
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        assert b"2 done" in process.stdout.readline()
        shutil.move(state, tmp_path / "aside")
        time.sleep(0.3)
        shutil.copytree(tmp_path / "aside", tmp_path / "coming")
        (tmp_path / "coming" / "ledger.jsonl").write_bytes(b"")
        (tmp_path / "coming").rename(state)
        while b" 0 done" not in (line := process.stdout.readline()):
            assert line
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130


def test_what_is_no_interval_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, why in (("soon", "found 'soon'"), ("0", "0.1 to 86400 seconds")):
        with pytest.raises(SystemExit, match="2"):
            main(["status", "--watch", "--every", wrong, str(tmp_path / "run.yaml")])
        assert why in capsys.readouterr().err
    assert main(["status", str(tmp_path / "none.yaml"), "--watch"]) == 2
