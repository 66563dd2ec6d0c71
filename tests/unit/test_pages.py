"""Code blocks of the pages: shell commands parse, configurations load, Python compiles.

The long form of tests/integration/test_pages_run.py runs them.
"""

from __future__ import annotations

import copy
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssi_pipeline.commands.parser import COMMANDS, make_parser
from ssi_pipeline.config import parse_config
from ssi_pipeline.config.changes import parse_change, put

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "workflows" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"bash", "python", "yaml", "text", "mermaid"}
BLOCK = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

BASE: dict[str, Any] = {
    "input": {"path": "input.zarr"},
    "output": {"path": "output.zarr"},
    "psf": {"kind": "gaussian", "fwhm_px": {"y": 3, "x": 3}},
}
"""What a block that shows a part of a configuration leaves out."""


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


def each(language: str) -> list[Any]:
    found = [(page, text) for page in PAGES for text in blocks(page, language)]
    return [pytest.param(text, id=f"{page.stem}-{number}") for number, (page, text) in enumerate(found)]


def commands(script: str) -> Iterator[list[str]]:
    """Yield the arguments of each call of ssi in a shell script."""
    script = re.sub(r"\\\n", " ", script)
    for line in script.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, "#"
        call: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set(";|&<>()"):
                yield from ([call[1:]] if call[:1] == ["ssi"] else [])
                call = []
            else:
                call.append(word)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_names_its_language(page: Path) -> None:
    kinds = {kind for kind, _ in BLOCK.findall(page.read_text())}
    assert kinds <= LANGUAGES, f"one of {sorted(LANGUAGES)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_takes_the_package_from_an_index(page: Path) -> None:
    """It is on none: pip would fail, or install somebody else's."""
    assert not re.search(r"pip install [^\n`]*ssi[-_]pipeline(?!-\*\.whl)", page.read_text())


@pytest.mark.parametrize("script", each("bash"))
def test_shell_blocks_parse_and_their_commands_are_known(script: str) -> None:
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    for arguments in commands(script):
        if arguments != ["--help"]:
            options = make_parser().parse_args(arguments)
            for change in map(parse_change, getattr(options, "set", [])):
                for value in change.parsed():
                    document = copy.deepcopy(BASE)
                    if arguments[:2] == ["psf", "make"]:
                        optics = {"numerical_aperture": options.na, "wavelength_um": options.wavelength_um}
                        document["psf"] = {"kind": options.kind, **optics}
                    put(document, change.key, value)
                    parse_config(document)


@pytest.mark.parametrize("text", each("yaml"))
def test_configurations_load(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("site.yaml").write_text("partition: main\n")  # the profile of docs/cluster.md
    parse_config(BASE | yaml.safe_load(text))


@pytest.mark.parametrize("source", each("python"))
def test_python_compiles(source: str) -> None:
    compile(source, "page", "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_within_sentences_exist(page: Path) -> None:
    for name in re.findall(r"`ssi ([a-z]+)\b", page.read_text()):
        assert name in COMMANDS, name
