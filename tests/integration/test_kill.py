"""Kill clients and workers, interrupt runs as a terminal or a batch system does: nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import kill
import pytest
import yaml
from _faults import Case
from builders import complete, config_of, hashes, make_run, ramp

from ssi_pipeline.run import verify
from ssi_pipeline.storage.state.ledger import read_records

pytestmark = pytest.mark.timeout(600)  # several whole runs each

WORKER_KILLS = 1
"""benchmarks/kill.py kills ten, in runs of longer tiles."""


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], float]:
    """Return the configuration, the image of an undisturbed run, and its duration in seconds."""
    # without the baseline and the extended metrics, which take longer than so short a training; benchmarks/kill.py
    # computes them
    config = kill.write_case(tmp_path_factory.mktemp("kill"), select="network", steps=12)
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "quality": {"extended": False}}))
    expected, seconds = kill.undisturbed(config)
    return config, expected, seconds


@pytest.fixture(autouse=True)
def _afresh(case: tuple[Path, dict[str, str], float]) -> Iterator[None]:
    kill.forget(case[0])
    yield
    kill.forget(case[0])


@pytest.mark.slow
def test_killed_clients(case: tuple[Path, dict[str, str], float]) -> None:
    config, expected, seconds = case
    run = kill.kill_clients(config, expected, seconds, 2, random.Random(1))
    assert run.kills
    assert run.sound
    assert run.same
    assert kill.spent(run) <= kill.allowed(run)
    assert run.again == 0


@pytest.mark.long
@pytest.mark.slow
def test_killed_workers(case: tuple[Path, dict[str, str], float]) -> None:
    config, expected, _ = case
    run = kill.kill_workers(config, expected, WORKER_KILLS, random.Random(2))
    assert len(run.kills) == WORKER_KILLS
    assert run.sound
    assert run.same
    assert run.again == 0


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    "signals",
    [["SIGINT to all", "SIGTERM to the client"], ["SIGTERM to all", "SIGHUP to all"]],
)
def test_stopped_in_order(case: tuple[Path, dict[str, str], float], signals: list[str]) -> None:
    """Ctrl-C goes to all processes of a job, workers included; so does the SIGTERM of a batch system.

    One run is stopped by each of the signals, resumed after each, and then comes to its end.
    """
    config, expected, _ = case
    for whom in signals:
        stop(config, whom)
    assert kill.start(config).wait() == 0
    assert hashes(config.parent / "out.zarr") == expected
    assert set(kill.solved(config).values()) == {1}


def begun(config: Path) -> int:
    """Count how often a tile was begun, by the workers' logs."""
    return Case(config).begun()


def stop(config: Path, whom: str) -> None:
    """Start a client, stop it after at least three more tiles, and assert that nothing was lost."""
    words = config.parent / "words.txt"
    words.write_bytes(b"")
    wanted = len(kill.solved(config)) + 3
    client = kill.start(config)
    until = time.monotonic() + 120
    while len(kill.solved(config)) < wanted and time.monotonic() < until:
        time.sleep(0.05)
    number = getattr(signal, whom.split()[0])
    (os.killpg if whom.endswith("all") else os.kill)(client.pid, number)
    assert client.wait(60) == 130
    said = words.read_text()
    assert "run the same command again to resume" in said
    assert "Traceback" not in said
    assert wanted <= len(kill.solved(config)) < kill.TILES
    # running tiles were finished and recorded: the signal killed no worker
    assert begun(config) == sum(kill.solved(config).values())
    assert kill.unrecorded(config) == 0
    assert kill.ledger_of(config).read_bytes().endswith(b"\n")


def test_a_torn_last_line_is_tolerated(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 64, 64)))
    output = complete(config)
    good = hashes(output)
    ledger = config_of(config).state_path / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:-2]) + lines[-2][:37])
    left = len(list(read_records(ledger)))
    assert left == len(lines) - 2
    complete(config)
    assert hashes(output) == good
    assert verify(config_of(config)).good
    assert len(list(read_records(ledger))) > left


def test_the_benchmark_has_a_short_form(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["kill.py", "--help"])
    with pytest.raises(SystemExit, match=r"^0$"):
        kill.main()
    told = capsys.readouterr().out
    assert "--count" in told
    assert "--short" in told
