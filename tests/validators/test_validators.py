"""Outputs of every kind open in the common OME-Zarr libraries, which have an environment of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.validators.outputs import MADE, VERSIONS, make_collections, make_labelled, make_outputs

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-validators" / "bin" / "python"
LIBRARIES = ("yaozarrs", "ome-zarr-models", "ome-zarr", "ngio", "tensorstore", "bioio-ome-zarr", "xarray")

INSTALLED = pytest.mark.skipif(
    not (PYTHON.parents[1] / ".installed").exists(),
    reason="the libraries that read our outputs are not installed: make validators",
)
# 13 runs, in the long form 34, a second each where nothing else goes on
pytestmark = [INSTALLED, pytest.mark.slow, pytest.mark.timeout(900)]

OME_XML = "ZarrUserWarning: Object at METADATA.ome.xml is not recognized as a component of a Zarr hierarchy."
"""What zarr says of the file that bioformats2raw's layout has in its group OME, when all of an output is walked."""

Rows = list[dict[str, Any]]


def check(manifest: list[dict[str, Any]], folder: Path) -> Rows:
    """Let all libraries read the outputs of a manifest."""
    (folder / "manifest.json").write_text(json.dumps(manifest))
    command = [str(PYTHON), "-P", str(Path(__file__).with_name("check.py")), str(folder / "manifest.json")]
    # nothing of this environment: PYTHONPATH would bring our own zarr
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, env={"HOME": str(folder)})
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def table(rows: Rows) -> str:
    """Return for docs/data-model.md how many of the outputs each library read."""
    lines = ["| library | version | 0.5 | 0.4 |", "|---|---|---|---|"]
    for library in LIBRARIES:
        own = [r for r in rows if r["library"] == library]
        counts = []
        for version in VERSIONS:
            found = [not r["problem"] for r in own if r["version"] == version]
            counts.append(f"{sum(found)} of {len(found)}")
        lines.append(f"| {library} | {own[0]['library_version']} | {' | '.join(counts)} |")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return make_outputs(tmp_path_factory.mktemp("outputs"))


def test_every_kind_of_output_opens_in_every_library(outputs: list[dict[str, Any]], tmp_path: Path) -> None:
    rows = check(outputs, tmp_path)
    print(table(rows))
    assert len(rows) == len(MADE) * len(LIBRARIES)
    assert [row for row in rows if row["problem"]] == []
    warned = {(row["kind"], row["library"], warning) for row in rows for warning in row["warnings"]}
    assert warned == {("ome-tiff", "xarray", OME_XML)}


def test_plates_and_series_open_in_the_libraries_that_know_them(tmp_path: Path) -> None:
    rows = check(make_collections(tmp_path), tmp_path)
    assert len(rows) == 4 * 4
    assert [row for row in rows if row["problem"]] == []
    assert [row for row in rows if row["warnings"]] == []


def test_labels_and_tables_that_were_carried_along_open_in_the_libraries_that_know_them(tmp_path: Path) -> None:
    rows = check(make_labelled(tmp_path), tmp_path)
    assert len(rows) == 2 * 6
    assert [row for row in rows if row["problem"]] == []
    assert [row for row in rows if row["warnings"]] == []


def edit(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def without(key: str) -> Callable[[Any], None]:
    """Take something out of the first channel of OME-Zarr 0.4."""
    return lambda document: document["omero"]["channels"][0].pop(key)


HARM: list[tuple[str, Callable[[Any], None], set[str]]] = [
    ("0/.zarray", lambda d: d["compressor"].update(checksum=True), {"tensorstore"}),
    (".zattrs", without("color"), {"yaozarrs", "ngio", "ome-zarr-models"}),
    (".zattrs", without("window"), {"yaozarrs", "ngio", "ome-zarr-models"}),
    ("quality/flag/.zattrs", lambda d: d.update(_ARRAY_DIMENSIONS=list("tczyx")), {"xarray"}),
]
"""Earlier defects: the file, and the library that reported them."""

OTHER_PIXELS = "other pixels"


def test_the_check_would_say_what_was_wrong_before(outputs: list[dict[str, Any]], tmp_path: Path) -> None:
    (good,) = [o for o in outputs if o["kind"] == "region" and o["version"] == "0.4"]
    damaged = []
    for i, (name, change, _) in enumerate(HARM):
        copy = Path(shutil.copytree(good["path"], tmp_path / str(i)))
        edit(copy / name, change)
        images = [{**image, "path": str(copy)} for image in good["images"]]
        damaged.append({**good, "kind": f"{i} {name}", "path": str(copy), "images": images})
    other = [{**image, "levels": [{**level, "sha256": ""} for level in image["levels"]]} for image in good["images"]]
    damaged.append({**good, "kind": OTHER_PIXELS, "images": other})
    rows = check(damaged, tmp_path)
    found: dict[str, set[str]] = {output["kind"]: set() for output in damaged}
    for row in rows:
        found[row["kind"]] |= {row["library"]} if row["problem"] else set()
    assert list(found.values())[:-1] == [expected for _, _, expected in HARM]
    assert found[OTHER_PIXELS] == {"ome-zarr", "ngio", "tensorstore", "bioio-ome-zarr", "xarray"}
