"""Imports point down only: a lower layer never knows a higher one."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ssi_pipeline

ROOT = Path(ssi_pipeline.__file__).parent

LAYERS = (
    ("exit_status", "interrupts"),
    ("errors", "redact", "methods"),
    ("config", "geometry", "tiff"),
    ("physics", "quality", "needs"),
    ("inversion", "stitch", "storage"),
    ("executors", "tasks"),
    ("run", "progress"),
    ("report", "preview", "benchmark", "cluster", "demo", "parser", "last_words", "cli", "__main__"),
)
"""From the bottom up. The package's own __init__ is below all: it has the version and imports nothing."""

RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

SIDEWAYS = {
    ("run", "progress"),
    ("cli", "parser"),
    ("cli", "last_words"),
    ("cli", "report"),
    ("cli", "preview"),
    ("preview", "report"),
    ("cli", "benchmark"),
    ("cli", "cluster"),
    ("cli", "demo"),
    ("demo", "report"),
    ("demo", "benchmark"),
    ("__main__", "cli"),
    ("executors", "tasks"),
}
"""Allowed within a layer, in this direction only: (who imports, what)."""


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


def allowed(importer: str, what: str) -> bool:
    return importer == what or RANK[what] < RANK[importer] or (importer, what) in SIDEWAYS


def test_every_module_has_a_layer() -> None:
    strangers = sorted({top_of(path) for path in modules()} - RANK.keys() - {"__init__"})
    assert not strangers, f"{strangers}: say in which layer they are, in LAYERS of {__file__}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    importer = top_of(path)
    wrong = []
    for line, what in imported(path):
        assert what in RANK, f"{path.name}, line {line}: ssi_pipeline.{what} has no layer in {__file__}"
        if importer == "__init__" or not allowed(importer, what):
            wrong.append(f"{path.relative_to(ROOT)}, line {line}: {importer} imports {what}, which is not below it")
    assert not wrong, "\n".join(wrong)


def test_a_wrong_import_would_be_seen() -> None:
    assert allowed("run", "geometry")
    assert allowed("cli", "report")
    assert not allowed("report", "cli")
    assert not allowed("geometry", "storage")
    assert not allowed("geometry", "config")
    assert not allowed("storage", "inversion")


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("errors", "numpy torch dask distributed zarr pydantic"),
        ("methods", "numpy torch dask distributed zarr pydantic"),
        ("config", "numpy torch dask distributed zarr"),
        ("geometry", "torch dask distributed zarr"),
        ("cli", "torch dask distributed"),
        ("run.planning", "torch dask distributed"),
        ("run.status", "torch dask distributed"),
        ("run.watch", "torch dask distributed"),
        ("run.output_checks", "torch dask distributed"),
        ("run.setup", "torch dask distributed"),
        ("report", "torch dask distributed"),
    ],
)
def test_light_modules_start_without_heavy_libraries(module: str, heavy: str) -> None:
    """`ssi plan` and `ssi status` answer at once. In a fresh process: this one has loaded them."""
    name = f"ssi_pipeline.{module}"
    code = f"import sys, {name}; print(*sorted(set(sys.modules) & set({heavy.split()!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], f"import {name} also imports {done.stdout.strip()}"
