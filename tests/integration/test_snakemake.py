"""``workflows/Snakefile`` with the real Snakemake: a job killed in mid-run goes on, one that is refused does not.

Its pins and ours do not go into one environment (packaging): SSI_SNAKEMAKE names the command of another one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import SERIAL, TINY, beads, complete, hashes, level, make_run, write_zarr
from damage import BLENDED
from plates import write_plate

from ssi_pipeline.storage.state.ledger import read_records

WORKFLOWS = Path(__file__).parents[2] / "workflows"

IMAGE, TILES = beads((1, 32, 256)), 8
"""Tiles in a row: a block is written when both that it blends are solved."""

OPTIONS: dict[str, Any] = {
    "psf": {"kind": "gaussian", "fwhm_px": {"y": 2, "x": 2}},
    "solver": "ssi",
    "network": TINY["network"],
    # some seconds for each tile: tiles of less than four are sent in batches, and all are solved before the first block
    "training": {**TINY["training"], "steps": 400},
    "tiling": BLENDED,
    "executor": SERIAL,
    "output": {"keep_scratch": True},
}


def snakemake() -> list[str]:
    """Return the command, or skip."""
    named = os.environ.get("SSI_SNAKEMAKE") or shutil.which("snakemake")
    if named:
        return shlex.split(named)
    if importlib.util.find_spec("snakemake") is not None:
        return [sys.executable, "-m", "snakemake"]
    pytest.skip("Snakemake is not there: install it in an environment of its own, and name it by SSI_SNAKEMAKE")


class Workflow:
    """A copy of the example in a folder, on one small image."""

    def __init__(self, folder: Path, options: dict[str, Any], before: str = "") -> None:
        self.folder = folder
        self.calls = folder / "calls.txt"
        for name in ("Snakefile", "snakemake/samples.yaml", "snakemake/run.yaml"):
            shutil.copy(WORKFLOWS / name, folder)
        samples = yaml.safe_load((folder / "samples.yaml").read_text())
        ssi = folder / "ssi"
        run = f"exec {shlex.quote(sys.executable)} -m ssi_pipeline.cli"
        ssi.write_text(f'#!/bin/sh\necho "$@" >> {shlex.quote(str(self.calls))}\n{before}\n{run} "$@"\n')
        ssi.chmod(0o755)
        samples |= {"images": {"cells": "in.zarr"}, "pause_s": 0, "ssi": str(ssi)}
        (folder / "samples.yaml").write_text(yaml.safe_dump(samples))
        shared = yaml.safe_load((folder / "run.yaml").read_text())
        (folder / "run.yaml").write_text(yaml.safe_dump(shared | options))
        write_zarr(folder / "in.zarr", IMAGE, "zyx")
        self.output = folder / "results" / "cells.zarr"
        self.state = folder / "results" / "cells.zarr.run"

    def start(self) -> subprocess.Popen[str]:
        command = [*snakemake(), "--cores", "1", "--configfile", "samples.yaml"]
        return subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def runs(self) -> int:
        return sum(line.startswith("run ") for line in self.calls.read_text().splitlines())

    def wait_for_blocks(self, count: int, process: subprocess.Popen[str]) -> None:
        """Wait until some blocks are written and recorded."""
        until = time.monotonic() + 300
        while time.monotonic() < until and process.poll() is None:
            done = [r for r in read_records(self.state / "ledger.jsonl") if (r.kind, r.status) == ("stitch", "done")]
            if len(done) >= count:
                return
            time.sleep(0.02)
        raise AssertionError(f"no {count} blocks within five minutes: {process.communicate(timeout=60)[0]}")


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_that_is_killed_goes_on(tmp_path: Path) -> None:
    undisturbed = make_run(tmp_path / "undisturbed", IMAGE, **OPTIONS)
    good = hashes(complete(undisturbed))
    folder = tmp_path / "workflow"
    folder.mkdir()
    workflow = Workflow(folder, OPTIONS)
    process = workflow.start()
    workflow.wait_for_blocks(2, process)
    client = json.loads((workflow.state / "lock").read_text())["process"]["pid"]
    before = [r.index for r in read_records(workflow.state / "ledger.jsonl") if r.kind == "solve"]
    os.kill(client, signal.SIGKILL)
    words = process.communicate(timeout=600)[0]
    assert process.returncode == 0, words
    assert "Removing output files of failed job" in words
    assert workflow.runs() == 2
    assert "is missing: created again" in (folder / "results" / "cells.log").read_text()
    assert hashes(workflow.output) == good
    records = list(read_records(workflow.state / "ledger.jsonl"))
    assert [r.kind for r in records].count("calibrate") == 1
    solved = [r.index for r in records if (r.kind, r.status) == ("solve", "done")]
    assert len(before) < TILES, "killed too late"
    assert len(solved) <= TILES + 1, "what was in the scratch was solved again"
    assert (folder / "results" / "cells.html").is_file()
    assert not list(workflow.state.glob("scratch-*"))


@pytest.mark.slow
@pytest.mark.parametrize(("status", "runs", "ends"), [(3, 2, 0), (2, 1, 1)])
def test_only_what_may_help_is_tried_again(tmp_path: Path, status: int, runs: int, ends: int) -> None:
    """The first call ends with this status, a retry succeeds."""
    marker = tmp_path / "once"
    once = f'if [ "$1" = run ] && [ ! -e {marker} ]; then touch {marker}; echo because; exit {status}; fi'
    workflow = Workflow(tmp_path, {**OPTIONS, "solver": "identity", "training": {}}, once)
    process = workflow.start()
    words = process.communicate(timeout=240)[0]
    assert process.returncode == ends, words
    assert workflow.runs() == runs
    assert workflow.output.exists() == (ends == 0)
    if ends:  # Snakemake deletes the log before each try
        assert "because" in (tmp_path / "results" / "cells.log").read_text()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_images_of_a_plate_are_jobs_of_their_own(tmp_path: Path) -> None:
    """``workflows/plates/Snakefile``: an output for each image that ``ssi images`` lists; then nothing to do."""
    for name in ("Snakefile", "run.yaml"):
        shutil.copy(WORKFLOWS / "plates" / name, tmp_path)
    write_plate(tmp_path / "plate.zarr", 1, 2, (1, 32, 32))
    listed = subprocess.run(
        [sys.executable, "-m", "ssi_pipeline", "images", "plate.zarr", "--json"],
        cwd=tmp_path, check=True, stdout=subprocess.PIPE,
    ).stdout  # fmt: skip
    names = [image["name"] for image in json.loads(listed)["images"]]
    ssi = tmp_path / "ssi"
    ssi.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m ssi_pipeline "$@"\n')
    ssi.chmod(0o755)
    command = [*snakemake(), "--cores", "2", "--config", "plate=plate.zarr", f"ssi={ssi}"]
    ran = subprocess.run(
        command, cwd=tmp_path, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert ran.returncode == 0, ran.stdout
    assert len(names) == 2
    for name in names:
        assert level(tmp_path / "results" / f"{name}.zarr").any()
    assert (
        "Nothing to be done"
        in subprocess.run(
            command, cwd=tmp_path, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ).stdout
    )
