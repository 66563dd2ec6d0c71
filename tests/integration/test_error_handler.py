"""Every command that fails prints a reason, returns a status, and shows no traceback."""

from __future__ import annotations

import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import SERIAL, complete, config_of, hashes, make_run, ramp

from ssi_pipeline import __version__
from ssi_pipeline.cli import main
from ssi_pipeline.commands import many as commands
from ssi_pipeline.error_handler import visible

SSI = [sys.executable, "-m", "ssi_pipeline.cli"]


def breaks(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_fault_of_ours_says_so_and_where_all_about_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_run(tmp_path, ramp((1, 64, 96)))
    complete(config)
    capsys.readouterr()
    secret = "s3cr3tValue0123456789"
    monkeypatch.setattr(
        sys.modules["ssi_pipeline.run.checks.verify"],
        "check_all",
        breaks(ZeroDivisionError(f"https://me:{secret}@host/x")),
    )
    assert main(["verify", str(config)]) == 70
    said = capsys.readouterr().err
    assert said.startswith("ssi: internal error (a bug in ssi): ZeroDivisionError")
    assert f"version {__version__}" in said
    assert "please report it" in said
    assert "Traceback" not in said
    (kept,) = (config_of(config).state_path / "logs").glob("bug-*.log")
    assert str(kept) in said
    assert "Traceback (most recent call last)" in kept.read_text()
    assert f"ssi_pipeline {__version__}, Python {sys.version.split()[0]}" in kept.read_text()
    assert secret not in said + kept.read_text()


def test_without_a_run_it_is_in_the_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(commands, "load_config", breaks(KeyError("x")))
    assert main(["plan", str(make_run(tmp_path, None))]) == 70
    (kept,) = (tmp_path / "temporary").glob("bug-*.log")
    assert str(kept) in capsys.readouterr().err


@pytest.mark.parametrize("how", ["option", "variable", "neither"])
def test_the_traceback_is_shown_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    monkeypatch.setenv("SSI_DEBUG", "1" if how == "variable" else "")
    options = ["--traceback"] if how == "option" else []
    assert main(["plan", str(tmp_path / "none.yaml"), *options]) == 2
    said = capsys.readouterr().err
    assert ("Traceback" in said) == (how != "neither")
    assert said.splitlines()[-1].startswith("ssi: configuration")


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (MemoryError("Unable to allocate 3 PiB"), 3, "out of memory: use a machine"),
        (RecursionError("maximum recursion depth exceeded"), 70, "internal error (a bug in ssi): RecursionError"),
        (OSError(5, "Input/output error", "/data/x"), 3, "Input/output error: '/data/x'"),
        (PermissionError(13, "Permission denied", "/data/x"), 2, "Permission denied"),
        (BrokenPipeError(32, "Broken pipe"), 3, "Broken pipe"),  # another pipe than its output
        (TimeoutError(), 3, "TimeoutError"),
    ],
)
def test_what_the_system_says_is_told_apart(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    status: int,
    words: str,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(commands, "load_config", breaks(error))
    assert main(["plan", str(make_run(tmp_path, None))]) == status
    assert words in capsys.readouterr().err


def test_control_characters_in_a_name_do_nothing_to_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(tmp_path / "a\x1b[2J\udcff.yaml")]) == 2
    said = capsys.readouterr().err
    assert "a\\x1b[2J\\udcff.yaml not found" in said
    assert visible("µ\n\t\x9b") == "µ\n\t\\x9b"


def test_what_stands_in_brackets_is_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path, ramp((1, 64, 96)))
    complete(config)
    report = tmp_path / "[bold] :smile: [red].html"
    assert main(["report", str(config), "--output", str(report)]) == 0
    assert capsys.readouterr().out == f"wrote {report}\n"


ALL_COMMANDS = """
import sys
from ssi_pipeline.cli import main

_, config, preview = sys.argv
for command in ("plan", "run", "run", "status", "verify", "report"):
    assert main([command, config]) == 0
assert main(["preview", config, "--tiles", "1", "--output", preview]) == 0
"""
"""In one process: its streams and its arguments are what is asked about, and one import of torch is enough."""


@pytest.mark.long
def test_a_terminal_that_knows_ascii_alone(tmp_path: Path) -> None:
    """The strictest there is: neither Python's UTF-8 mode nor another locale helps."""
    folder = tmp_path / "µm ☃"
    config = make_run(folder, ramp((1, 64, 96)))
    environment = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii", "LC_ALL": "POSIX"}
    done = subprocess.run(
        [sys.executable, "-c", ALL_COMMANDS, str(config), str(folder / "p")],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).isascii()
    assert b"Traceback" not in done.stderr
    assert b"\\udcc2\\udcb5m" in done.stdout  # bytes of a name that this locale cannot read


