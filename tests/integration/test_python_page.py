"""Examples of the Python API: those of docs/python.md and those in docstrings."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_blocks_of_the_page_print_what_their_comments_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    said = []
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, names)
        said += re.findall(r"print\(.*\)  # (.*)", block)
    printed = " ".join(capsys.readouterr().out.split())
    exact = [text.split(":")[0] for text in said if re.match(r"[\d(TA]|float32|output\.zarr", text)]
    assert len(exact) == 7
    for text in exact:
        assert text in printed
    assert "training.stepz: unknown key; did you mean 'steps'?" in printed


@pytest.mark.parametrize("name", ["psf", "api.deconvolve", "api.inverse", "api.arguments"])
def test_the_examples_of_docstrings_run(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"ssi_pipeline.{name}"))
    assert found.attempted > 0
    assert found.failed == 0
