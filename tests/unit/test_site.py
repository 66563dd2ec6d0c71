"""The site: every page is in its navigation, every option is explained, references have all that is public."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path
from typing import Any

import pytest

import ssi_pipeline as ssi
from ssi_pipeline.commands.parser import COMMANDS

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs" / "site"


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SITE))
    return importlib.import_module("reference")


def navigation(part: Any) -> set[str]:
    if isinstance(part, str):
        return {part}
    return set().union(*(navigation(inner) for inner in (part.values() if isinstance(part, dict) else part)))


def test_every_page_is_in_the_navigation() -> None:
    shown = navigation(tomllib.loads((SITE / "zensical.toml").read_text())["project"]["nav"])
    docs = ROOT / "docs"
    pages = {str(path.relative_to(docs)) for path in docs.rglob("*.md")} - {"README.md"}
    outside = {"index.md", "contributing.md", "changelog.md", "workflows.md", "notebooks/first.md"}
    assert shown == pages | outside, "add the page to docs/site/zensical.toml"


def test_every_option_is_explained(reference: Any) -> None:
    names = {name for name, _, _ in reference.fields()}
    notes = reference.option_notes()
    assert set(notes["when"]) == names, "docs/site/options.yaml: when to change an option"
    assert names <= set(reference.meanings() | notes["means"]), "an option without a comment in config/template.yaml"
    assert set(notes["units"]) | set(notes["means"]) <= names
    page = reference.options()
    assert all(f"### {name}\n" in page for name in names)
    assert "### tiling.dimensions\n\n*`2` or `3`, default `2`*" in page
    assert "### psf.widefield.wavelength_um\n\n*number above 0 at most 1000, µm, required*" in page


def test_every_command_and_public_name_is_in_a_reference(reference: Any) -> None:
    page = reference.commands()
    assert all(f"### ssi {name}\n\n```text\nusage: ssi {name}" in page for name in COMMANDS)
    page = reference.api()
    for name in set(dir(ssi)) - {"__version__", "psf"}:
        assert f"### {name}\n" in page or f"### ssi.{name}\n" in page, name
    assert "- **psf**: An array (z) y x" in page
    assert "```pycon\n>>> gaussian((0.8, 0.3, 0.3)).fwhm_um\n" in page
