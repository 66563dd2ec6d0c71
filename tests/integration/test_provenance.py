"""What is said of the making of an output: times, commands, commit, versions; none of it decides anything."""

from __future__ import annotations

import json
import os
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import beads, config_of, image_files, make_run

import ssi_pipeline
from ssi_pipeline.cli import main
from ssi_pipeline.redact import masked_arguments
from ssi_pipeline.report.sections.provenance import call_rows
from ssi_pipeline.storage.outputs.output import read_provenance
from ssi_pipeline.storage.state import calls as state_calls
from ssi_pipeline.storage.state.calls import begin_call, end_call, read_calls, source_commit

STEP = 1  # second: times are written to the second


def small(folder: Path) -> Path:
    return make_run(folder, beads((2, 32, 64)))


def provenance(config: Path) -> dict[str, Any]:
    return read_provenance(config_of(config).output.path)


def test_a_finished_output_says_when_how_and_by_what_it_was_made(tmp_path: Path) -> None:
    config, before = small(tmp_path), datetime.now(UTC)
    assert main(["run", str(config), "--set", "seed=3"]) == 0
    found = provenance(config)
    (call,) = found["calls"]
    start, end = (datetime.fromisoformat(found[name]) for name in ("start", "end"))
    assert start.timestamp() - before.timestamp() > -STEP
    assert start <= end <= datetime.now(UTC)
    assert (call["start"], call["end"]) == (found["start"], found["end"])
    assert call["command"] == f"ssi run {config} --set seed=3"
    assert call["commit"] == source_commit()
    assert "Linux" in call["platform"]
    for name in ("numpy", "scipy", "torch", "zarr", "numcodecs", "dask", "distributed", "tifffile"):
        assert found["versions"][name] == version(name)
    assert found["versions"]["ssi_pipeline"] == ssi_pipeline.__version__
    (noted,) = read_calls(config_of(config).state_path)
    assert noted.result == "complete"
    (row,) = call_rows([noted])
    assert row[1].startswith(f"{found['start']} to {noted.end}, complete: ssi run {config} --set seed=3")


def test_it_does_not_decide_whether_a_run_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = small(tmp_path / "a"), small(tmp_path / "b")
    assert main(["run", str(first)]) == 0
    monkeypatch.setattr(state_calls, "source_commit", lambda: "0" * 40)
    monkeypatch.setattr(state_calls, "now", lambda: "2001-01-01T00:00:00+00:00")
    assert main(["run", "-q", str(second)]) == 0
    made, other = provenance(first), provenance(second)
    assert made["calls"] != other["calls"]
    assert made["fingerprint"] == other["fingerprint"]
    assert made["basis"] == other["basis"]
    assert main(["run", str(second)]) == 0, "another command resumes"
    assert provenance(second) == other, "and had nothing to do"
    assert [call.command.split()[2] for call in read_calls(config_of(second).state_path)] == ["-q", str(second)]


def test_every_call_of_parts_and_their_finish_is_in_it(tmp_path: Path) -> None:
    config = small(tmp_path)
    for part in ("1/2", "2/2"):
        assert main(["run", str(config), "--part", part]) == 0
    assert main(["run", str(config), "--finish"]) == 0
    found = provenance(config)
    assert found["n_calls"] == 3
    ends = ["--part 1/2", "--part 2/2", "--finish"]
    assert {call["command"] for call in found["calls"]} == {f"ssi run {config} {end}" for end in ends}
    assert found["start"] == min(call["start"] for call in found["calls"])


def test_a_call_that_was_refused_halfway_or_killed_is_noted(tmp_path: Path) -> None:
    config = small(tmp_path)
    assert main(["run", str(config)]) == 0
    document = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**document, "seed": 9}))
    assert main(["run", str(config)]) != 0
    state = config_of(config).state_path
    assert len(read_calls(state)) == 1, "refused before anything started"
    with (state / "calls.jsonl").open("a") as stream:
        stream.write('12\n{"id": "torn", "sta')
    begin_call(state / "calls.jsonl", "ssi run killed.yaml")
    noted = [(call.command, call.end is None, call.result) for call in read_calls(state)]
    assert (f"ssi run {config}", False, "complete") in noted
    assert ("ssi run killed.yaml", True, None) in noted
    assert len(noted) == 2


