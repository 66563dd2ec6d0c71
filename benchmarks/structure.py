"""Count what makes the package easy or hard to change: lines, folders, circles of imports, options, frames.

python benchmarks/structure.py                        this package, docs/architecture.md has the table
python benchmarks/structure.py --package OTHER        another commit's, without the frames of a run
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import yaml

import ssi_pipeline
from ssi_pipeline.cli import main as ssi
from ssi_pipeline.physics.convolution import Convolution

HERE = Path(ssi_pipeline.__file__).parent

RUN = {
    "input": {"path": "input.tif"},
    "output": {"path": "output.zarr"},
    "psf": {"kind": "gaussian", "fwhm_px": {"y": 2, "x": 2}},
    "solver": "wiener",
    "executor": {"kind": "serial", "device": "cpu"},
}


def imports(root: Path) -> dict[str, set[str]]:
    """Return which files import which, also inside functions and for type checkers."""
    names = {
        ".".join([root.name, *path.relative_to(root).with_suffix("").parts]).removesuffix(".__init__"): path
        for path in root.rglob("*.py")
    }
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        asked: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                parts = {f"{node.module}.{alias.name}" for alias in node.names}
                asked |= {part if part in names else node.module for part in parts}
            elif isinstance(node, ast.Import):
                asked |= {alias.name for alias in node.names}
        found[name] = asked & names.keys()
    return found


def circles(graph: dict[str, set[str]]) -> list[int]:
    """Return the sizes of the sets of files each of which imports itself by way of all others."""
    below: dict[str, set[str]] = {}
    for name in graph:
        seen, ahead = set[str](), [name]
        while ahead:
            new = graph[ahead.pop()] - seen
            seen |= new
            ahead += new
        below[name] = seen
    found = {frozenset(other for other in below[name] if name in below[other]) for name in graph if name in below[name]}
    return sorted((len(circle) for circle in found), reverse=True)


def functions_with(trees: list[ast.Module], annotation: str) -> int:
    """Count the functions that have a parameter of a type."""
    functions = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    arguments = ([*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs] for f in functions)
    return sum(any(a.annotation and annotation in _names(a.annotation) for a in each) for each in arguments)


def _names(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def options(template: str) -> int:
    """Count the options of the template, commented or not; a kind of PSF counts as one."""
    text = "\n".join(re.sub(r"^( *)#([a-z_0-9]+:(?: .*)?)$", r"\1\2", line) for line in template.splitlines())

    def leaves(section: dict[str, Any]) -> Iterator[str]:
        for key, value in section.items():
            yield from leaves(value) if isinstance(value, dict) and value else [key]

    document = yaml.safe_load(text)
    return sum(1 for _ in leaves({**document, "psf": "one"}))


def path_to_convolution() -> list[str]:
    """Return the package's frames, outermost first, between `ssi run` and its first convolution, as file:function."""
    found: list[str] = []
    convolve = Convolution.__call__

    def noted(self: Convolution, image: Any) -> Any:
        stack = traceback.extract_stack()[:-1]
        found[:] = found or [f"{f.filename}:{f.name}" for f in stack if Path(f.filename).is_relative_to(HERE)]
        return convolve(self, image)

    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        image = np.random.default_rng(0).poisson(100, (64, 64)).astype(np.uint16)
        tifffile.imwrite(Path(folder, "input.tif"), image)
        Path(folder, "run.yaml").write_text(yaml.safe_dump(RUN))
        Convolution.__call__ = noted  # type: ignore[method-assign]
        try:
            ssi(["run", str(Path(folder, "run.yaml"))])
        finally:
            Convolution.__call__ = convolve  # type: ignore[method-assign]
    return [frame.removeprefix(f"{HERE}/") for frame in found]


def count(root: Path) -> dict[str, str]:
    """Return the counts of a package by name."""
    texts = {path: path.read_text() for path in sorted(root.rglob("*.py"))}
    trees = [ast.parse(text) for text in texts.values()]
    outside = [tree for path, tree in zip(texts, trees, strict=True) if path.parent.name != "config"]
    copies = sum(isinstance(n, ast.Attribute) and n.attr == "model_copy" for t in outside for n in ast.walk(t))
    folders = Counter(path.parent for path in texts if path.name != "__init__.py")
    folder, most = folders.most_common(1)[0]
    return {
        "files": str(len(texts)),
        "lines": f"{sum(len(text.splitlines()) for text in texts.values()):,}",
        "largest flat folder": f"{most} ({folder.relative_to(root.parent).as_posix()})",
        "circles of imports, files in each": ", ".join(map(str, circles(imports(root)))) or "0",
        "options": str(options((root / "config" / "template.yaml").read_text())),
        "functions that take RunConfig whole": str(functions_with(trees, "RunConfig")),
        "copies of a configuration with other values, outside config/": str(copies),
    }


def main(arguments: list[str] | None = None) -> dict[str, str]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, help="folder of another version of ssi_pipeline")
    parser.add_argument("--frames", action="store_true", help="list the frames")
    parser.add_argument("--short", action="store_true", help="the same: it takes seconds")
    chosen = parser.parse_args(arguments)
    found = count((chosen.package or HERE).resolve())
    if chosen.package is None:
        frames = path_to_convolution()
        files = {frame.partition(":")[0] for frame in frames}
        found["frames from ssi run to the first convolution"] = f"{len(frames)} in {len(files)} files"
        if chosen.frames:
            print("\n".join(frames))
    print("| what | count |\n|---|---|")
    print("\n".join(f"| {name} | {value} |" for name, value in found.items()))
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
