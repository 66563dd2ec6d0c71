"""Output of the commands: `ssi plan` writes nothing, and logs contain no control characters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from builders import TINY, beads, complete, config_of, contents, level, make_run, ramp, write_zarr

from ssi_pipeline.cli import main


def test_init_writes_a_file_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.yaml"
    assert main(["init", str(path)]) == 0
    assert "set input.path, output.path and psf" in capsys.readouterr().out
    text = path.read_text()
    assert main(["init", str(path)]) == 2
    assert "exists" in capsys.readouterr().err
    assert path.read_text() == text


def test_the_file_of_init_runs(tmp_path: Path) -> None:
    """The short form, with two of its commented options switched on."""
    path = tmp_path / "run.yaml"
    assert main(["init", str(path)]) == 0
    text = path.read_text().replace("#solver: ssi", "solver: wiener").replace("#kind: dask", "kind: serial")
    path.write_text(text)
    write_zarr(tmp_path / "input.zarr", beads((2, 64, 64)), "zyx")
    assert main(["run", str(path)]) == 0
    assert level(tmp_path / "output.zarr").shape == (2, 64, 64)
    assert [config_of(path).solver, config_of(path).executor.kind] == ["wiener", "serial"]


@pytest.mark.parametrize("pilot", [False, True])
def test_plan_touches_nothing(
    tmp_path: Path, pilot: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    config = make_run(tmp_path / "run", beads((2, 64, 96)), solver="ssi", **TINY)
    before = contents(tmp_path)
    assert main(["plan", *(["--pilot", "2"] if pilot else []), str(config)]) == 0
    after = {name: content for name, content in contents(tmp_path).items() if "torchinductor" not in name}
    assert sorted(after) == sorted(before)
    assert after == before
    said = " ".join(capsys.readouterr().out.split())
    assert "zyx 2 x 64 x 96 uint16" in said
    assert "12 = 1 x 1 x 2 x 2 x 3 (t c z y x)" in said
    assert ("from 2 tiles: pilot" if pilot else "measure it with `ssi plan --pilot 4`") in said


def test_the_story_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path, ramp((2, 64, 96)))
    assert main(["run", str(config)]) == 0
    assert "complete: 12 of 12 tiles done (12 in this call)" in capsys.readouterr().err
    assert main(["run", str(config)]) == 0
    said = capsys.readouterr().err
    assert "resuming: 12 of 12 tiles and 12 of 12 blocks are done" in said
    assert "(0 in this call)" in said
    assert main(["status", str(config)]) == 0
    said = capsys.readouterr().out
    assert "12 done, 0 running, 0 failed, 0 pending" in said
    assert "12 of 12 written" in said
    assert "all blocks are written" in said
    assert main(["verify", str(config)]) == 0
    assert "12 of 12 blocks are good" in capsys.readouterr().out
    next((tmp_path / "out.zarr" / "0" / "c" / "0").rglob("2")).unlink()
    assert main(["verify", str(config)]) == 1
    said = capsys.readouterr().out
    assert "11 of 12 blocks are good, 1 bad" in said
    assert "is missing or empty" in said
    assert "`ssi run` computes them again" in said
    assert main(["status", str(config)]) == 4
    assert "11 of 12 written" in capsys.readouterr().out
    assert main(["run", str(config)]) == 0
    assert main(["verify", str(config)]) == 0


def test_report_writes_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path, beads((1, 64, 64)))
    assert main(["run", str(config)]) == 0
    assert main(["report", str(config), "--output", str(tmp_path / "r.html")]) == 0
    assert "wrote" in capsys.readouterr().out
    assert (tmp_path / "r.html").read_text().lstrip().lower().startswith("<!doctype html")


def test_lines_are_plain_where_nobody_watches(tmp_path: Path) -> None:
    """No colours, no cursor movements: what a batch system's log can hold."""
    config = make_run(tmp_path, ramp((1, 64, 96)))
    code = """
import os, sys
from ssi_pipeline.cli import main
for command in ("plan", "run", "status", "verify"):
    assert main([command, sys.argv[1]]) == 0
    sys.stdout.flush()
    os.write(1, b"=====")
"""
    command = [sys.executable, "-c", code, str(config)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    *texts, rest = done.stdout.decode().split("=====")
    assert (len(texts), rest) == (4, "")
    for text in texts:
        assert text.strip()
        assert not [c for c in text if ord(c) < 32 and c != "\n"]


def test_a_run_is_found_by_its_output_and_by_its_state_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    complete(make_run(tmp_path, ramp((1, 64, 96))))
    (tmp_path / "run.yaml").unlink()
    output, table = tmp_path / "out.zarr", str(tmp_path / "metrics.csv")
    for folder in (output, tmp_path / "out.zarr.run"):
        for command in (["status"], ["verify"], ["run"], ["export", "--output", table]):
            assert main([*command, str(folder)]) == 0
        assert main(["status", str(folder), "--set", "seed=1"]) == 2
        assert "its run has its configuration" in capsys.readouterr().err
    assert main(["plan", str(output)]) == 2
    assert f"that of the run is printed by `ssi config {output}`" in capsys.readouterr().err
    assert main(["status", str(tmp_path)]) == 2
    assert "no run found at" in capsys.readouterr().err