def test_a_crate_says_the_same_to_archives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reader = pytest.importorskip("rocrate.rocrate")
    config = small(tmp_path)
    output = config_of(config).output.path
    assert main(["crate", str(tmp_path / "in.zarr")]) == 2
    assert main(["run", str(config)]) == 0
    before = image_files(output), provenance(config)
    assert main(["crate", str(output)]) == 0
    assert (image_files(output), provenance(config)) == before
    crate = reader.ROCrate(output)
    assert crate.name == "out.zarr"
    assert crate.datePublished.isoformat() == before[1]["end"]
    (action,) = (entity for entity in crate.get_entities() if entity.type == "CreateAction")
    assert action["description"] == f"ssi run {config}"
    assert action["result"] is crate.root_dataset
    assert action["startTime"] == before[1]["start"]
    assert action["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert {s["name"]: s["softwareVersion"] for s in action["instrument"]} == before[1]["versions"]
    text = (output / "ro-crate-metadata.json").read_bytes()
    assert main(["crate", str(output)]) == 0
    assert (output / "ro-crate-metadata.json").read_bytes() == text, "the same again"
    assert main(["verify", str(config)]) == 0


def test_an_output_of_an_earlier_release_gets_no_crate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its provenance has no calls, whose times a crate states."""
    config = small(tmp_path)
    output = config_of(config).output.path
    assert main(["run", str(config)]) == 0
    document = json.loads((output / "zarr.json").read_text())
    del document["attributes"]["ssi_pipeline"]["provenance"]["calls"]
    (output / "zarr.json").write_text(json.dumps(document))
    capsys.readouterr()
    assert main(["crate", str(output)]) == 2
    assert "was finished by an earlier release" in capsys.readouterr().err


def test_credentials_are_not_in_it(tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    end_call(file, begin_call(file, "ssi run a.yaml --set executor.address=tls://me:hunter22@host:8786"), "complete")
    assert "hunter22" not in file.read_text()
    assert "***" in read_calls(tmp_path)[0].command


@pytest.mark.parametrize(
    "setting", ["on_end.command=curl https://a.org/lab-topic", "x.password=my pass word", "x.token=abc&defghij"]
)
def test_settings_with_credentials_are_masked_whole(setting: str) -> None:
    key = setting.partition("=")[0]
    expected = ["run", "a b.yaml", "--set", f"{key}=***", "--set", "seed=3", "psf=out/x=y.tif"]
    assert masked_arguments(["run", "a b.yaml", "--set", setting, "--set", "seed=3", "psf=out/x=y.tif"]) == expected


def test_a_call_that_was_killed_elsewhere_later_by_its_clock_keeps_having_no_end(tmp_path: Path) -> None:
    config = small(tmp_path)
    assert main(["run", str(config), "--part", "1/1"]) == 0
    with (config_of(config).state_path / "calls-1.jsonl").open("a") as stream:
        late = {"id": "a", "start": "2999-01-01T00:00:00+00:00", "command": "killed", "commit": None, "platform": "x"}
        stream.write(json.dumps(late) + "\n")
    assert main(["run", str(config), "--finish"]) == 0
    ends = {call["command"]: call["end"] for call in provenance(config)["calls"]}
    assert ends.pop("killed") is None
    assert None not in ends.values()


def test_only_the_last_hundred_calls_are_in_an_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(tmp_path)
    assert main(["run", str(config), "--part", "1/1"]) == 0
    state = config_of(config).state_path
    for _ in range(120):
        begin_call(state / "calls.jsonl", "ssi run earlier.yaml")
    assert main(["run", str(config), "--finish"]) == 0
    found = provenance(config)
    assert found["n_calls"] == 122
    assert len(found["calls"]) == 100


def test_the_commit_is_that_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "ssi_pipeline" / "__init__.py"
    source.parent.mkdir()
    source.write_text("")
    monkeypatch.setattr(ssi_pipeline, "__file__", str(source))

    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # not those of a hook

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", *who, *words], cwd=tmp_path, capture_output=True, text=True, check=True, env=plain
        )
        return done.stdout.strip()

    def found() -> str | None:
        source_commit.cache_clear()
        return source_commit()

    try:
        assert found() is None, "an installed package"
        git("init", "-q")
        git("add", ".")
        git("commit", "-qm", "first")
        assert re.fullmatch("[0-9a-f]{40}", found() or "")
        assert found() == git("rev-parse", "HEAD")
        source.write_text("changed = 1\n")
        assert found() == git("rev-parse", "HEAD") + "-dirty"
        monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
        assert found() == git("rev-parse", "HEAD") + "-dirty"
    finally:
        source_commit.cache_clear()
