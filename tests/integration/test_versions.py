"""Several versions of the package or its dependencies in one output: logged, listed, refused for workers."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import zarr
from builders import complete, config_of, go, make_run, ramp, records

import ssi_pipeline
import ssi_pipeline.run.session as session
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.executors import Completed
from ssi_pipeline.executors.serial import SerialExecutor
from ssi_pipeline.report import write_report
from ssi_pipeline.storage.state.document import RunDocument, StatePaths
from ssi_pipeline.storage.state.versions import installed_versions, other_computing_versions
from ssi_pipeline.tasks import RunSpec

OTHER = "0.0.1"


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a process that finds another version of numpy installed."""
    metadata = tmp_path / "other" / f"numpy-{OTHER}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: numpy\nVersion: {OTHER}\n")
    paths = [str(tmp_path / "other"), str(Path(ssi_pipeline.__file__).parents[1])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


class Killed(SerialExecutor):
    """Ends the client when it has the third tile."""

    def completed(self, timeout: float) -> list[Completed]:
        found = super().completed(timeout)
        if any(record.key == "solve/3" for batch in found for record in batch.records):
            raise KeyboardInterrupt
        return found


def interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    config = make_run(folder, ramp((1, 64, 320)))
    with monkeypatch.context() as patch:
        patch.setattr(session, "open_executor", lambda _, spec, say, client: Killed(spec))
        assert go(config).interrupted
    return config


def test_other_versions_are_said_and_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: dict[str, str]
) -> None:
    config = interrupted(tmp_path, monkeypatch)
    first = len(records(config, "solve"))
    assert 0 < first < 20
    command = [sys.executable, "-m", "ssi_pipeline.cli", "run", str(config)]
    ended = subprocess.run(command, env=elsewhere, capture_output=True, text=True, check=True)
    here = installed_versions()
    assert f"started with other versions: numpy {here['numpy']}, now {OTHER}" in ended.stderr
    document = RunDocument.load(StatePaths(config_of(config).state_path).document)
    assert document.version_sets == (here, {**here, "numpy": OTHER})
    assert [r.versions for r in records(config, "solve")] == [0] * first + [1] * (20 - first)
    attributes = zarr.open_group(config_of(config).output.path, mode="r").attrs["ssi_pipeline"]
    made_by = attributes["provenance"]["made_by"]  # type: ignore[index,call-overload]
    assert [(item["versions"]["numpy"], item["tiles"]) for item in made_by] == [  # type: ignore[index,call-overload,union-attr]
        (here["numpy"], first),
        (OTHER, 20 - first),
    ]
    page = write_report(config_of(config)).read_text()
    assert f"versions of {first} tiles" in page
    assert f"versions of {20 - first} tiles" in page
    complete(config)  # back to the first: no third set
    assert len(RunDocument.load(StatePaths(config_of(config).state_path).document).version_sets) == 2


def test_one_set_of_versions_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path, ramp((1, 64, 64)))
    complete(config)
    complete(config)
    assert "other versions" not in capsys.readouterr().err
    assert "versions" not in StatePaths(config_of(config).state_path).ledger.read_text()
    page = write_report(config_of(config)).read_text()
    assert "versions of" not in page


def test_a_worker_with_other_versions_takes_no_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: dict[str, str]
) -> None:
    config = interrupted(tmp_path, monkeypatch)
    paths = StatePaths(config_of(config).state_path)
    spec = RunSpec(str(paths.root), RunDocument.load(paths.document).fingerprint)
    code = f"""
from ssi_pipeline.tasks import RunSpec
from ssi_pipeline.tasks.execute import execute
from ssi_pipeline.storage.state.records import Job
print(execute({spec!r}, [Job("solve", 9)])[0].to_line())
"""

    def answer(environment: dict[str, str]) -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    refused = answer(elsewhere)
    assert '"status":"failed"' in refused
    assert '"failure":{"fault":"machine"' in refused
    assert f"numpy {OTHER}, in the client {installed_versions()['numpy']}" in refused
    assert "use one environment on all machines" in refused
    assert '"status":"done"' in answer({**elsewhere, "PYTHONPATH": str(Path(ssi_pipeline.__file__).parents[1])})


def test_builds_of_one_version_may_work_together() -> None:
    """A login node without GPU has +cpu."""
    assert not other_computing_versions({"torch": "2.6.0+cpu"}, {"torch": "2.6.0+cu126"})
    assert other_computing_versions({"torch": "2.6.0"}, {"torch": "2.7.0"}) == ["torch"]
    assert other_computing_versions({}, {"numpy": "2.0"}) == ["numpy"]


def test_a_calibration_made_by_another_algorithm_is_refused(tmp_path: Path) -> None:
    """Weights and numbers of iterations mean other things to it."""
    (tmp_path / "first").mkdir()
    first = make_run(tmp_path / "first", ramp((1, 32, 32)), solver="wiener")
    complete(first)
    state = config_of(first).state_path
    config = make_run(tmp_path, ramp((1, 32, 32)), solver="wiener", sensor={"calibration": str(state)})
    complete(config)
    document = RunDocument.load(StatePaths(state).document)
    replace(document, basis={**document.basis, "algorithm": 1}).save(StatePaths(state).document)
    with pytest.raises(ConfigError, match="algorithm: 1 -> "):
        go(config, new=True)
