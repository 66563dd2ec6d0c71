"""Values of the configuration are quoted in job scripts, whatever characters they contain."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ssi_pipeline.cluster.nodes import probe_command
from ssi_pipeline.cluster.script import script_text
from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.errors import ConfigError

EVIL = "a b'$(touch pwned)`touch pwned`;touch pwned&touch pwned#"


def config(folder: Path, name: str, **slurm: Any) -> RunConfig:
    return parse_config(
        {
            "input": {"path": f"{EVIL}.tif"},
            "output": {"path": name},
            "psf": {"kind": "identity"},
            "executor": {"kind": "slurm", "workers": 1, "memory_gib": 1, "slurm": slurm},
        },
        base=folder,
    )


@pytest.fixture(autouse=True)
def quiet_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Python of the jobs: writes down what it is called with."""
    program = tmp_path / "pro gram"
    program.write_text('#!/bin/sh\nfor word; do echo "$word"; done > words\necho "$DASK_CONFIG" > dask\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return program


def run(script: str, folder: Path) -> list[str]:
    environment = {**os.environ, "SCRATCH": "/fast disk", "SLURM_JOB_ID": "1"}
    subprocess.run(["bash", "-c", script], cwd=folder, env=environment, check=True, capture_output=True)
    assert not list(folder.rglob("pwned"))
    return (folder / "words").read_text().splitlines()


def test_a_script_executes_nothing_of_a_name(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    made = config(tmp_path, EVIL, scratch='$SCRATCH/$(touch pwned)`touch pwned`"x$', interface="ib0;touch pwned")
    words = run(script_text(made), tmp_path)
    assert words[words.index("--local-directory") + 1] == '/fast disk/$(touch pwned)`touch pwned`"x$'
    assert words[words.index("--interface") + 1] == "ib0;touch pwned"
    assert (tmp_path / "dask").read_text() == f"{tmp_path / (EVIL + '.run')}/dask\n"


def test_a_probe_executes_nothing_of_a_name(tmp_path: Path) -> None:
    made = config(tmp_path, EVIL, scratch="${SCRATCH}/`touch pwned`")
    words = run(probe_command(made, tmp_path / EVIL), tmp_path)
    assert words[2:] == [str(tmp_path / EVIL), str(tmp_path / f"{EVIL}.tif"), "/fast disk/`touch pwned`"]


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a%jb"])
def test_a_name_that_slurm_would_read_otherwise_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="which SLURM interprets in names of log files"):
        config(tmp_path, name)


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\x1b[2Jb", "a\0b", "a\ud800b", "a\u202eb", "a\x85b"])
def test_a_name_that_is_no_line_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"output\.path: a text with the character U\+") as caught:
        config(tmp_path, name)
    assert str(caught.value).isprintable() or str(caught.value).replace("\n", "").isprintable()


def test_the_name_of_a_folder_that_is_no_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"U\+000A"):
        config(tmp_path / "x\n#SBATCH --wrap=x", "output")
