"""The wheel: made by way of the source distribution, it has all that the package reads, and says what it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Callable
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

ROOT = Path(__file__).parents[2]
SHIPPED = ("pyproject.toml", "README.md", "LICENSE")
FOLDERS = ("ssi_pipeline", "workflows", "cluster")
"""What is copied to build from: the tests leave no ``build/`` in the repository, whose leftovers get into wheels."""

BUILD = "import sys, setuptools.build_meta as backend; print(getattr(backend, sys.argv[1])(sys.argv[2]))"


def build(what: str, source: Path, into: Path) -> Path:
    command = [sys.executable, "-c", BUILD, what, str(into)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=True)
    return into / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("made")
    for name in SHIPPED:
        shutil.copy(ROOT / name, source)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    archive = build("build_sdist", source, made)
    with tarfile.open(archive) as packed:
        packed.extractall(made, filter="data")
    return build("build_wheel", made / archive.name.removesuffix(".tar.gz"), made)


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def metadata(wheel: Path) -> Message:
    (text,) = (data for name, data in content(wheel).items() if name.endswith(".dist-info/METADATA"))
    return HeaderParser().parsestr(text.decode())


def test_it_has_every_file_of_the_package(wheel: Path) -> None:
    found = content(wheel)
    package = ROOT / "ssi_pipeline"
    files = [
        Path(folder, name).relative_to(ROOT)
        for folder, _, names in os.walk(package, followlinks=True)
        for name in names
        if "__pycache__" not in folder
    ]
    assert len(files) > 300
    for file in files:
        assert found.get(str(file)) == (ROOT / file).read_bytes(), file


def test_it_has_workflows_and_cluster_scripts(wheel: Path) -> None:
    names = content(wheel).keys()
    for home, folder in (("workflows", "workflows"), ("cluster", "cluster/scripts")):
        for file in (path for path in (ROOT / home).rglob("*") if path.is_file()):
            assert f"ssi_pipeline/{folder}/{file.relative_to(ROOT / home)}" in names


def test_it_has_nothing_else(wheel: Path) -> None:
    assert {name.split("/")[0].split("-")[0] for name in content(wheel)} == {"ssi_pipeline"}


def test_its_metadata_are_those_of_the_project(wheel: Path) -> None:
    found = metadata(wheel)
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert found["License-Expression"] == "BSD-3-Clause"
    assert found["License-File"] == "LICENSE"
    assert (
        content(wheel)[f"ssi_pipeline-{found['Version']}.dist-info/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    )
    assert found["Requires-Python"] == project["requires-python"]
    minors = {c.split(" :: ")[-1] for c in found.get_all("Classifier", []) if "Python :: 3." in c}
    assert minors == {"3.11", "3.12", "3.13"}
    assert set(found.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])
    assert found.get_payload() == (ROOT / "README.md").read_text()


@pytest.fixture
def ran(tmp_path: Path) -> Callable[..., str]:
    """Run a command outside the repository; returns its standard output."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*command: object) -> str:
        done = subprocess.run(list(map(str, command)), cwd=tmp_path, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_its_command_works_outside_the_repository(wheel: Path, tmp_path: Path, ran: Callable[..., str]) -> None:
    """In an environment that has the wheel, and sees what this one has of others."""
    home = tmp_path / "environment"
    venv.create(home, symlinks=True)
    python, ssi = home / "bin/python", home / "bin/ssi"
    ran(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    own = Path(sysconfig.get_path("purelib", "venv", {"base": str(home), "platbase": str(home)}))
    # a clone that is installed here is found by a .pth file of its own, and those of such a folder are not read
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    assert str(home) in ran(python, "-c", "import ssi_pipeline; print(ssi_pipeline.__file__)")
    size = {f"PhysicalSize{axis}": um for axis, um in (("Z", 0.3), ("Y", 0.1), ("X", 0.1))}
    stack = np.random.default_rng(0).poisson(100, (16, 48, 48)).astype("uint16")
    tifffile.imwrite(tmp_path / "stack.tif", stack, ome=True, metadata={"axes": "ZYX", **size})
    ran(ssi, "init", "stack.yaml", "--from", "widefield-stack", "--input", "stack.tif")
    assert "zyx 16 x 48 x 48 uint16" in ran(ssi, "plan", "stack.yaml")
    ran(ssi, "init", "array.sbatch", "--from", "array.sbatch")


@pytest.mark.long
@pytest.mark.parametrize("minor", ["3.11", "3.12", "3.13"])
@pytest.mark.timeout(2400)  # gigabytes of CUDA, where the index has no torch for CPUs
def test_it_installs_into_an_empty_environment_and_runs(
    wheel: Path, tmp_path: Path, ran: Callable[..., str], minor: str
) -> None:
    interpreter = shutil.which(f"python{minor}")
    # pyenv has a command for each version, which fails where that is not chosen
    if interpreter is None or subprocess.run([interpreter, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"there is no python{minor} here")
    home = tmp_path / "environment"
    ran(interpreter, "-m", "venv", home)
    ran(home / "bin/python", "-m", "pip", "install", "--quiet", wheel)
    ssi = home / "bin/ssi"
    ran(ssi, "init", "stack.yaml", "--from", "widefield-stack")
    assert str(home) in ran(home / "bin/python", "-c", "import ssi_pipeline; print(ssi_pipeline.__file__)")
    assert "ours" in ran(ssi, "demo", "--output", "demo")
    assert list((tmp_path / "demo").rglob("report.html"))
