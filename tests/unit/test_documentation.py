"""README and docs: links resolve, named files exist, examples load."""

from __future__ import annotations

import ast
import os
import re
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from classical_cases import PLAIN, blobs, config_for, gaussian_psf, measured

from ssi_pipeline.config import parse_config
from ssi_pipeline.inversion.classical.observation import Observation
from ssi_pipeline.inversion.problem import build_problem

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "workflows" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page as GitHub makes them: lower case, punctuation dropped, hyphens for spaces."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def example(language: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(found) == 1
    return str(found[0])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    for link in (link for link in links if not link.startswith("http")):
        path, _, anchor = link.partition("#")
        target = Path(os.path.normpath(page.parent / path)) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    """Paths are given from the root of the repository, or from the package."""
    for name in re.findall(r"[a-z_]+(?:/[a-z_0-9]+)+\.(?:py|sbatch|sh)\b", page.read_text()):
        assert (ROOT / name).exists() or (ROOT / "ssi_pipeline" / name).exists(), name


def test_the_index_has_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name


def test_the_solver_of_contributing_explains_the_image_better_with_each_iteration() -> None:
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(source, names)
    psf = gaussian_psf()
    problem = build_problem(psf, PLAIN, config_for("wiener", sensor={"impulse_share": 0}), "cpu")
    image = torch.from_numpy(measured(blobs((48, 48)), psf))
    observation = Observation(image, torch.ones_like(image, dtype=torch.bool))
    seen = problem.forward.crop(image)
    found = [x for _, x in islice(names["LANDWEBER"].path(problem, observation), 5)]
    losses = [float((problem.forward.level(x) - seen).square().mean()) for x in found]
    assert losses == sorted(losses, reverse=True)
    assert torch.equal(names["LANDWEBER"].solve(problem, observation, 5), found[-1])


def test_both_examples_of_the_readme_are_one_run() -> None:
    (settings,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(example("python")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "settings"
    )
    assert parse_config(settings) == parse_config(yaml.safe_load(example("yaml")))


def test_every_command_of_the_readme_exists() -> None:
    from ssi_pipeline.commands.parser import COMMANDS

    named = re.findall(r"\bssi ([a-z]+)\b", (ROOT / "README.md").read_text())
    assert {"init", "plan", "run", "status", "report"} <= set(named) <= set(COMMANDS)
