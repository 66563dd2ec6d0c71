"""Runs that lose write access: they stop in order, give the reason, and resume."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _faults_storage import no_mounts
from builders import TINY, complete, config_of, hashes, make_run, ramp

SSI = [sys.executable, "-m", "ssi_pipeline.cli"]


def started(config: Path, before: str = "true") -> subprocess.Popen[str]:
    command = f"{before}; exec {shlex.join([*SSI, 'run', str(config)])}"
    return subprocess.Popen(["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stopped(client: subprocess.Popen[str]) -> str:
    """Wait for the end of a run that had begun and stopped; returns its words."""
    try:
        words = client.communicate(timeout=240)[0]
    finally:
        client.kill()
    assert client.returncode in (1, 3), words
    assert "Traceback" not in words
    assert "stopped: " in words.splitlines()[-1]
    return words


def test_a_limit_on_the_size_of_files_stops_the_run_and_names_the_file(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((2, 128, 256)), tiling={"core": 128})
    words = stopped(started(config, "ulimit -f 20"))  # of 1024 bytes; a block has 32 kB
    assert "the limit on the file size is reached (File too large)" in words
    assert f"{tmp_path}/out.zarr/0/c/0/0/0" in words
    assert "ulimit -f" in words
    assert "free some space" not in words
    complete(config)
    undisturbed = make_run(tmp_path / "undisturbed", ramp((2, 128, 256)), tiling={"core": 128})
    assert hashes(tmp_path / "out.zarr") == hashes(complete(undisturbed))


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own."""
    reason = no_mounts()
    if reason:
        pytest.skip(reason)
    folder = tmp_path / "mount"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "ssi-test", str(folder)], check=True)
    yield folder / "state"
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def slow_run(folder: Path, state: Path, **sections: Any) -> Path:
    training = {**TINY["training"], "steps": 40}
    return make_run(
        folder,
        ramp((4, 64, 64)),
        solver="ssi",
        network=TINY["network"],
        training=training,
        output={"state": str(state)},
        **sections,
    )


def test_a_state_folder_that_turns_read_only_is_the_reason_given(tmp_path: Path, state: Path) -> None:
    """Not the lock that cannot be removed then, nor the ledger that cannot be closed."""
    config = slow_run(tmp_path, state)
    client = started(config)
    ledger = config_of(config).state_path / "ledger.jsonl"
    until = time.monotonic() + 60
    while not (ledger.exists() and b'"solve"' in ledger.read_bytes()) and time.monotonic() < until:
        time.sleep(0.02)
    # what is open stays writable in a bind mount: the whole file system has to turn, as after an error of its disk
    forced = subprocess.run(["mount", "-o", "remount,ro", str(state.parent)], capture_output=True, check=False)
    if forced.returncode:
        subprocess.run(["mount", "--bind", str(state.parent), str(state.parent)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(state.parent)], check=True)
    try:
        words = client.communicate(timeout=120)[0]
    finally:
        if forced.returncode:
            subprocess.run(["umount", "--lazy", str(state.parent)], check=True)
        else:
            subprocess.run(["mount", "-o", "remount,rw", str(state.parent)], check=True)
    assert client.returncode in (1, 3), words
    assert "the file system is read-only" in words
    assert "Traceback" not in words
    assert words.splitlines()[-1].startswith("ssi: stopped: ")
    assert "[Errno 30]" not in words
    assert f"the lock {state / 'lock'} cannot be removed" in words
    complete(config)
