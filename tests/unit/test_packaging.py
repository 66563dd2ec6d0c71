"""Requirements in pyproject.toml agree with the installed packages."""

from __future__ import annotations

import contextlib
import inspect
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("text", project()["dependencies"])
def test_installed_versions_are_within_the_ranges(text: str) -> None:
    wanted = Requirement(text)
    assert wanted.specifier.contains(metadata.version(wanted.name), prereleases=True)


def test_every_pin_is_for_the_oldest_python_that_is_promised() -> None:
    """Debian 12 has 3.11.2, which a pin for 3.11.5 would leave without tests and demo."""
    oldest = project()["requires-python"].removeprefix(">=") + ".0"
    pins = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines()]
    asked = {}
    for pin in pins:
        with contextlib.suppress(metadata.PackageNotFoundError):  # of another platform or extra
            asked[pin.name] = metadata.metadata(pin.name).get("Requires-Python")
    assert len(asked) > len(pins) / 2
    assert [name for name, python in asked.items() if python and oldest not in SpecifierSet(python)] == []


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
    names = {
        "cluster": "dask_jobqueue",
        "parquet": "pyarrow",
        "crate": "rocrate",
        "formats": "nd2",
        "cloud": "obstore",
        "view": "napari",
    }
    extras = set(project()["optional-dependencies"]) - {"test", "dev", "docs"}
    source = "".join(path.read_text() for path in (ROOT / "ssi_pipeline").rglob("*.py"))
    for extra in extras:
        assert f"import {names[extra]}" in source or f"from {names[extra]}" in source


def test_what_help_plan_and_status_import() -> None:
    """``scipy.stats`` and ``scipy.special`` cost .5 and .2 s of CPU, torch and dask more."""
    heavy = "{'torch', 'dask', 'distributed', 'scipy.stats', 'scipy.special', 'matplotlib', 'skimage'}"
    code = f"""
import contextlib, io, sys
import ssi_pipeline, ssi_pipeline.run
from ssi_pipeline.cli import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main(["--help"])
print(sorted({heavy} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


PICTURES = {"report", "preview", "demo", "benchmark", "workbench"}
"""Parts of the package that draw, or use images of others."""

ALL_OF_A_WORKER = """
import importlib, pkgutil, sys
for name in {parts}:
    part = importlib.import_module(f"ssi_pipeline.{{name}}")
    for module in pkgutil.walk_packages(part.__path__, part.__name__ + "."):
        if module.name not in ("ssi_pipeline.quality.reference", "ssi_pipeline.executors.slurm.worker_preload"):
            importlib.import_module(module.name)
assert "torch" in sys.modules
print(sorted({{"matplotlib", "skimage"}} & set(sys.modules)))
"""


def test_workers_never_import_what_pictures_need() -> None:
    """Matplotlib takes 40 MB and .3 s of each of hundreds of workers; nothing in them asks for it."""
    parts = ["tasks", "inversion", "physics", "storage", "quality", "geometry", "config", "executors", "results", "run"]
    code = ALL_OF_A_WORKER.format(parts=parts)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
    asking = {
        path.relative_to(ROOT / "ssi_pipeline").parts[0]
        for path in (ROOT / "ssi_pipeline").rglob("*.py")
        if re.search(r"^\s*(?:import|from) (?:matplotlib|skimage)\b", path.read_text(), re.MULTILINE)
        and path.name != "reference.py"
    }
    assert asking == PICTURES