@pytest.mark.parametrize("arguments", [["status"], ["plan"], ["--help"]])
def test_a_reader_that_goes_away(tmp_path: Path, arguments: list[str]) -> None:
    config = make_run(tmp_path, ramp((1, 64, 96)))
    complete(config)
    read, write = os.pipe()
    os.close(read)
    options = [] if arguments == ["--help"] else [str(config)]
    done = subprocess.run([*SSI, *arguments, *options], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


# --- signals


def slow(folder: Path) -> Path:
    """Return a run of five tiles that take some tenths of a second each."""
    training = {"steps": 60, "patch": 32, "batch": 1, "attempts": 1, "select": "network"}
    network = {"width": 4, "levels": 2}
    executor = {**SERIAL, "threads": 1}
    return make_run(
        folder,
        ramp((5, 48, 48)),
        solver="ssi",
        tiling={"core": 64},
        training=training,
        network=network,
        executor=executor,
    )


def begun(config: Path, terminal: int | None = None) -> None:
    """Wait for the first tile, and read the terminal, on which the program would block otherwise."""
    until = time.monotonic() + 100
    ledger = config_of(config).state_path / "ledger.jsonl"
    while time.monotonic() < until:
        if ledger.exists() and b"solve" in ledger.read_bytes():
            return
        if terminal is not None and select.select([terminal], [], [], 0)[0]:
            os.read(terminal, 65536)
        time.sleep(0.02)
    raise AssertionError("no tile was solved within 100 s")


@pytest.mark.parametrize(
    "closed", [*(pytest.param(c, marks=pytest.mark.long) for c in (">&-", ">&- 2>&-")), "<&- >&- 2>&-"]
)
def test_streams_that_are_closed_are_no_fault_and_no_place_for_our_files(tmp_path: Path, closed: str) -> None:
    """A ledger that got the number of standard output would hold what libraries print."""
    config = make_run(tmp_path, ramp((1, 64, 96)))
    start = "import os, sys; from ssi_pipeline.cli import main; s = main(); os.write(1, b'printed'); sys.exit(s)"
    for arguments in (["run", str(config)], ["status", str(config)], ["schema"], ["--help"]):
        words = shlex.join([sys.executable, "-c", start, *arguments])
        done = subprocess.run(["sh", "-c", f"{words} {closed}"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert not [p for p in files if b"printed" in p.read_bytes()]


def test_a_terminal_that_is_closed_stops_a_run_in_order(tmp_path: Path) -> None:
    """A real terminal: the system sends SIGHUP, and refuses what is written to it from then on."""
    expected = hashes(complete(slow(tmp_path / "whole")))
    config = slow(tmp_path / "closed")
    process, terminal = pty.fork()
    if process == 0:
        os.execv(SSI[0], [*SSI, "run", str(config)])
    try:
        begun(config, terminal)
    finally:
        os.close(terminal)
        _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    log = (config_of(config).state_path / "run.log").read_text()
    assert "run the same command again to resume" in log
    assert main(["status", str(config)]) == 4
    assert main(["run", str(config)]) == 0
    assert hashes(config_of(config).output.path) == expected


@pytest.mark.long
def test_under_nohup_it_goes_on(tmp_path: Path) -> None:
    config = slow(tmp_path)
    words = (tmp_path / "words.txt").open("wb")
    with words:
        client = subprocess.Popen(["nohup", *SSI, "run", str(config)], stdout=words, stderr=words)
    begun(config)
    client.send_signal(signal.SIGHUP)
    assert client.wait(100) == 0
    assert main(["status", str(config)]) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_outside_of_a_run_ends_a_command_with_130(tmp_path: Path, number: signal.Signals) -> None:
    config = make_run(tmp_path, ramp((1, 64, 96)))
    complete(config)
    state = config_of(config).state_path
    ledger = state / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().splitlines(keepends=True)[0])  # there is something to wait for
    command = [*SSI, "status", "--watch", "--every", "0.2", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline()
        watcher.send_signal(number)
        try:
            _, error = watcher.communicate(timeout=60)
        finally:
            watcher.kill()  # one that does not end would be found by a test that comes later
    assert (watcher.returncode, error) == (130, b"")
