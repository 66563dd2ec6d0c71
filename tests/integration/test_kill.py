"""Kill clients and workers, interrupt runs as a terminal or a batch system does: nothing is lost."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from builders import complete, config_of, hashes, make_run, ramp

from ssi_pipeline.run import verify
from ssi_pipeline.storage.state.ledger import read_records

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "kill.py"


def load_benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kill", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kill"] = module
    spec.loader.exec_module(module)
    return module


kill = load_benchmark()

pytestmark = pytest.mark.timeout(600)  # several whole runs each

WORKER_KILLS = 1
"""benchmarks/kill.py kills ten, in runs of longer tiles."""


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], float]:
    """Return the configuration, the image of an undisturbed run, and its duration in seconds."""
    # without the baseline, which takes longer than so short a training; benchmarks/kill.py computes it
    config = kill.write_case(tmp_path_factory.mktemp("kill"), select="network")
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


@pytest.mark.slow
def test_killed_workers(case: tuple[Path, dict[str, str], float]) -> None:
    config, expected, _ = case
    run = kill.kill_workers(config, expected, WORKER_KILLS, random.Random(2))
    assert len(run.kills) == WORKER_KILLS
    assert run.sound
    assert run.same
    assert run.again == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "whom",
    [
        "SIGINT to all",
        "SIGTERM to the client",
        *(pytest.param(whom, marks=pytest.mark.long) for whom in ("SIGTERM to all", "SIGHUP to all")),
    ],
)
def test_stopped_in_order(case: tuple[Path, dict[str, str], float], whom: str) -> None:
    """Ctrl-C goes to all processes of a job, workers included; so does the SIGTERM of a batch system."""
    config, expected, _ = case
    words = config.parent / "words.txt"
    words.write_bytes(b"")
    client = kill.start(config)
    until = time.monotonic() + 120
    while len(kill.solved(config)) < 3 and time.monotonic() < until:
        time.sleep(0.05)
    began, number = time.monotonic(), getattr(signal, whom.split()[0])
    (os.killpg if whom.endswith("all") else os.kill)(client.pid, number)
    assert client.wait(60) == 130
    assert time.monotonic() - began < 25  # the tiles under way, and the workers' end; less than what tiles may take
    said = words.read_text()
    assert "run the same command again to resume" in said
    assert "Traceback" not in said
    done = kill.solved(config)
    assert 3 <= len(done) < kill.TILES
    assert kill.unrecorded(config) == 0  # what was under way came to its end, and was recorded
    assert kill.ledger_of(config).read_bytes().endswith(b"\n")
    assert kill.start(config).wait() == 0
    assert hashes(config.parent / "out.zarr") == expected
    assert set(kill.solved(config).values()) == {1}


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


@pytest.mark.slow
def test_the_benchmark_has_a_short_form() -> None:
    told = subprocess.run([sys.executable, str(BENCHMARK), "--help"], capture_output=True, text=True, check=True)
    assert "--count" in told.stdout
    assert "--short" in told.stdout
