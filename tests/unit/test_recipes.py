"""The recipes in ``packaging/`` ask for what pyproject.toml asks for; no engine is needed to check that."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import ssi_pipeline

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "packaging"
IMAGES = ["Dockerfile", "ssi_pipeline.def"]

CONDA_NAMES = {"torch": "pytorch", "dask": "dask-core", "matplotlib": "matplotlib-base"}
"""Packages that conda-forge calls otherwise; dask-core and matplotlib-base are those without what we do not use."""

BUILT_FROM = {"pyproject.toml", "README.md", "LICENSE", "ssi_pipeline", "workflows", "cluster"}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def wanted(texts: list[str]) -> dict[str, set[str]]:
    """Return the bounds of each package, by its name on conda-forge."""
    found = [Requirement(text) for text in texts]
    return {CONDA_NAMES.get(each.name, each.name): {str(bound) for bound in each.specifier} for each in found}


def recipe() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "conda" / "recipe.yaml").read_text())


def test_conda_asks_for_the_same_packages() -> None:
    run = wanted(recipe()["requirements"]["run"])
    assert run.pop("python") == {project()["requires-python"]}
    assert run == wanted(project()["dependencies"])


def test_conda_bounds_what_the_extras_ask_for() -> None:
    extras = project()["optional-dependencies"]
    napari = [text for text in extras["view"] if Requirement(text).name == "napari"]  # its Qt has other names there
    assert wanted(recipe()["requirements"]["run_constraints"]) == wanted(
        extras["cluster"] + extras["parquet"] + extras["crate"] + napari
    )


def test_conda_builds_this_version_with_the_same_tools() -> None:
    made, host = recipe(), wanted(recipe()["requirements"]["host"])
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert made["context"]["version"] == ssi_pipeline.__version__
    assert host.keys() == {"python", "pip", "setuptools"}
    assert host["setuptools"] == wanted(document["build-system"]["requires"])["setuptools"]
    assert made["package"]["name"] == project()["name"]
    assert made["about"]["license"] == project()["license"]
    assert made["about"]["summary"] == project()["description"]
    (entry,) = made["build"]["python"]["entry_points"]
    assert dict([entry.split(" = ")]) == project()["scripts"]
    assert (FOLDER / "conda" / made["source"]["path"] / "pyproject.toml").resolve() == ROOT / "pyproject.toml"


@pytest.mark.parametrize("name", IMAGES)
def test_images_name_a_supported_python_our_torch_and_our_extras(name: str) -> None:
    text = (FOLDER / name).read_text()
    (minor,) = re.findall(r"^(?:FROM|From:) python:([\d.]+)-slim$", text, re.MULTILINE)
    assert f"Programming Language :: Python :: {minor}" in project()["classifiers"]
    (torch,) = (text for text in project()["dependencies"] if Requirement(text).name == "torch")
    assert f"'{torch}'" in text
    (extras,) = re.findall(r"'/src\[([\w,]+)\]'", text)
    without = {"test", "dev", "view"}  # a container has no display
    assert set(extras.split(",")) == set(project()["optional-dependencies"]) - without


def test_images_are_built_from_what_the_package_needs() -> None:
    lines = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == BUILT_FROM
    section = re.search(r"^%files\n((?: +.*\n)+)", (FOLDER / "ssi_pipeline.def").read_text(), re.MULTILINE)
    assert section is not None
    pairs = [shlex.split(line) for line in section[1].splitlines()]
    assert {source for source, _ in pairs} == BUILT_FROM
    assert all(target == f"/src/{source}" for source, target in pairs)
    assert all((ROOT / name).exists() for name in BUILT_FROM)
