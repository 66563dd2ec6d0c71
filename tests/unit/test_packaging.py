"""Requirements in pyproject.toml agree with the installed packages."""

from __future__ import annotations

import inspect
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("text", project()["dependencies"])
def test_installed_versions_are_within_the_ranges(text: str) -> None:
    wanted = Requirement(text)
    assert wanted.specifier.contains(metadata.version(wanted.name), prereleases=True)


def test_packages_whose_private_names_are_used_have_an_upper_bound() -> None:
    for text in project()["dependencies"]:
        wanted = Requirement(text)
        if wanted.name in ("dask", "distributed"):
            assert {">=", "<"} <= {bound.operator for bound in wanted.specifier}


def test_the_private_names_that_the_executors_use_are_there() -> None:
    from distributed import Client, Scheduler
    from distributed.scheduler import WorkerState

    assert {"function", "args", "kwargs"} & set(inspect.signature(Client._run_on_scheduler).parameters)
    assert "processing" in WorkerState.__slots__
    assert "workers" in Scheduler.__init__.__code__.co_names or hasattr(Scheduler, "workers")


def test_the_licence_is_an_spdx_expression() -> None:
    """A table, and a licence among the classifiers, are deprecated by setuptools from version 77."""
    assert project()["license"] == "BSD-3-Clause"
    assert not [c for c in project()["classifiers"] if c.startswith("License ::")]


def test_every_extra_has_code_that_imports_it() -> None:
    names = {"cluster": "dask_jobqueue", "parquet": "pyarrow"}
    extras = set(project()["optional-dependencies"]) - {"test", "dev"}
    source = "".join(path.read_text() for path in (ROOT / "ssi_pipeline").rglob("*.py"))
    for extra in extras:
        assert f"import {names[extra]}" in source or f"from {names[extra]}" in source


def test_what_plan_and_status_import() -> None:
    """``scipy.stats`` and ``scipy.special`` cost .5 and .2 s of CPU, torch and dask more."""
    heavy = "{'torch', 'dask', 'distributed', 'scipy.stats', 'scipy.special', 'matplotlib', 'skimage'}"
    code = f"import sys, ssi_pipeline.cli, ssi_pipeline.run; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
