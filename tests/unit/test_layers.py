"""Imports point down only: a lower layer never imports a higher one."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ssi_pipeline

ROOT = Path(ssi_pipeline.__file__).parent

LAYERS = (
    ("exit_status", "interrupts", "lazy", "own_process"),
    ("errors", "redact", "words", "methods", "phases"),
    ("config", "geometry", "tiff"),
    ("physics", "quality", "needs", "psf"),
    ("inversion", "stitch", "storage"),
    ("tasks",),
    ("executors", "results"),
    ("run",),
    ("report",),
    ("preview", "benchmark", "bench", "cluster", "workbench"),
    ("demo", "api", "error_handler"),
    ("view",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
"""From the bottom up. The package's own __init__ is below all: it has the version and imports nothing."""

RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def top_of(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and top-level name of everything imported from this package, also inside functions."""
    package = ["ssi_pipeline", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{start}.{alias.name}" for alias in node.names] if start == "ssi_pipeline" else [start]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "ssi_pipeline" and len(parts) > 1 and parts[1] != "__version__":
                yield node.lineno, parts[1]


def file_imports() -> dict[str, set[str]]:
    """Return which files import which: inside functions and for type checkers as well; not what methods.py names."""
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in modules()
    }
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                parts = [f"{node.module}.{alias.name}".removeprefix("ssi_pipeline.") for alias in node.names]
                asked = [part if part in names else node.module for part in parts]  # a file, or a name in one
            elif isinstance(node, ast.Import):
                asked = [alias.name for alias in node.names]
            else:
                continue
            found[name] |= {inner for each in asked if (inner := each.removeprefix("ssi_pipeline.")) in names}
    return found


def circles(imports: dict[str, set[str]]) -> set[frozenset[str]]:
    """Return the sets of two or more files each of which imports itself by way of all others."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            new = imports[ahead.pop()] - seen
            seen |= new
            ahead += new
        return seen

    below = {name: reached(name) for name in imports}
    return {
        frozenset(other for other in below[name] if name in below[other]) for name in imports if name in below[name]
    }


def allowed(importer: str, what: str) -> bool:
    return importer == what or RANK[what] < RANK[importer]


def test_every_module_has_a_layer() -> None:
    strangers = sorted({top_of(path) for path in modules()} - RANK.keys() - {"__init__"})
    assert not strangers, f"{strangers}: say in which layer they are, in LAYERS of {__file__}"


def test_every_layer_names_what_exists() -> None:
    assert set(RANK) == {top_of(path) for path in modules()} - {"__init__"}


def test_the_picture_of_the_layers_is_this_table() -> None:
    page = (ROOT.parent / "docs" / "architecture.md").read_text()
    boxes = re.findall(r'^    L\d+\["(.*)"\]$', page, re.MULTILINE)
    assert [tuple(box.split(" · ")) for box in boxes] == list(reversed(LAYERS))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    importer = top_of(path)
    wrong = []
    for line, what in imported(path):
        assert what in RANK, f"{path.name}, line {line}: ssi_pipeline.{what} has no layer in {__file__}"
        if importer == "__init__" or not allowed(importer, what):
            wrong.append(f"{path.relative_to(ROOT)}, line {line}: {importer} imports {what}, which is not below it")
    assert not wrong, "\n".join(wrong)


def test_no_files_import_each_other_in_a_circle() -> None:
    found = circles(file_imports())
    assert not found, "\n".join(" <-> ".join(sorted(circle)) for circle in found)


def test_a_circle_would_be_seen() -> None:
    imports = {"a": {"b", "d"}, "b": {"c"}, "c": {"a"}, "d": set(), "e": {"a", "f"}, "f": {"e"}}
    assert circles(imports) == {frozenset("abc"), frozenset("ef")}
    graph = file_imports()
    assert "inversion.problem" in graph["tasks.context"], "an import inside a function counts"
    assert "inversion.network.checkpoint" in graph["tasks.context"], "an import for type checkers counts"


def test_a_wrong_import_would_be_seen() -> None:
    assert allowed("run", "geometry")
    assert allowed("cli", "report")
    assert not allowed("report", "cli")
    assert not allowed("geometry", "storage")
    assert not allowed("geometry", "config")
    assert not allowed("storage", "inversion")


LIGHT = {
    "errors": "numpy torch dask distributed zarr pydantic",
    "methods": "numpy torch dask distributed zarr pydantic",
    "config": "numpy torch dask distributed zarr",
    "geometry": "torch dask distributed zarr",
    "cli": "torch dask distributed",
    "run.planning": "torch dask distributed",
    "results.status": "torch dask distributed",
    "results.watch": "torch dask distributed",
    "run.checks.output_checks": "torch dask distributed",
    "run.create": "torch dask distributed",
    "report": "torch dask distributed",
    "view.window": "torch dask distributed",
}
"""Modules, and the libraries that none of them imports. What a module may not import, no module above it may."""


def test_light_modules_start_without_heavy_libraries() -> None:
    """`ssi plan` and `ssi status` answer at once. In a fresh process, this one has loaded them; one after the other."""
    forbidden = [set(libraries.split()) for libraries in LIGHT.values()]
    assert all(later <= earlier for earlier, later in itertools.pairwise(forbidden))
    code = f"""
import importlib, sys
for module, libraries in {LIGHT!r}.items():
    importlib.import_module("ssi_pipeline." + module)
    for library in sorted(set(libraries.split()) & set(sys.modules)):
        print(module, "imports", library)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
