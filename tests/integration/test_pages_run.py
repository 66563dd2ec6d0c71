"""The FAQ quotes what ssi says; in the long form, the commands of the tutorial and the how-tos are run."""

from __future__ import annotations

import ast
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
import zarr
from scipy.ndimage import gaussian_filter

from ssi_pipeline.cli import main

DOCS = Path(__file__).parents[2] / "docs"
SETTINGS: dict[str, Any] = {
    "input": {"path": "in.zarr"},
    "output": {"path": "out.zarr"},
    "psf": {"kind": "gaussian", "fwhm_px": {"y": 2, "x": 2}},
    "solver": "wiener",
    "executor": {"kind": "serial"},
}
SIZED = {"path": "in.zarr", "voxel_size_um": {"y": 0.1, "x": 0.1}}
WIDEFIELD = {"kind": "widefield", "numerical_aperture": 1.4, "wavelength_um": 0.52}

PROVOKED: dict[str, tuple[str, Mapping[str, Any]]] = {
    "unknown key": ("plan run.yaml", {"solvr": "wiener"}),
    "input not found": ("plan run.yaml", {"input": {"path": "nope.zarr"}}),
    "an output by URL": ("plan run.yaml", {"output": {"path": "s3://bucket/output.zarr", "state": None}}),
    "output and input overlap": ("run run.yaml", {"output": {"path": "in.zarr"}}),
    "the output was not written by ssi": ("run run.yaml", {"output": {"path": "foreign"}}),
    "the voxel size is missing": ("plan run.yaml", {"psf": WIDEFIELD}),
    "the wavelength is in nanometres": (
        "plan run.yaml",
        {
            "psf": {**WIDEFIELD, "wavelength_um": 520},
            "input": {"path": "in.zarr", "voxel_size_um": {"y": 0.1, "x": 0.1}},
        },
    ),
    "the PSF is off centre": ("plan run.yaml", {"psf": {"kind": "file", "path": "off.npy"}}),
    "3D tiles of a single plane": ("plan run.yaml", {"tiling": {"dimensions": 3}}),
    "a tile needs more memory": ("plan run.yaml", {"executor": {"kind": "serial", "memory_gib": 0.2}}),
    "SLURM needs workers and memory": ("plan run.yaml", {"executor": {"kind": "slurm"}}),
    "started with other settings": ("run run.yaml", {"classical": {"weight": 0.1}}),
    "a single file cannot be followed": ("run --follow run.yaml", {"input": {"path": "in.tif"}}),
    "no run": ("status run.yaml", {"output": {"path": "other.zarr"}}),
    "a crate of an unfinished output": ("crate in.zarr", {}),
}
"""For each section of the FAQ: a command that is answered with its message, and what differs in the configuration."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).poisson(100, (64, 64)).astype("uint16")
    zarr.create_array("in.zarr", data=image, chunks=(32, 32), dimension_names=("y", "x"))
    distance = np.arange(-8, 9)[:, None] ** 2 + np.arange(-8, 9) ** 2
    np.save("off.npy", np.roll(np.exp(-distance / 8), 4, 0))
    Path("foreign").mkdir()
    Path("foreign/file").touch()
    return tmp_path


def configure(changes: Mapping[str, Any]) -> None:
    Path("run.yaml").write_text(yaml.safe_dump(SETTINGS | dict(changes)))


def test_the_faq_quotes_what_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (DOCS / "faq.md").read_text()
    quoted = dict(re.findall(r"^### ([^\n]*)\n\n```text\n(.*?)\n```", page, re.MULTILINE | re.DOTALL))
    assert set(quoted) == set(PROVOKED)
    configure({})
    assert main(["run", "run.yaml", "-q"]) == 0
    for title, (command, changes) in PROVOKED.items():
        configure(changes)
        capsys.readouterr()
        assert main(command.split()) == 2, title
        said = capsys.readouterr().err
        pattern = ".*?".join(re.escape(part) for part in quoted[title].split("…"))
        assert re.search(pattern, said, re.DOTALL), f"{title}: {said}"


def texts(source: str) -> Iterator[str]:
    """Yield the texts of a module, joined as they are said; "…" for what is filled in."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_what_the_faq_says_that_a_run_says_is_in_the_source() -> None:
    package = DOCS.parent / "ssi_pipeline"
    files = [path for folder in ("results", "run", "inversion/sensor") for path in (package / folder).rglob("*.py")]
    said = "\n".join(text for path in files for text in texts(path.read_text()))
    quoted = re.findall(r'^\| "(.*?)" \|', (DOCS / "faq.md").read_text(), re.MULTILINE)
    assert len(quoted) == 8
    for text in quoted:
        assert text in said, text


def scripts(page: str) -> list[str]:
    """The shell blocks of a page, but for those marked as needing what is not here."""
    text = re.sub(r"<!-- not run: .* -->\n```bash\n(.*?)```", "", (DOCS / page).read_text(), flags=re.DOTALL)
    return re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def execute(text: str, folder: Path) -> None:
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=folder, env={**os.environ, "PATH": places}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tutorial_can_be_followed(tmp_path: Path) -> None:
    """With a network of 30 steps in place of 600."""
    script = "\n".join(scripts("tutorial.md"))
    execute(
        script.replace("network.zarr\n", "network.zarr --set training.steps=30 --set quality.extended=false\n"),
        tmp_path,
    )
    (source,) = re.findall(r"```python\n(.*?)```", (DOCS / "tutorial.md").read_text(), re.DOTALL)
    subprocess.run([sys.executable, "-c", source], cwd=tmp_path / "tutorial", check=True)
    assert (tmp_path / "tutorial" / "compared.png").exists()
    assert (tmp_path / "tutorial" / "preview-output" / "contact-sheet.png").exists()
    assert (tmp_path / "tutorial" / "network.zarr.run" / "report.html").exists()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_loop_over_a_plate_can_be_followed(folder: Path) -> None:
    for field in ("A/1/0", "B/2/0"):
        image = np.random.default_rng(0).poisson(100, (48, 48)).astype("uint16")
        zarr.create_array(f"plate.zarr/{field}", data=image, chunks=(48, 48), dimension_names=("y", "x"))
    (source,) = re.findall(r"```python\n(.*?)```", (DOCS / "my-data.md").read_text(), re.DOTALL)
    (folder / "loop.py").write_text(source.replace("deconvolved/", "again/"))
    subprocess.run([sys.executable, "loop.py"], cwd=folder, check=True)
    assert len(list((folder / "again").glob("*.zarr"))) == 2


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_that_judge_a_run_can_be_followed(folder: Path) -> None:
    configure({})
    np.save("psf.npy", np.roll(np.load("off.npy"), -4, 0))
    np.save("other-psf.npy", np.load("psf.npy") ** 2)
    assert main(["run", "run.yaml", "-q"]) == 0
    for text in scripts("is-it-good.md"):
        execute(text, folder)
    assert (folder / "metrics.csv").exists()


ELSEWHERE = re.compile(
    r"^(?:ssi view|ssi cluster|pip install|python3 -m venv|git clone|make |ssi run --follow).*\n", re.MULTILINE
)
"""What needs a window, a cluster, an index of packages or an acquisition, and has tests of its own."""


def write_stack(folder: Path) -> None:
    """Write stack.tif, an OME-TIFF with voxel size, and beads.tif and beads.zarr, of which channel 1 has the beads."""
    rng = np.random.default_rng(0)
    size = {"PhysicalSizeZ": 0.3, "PhysicalSizeY": 0.1, "PhysicalSizeX": 0.1}
    stack = rng.poisson(gaussian_filter(rng.random((6, 64, 64)) ** 8, (1, 2, 2)) * 4000).astype("uint16")
    tifffile.imwrite(folder / "stack.tif", stack, ome=True, metadata={"axes": "ZYX", **size})
    points = np.zeros((31, 190, 190))
    points[15, 30:180:40, 30:180:40] = 3e6
    beads = rng.poisson(gaussian_filter(points, (3, 2.2, 2.2)) + 100).astype("uint16")
    tifffile.imwrite(folder / "beads.tif", beads, ome=True, metadata={"axes": "ZYX", **size})
    both = np.stack([np.full_like(beads, 100), beads])
    scale = {"type": "scale", "scale": [1.0, 0.3, 0.1, 0.1]}
    axes = [{"name": "c", "type": "channel"}, *({"name": a, "type": "space", "unit": "micrometer"} for a in "zyx")]
    multiscale = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}
    attributes = {"ome": {"version": "0.5", "multiscales": [multiscale]}}
    group = zarr.create_group(folder / "beads.zarr", attributes=attributes)
    group.create_array("0", data=both, dimension_names=tuple("czyx"))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", ["../README.md", "my-data.md"])
def test_the_commands_for_a_stack_can_be_followed(tmp_path: Path, page: str) -> None:
    """With few steps of a small network: training in 3D takes a CPU minutes for each tile."""
    write_stack(tmp_path)
    (tmp_path / "small.yaml").write_text("training: {steps: 8}\nnetwork: {width: 2, levels: 2}\n")
    script = "\n".join(ELSEWHERE.sub("", text) for text in scripts(page))
    execute(
        re.sub(r"^ssi init run.yaml .*$", r"\g<0>\ncat small.yaml >> run.yaml", script, flags=re.MULTILINE), tmp_path
    )


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_both_examples_of_the_readme_can_be_followed(tmp_path: Path) -> None:
    execute("ssi demo --data-only --output demo-output", tmp_path)
    for language, name in (("yaml", "run.yaml"), ("python", "example.py")):
        (source,) = re.findall(rf"```{language}\n(.*?)```", (DOCS.parent / "README.md").read_text(), re.DOTALL)
        (tmp_path / name).write_text(source)
    execute("ssi run run.yaml; rm -r deconvolved.zarr*", tmp_path)
    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout == "True 4\nTrue\n(4, 384, 384) float32\n"


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_for_psfs_can_be_followed(tmp_path: Path) -> None:
    write_stack(tmp_path)
    document = {**SETTINGS, "input": {"path": "stack.tif"}, "psf": WIDEFIELD}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(document))
    execute("\n".join(ELSEWHERE.sub("", text) for text in scripts("psf.md")), tmp_path)
    assert (tmp_path / "psf.png").exists()
    assert (tmp_path / "beads.html").exists()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_followed_run_is_the_ordinary_one(tmp_path: Path) -> None:
    """The page says that both are equal, and compares them by ``diff``."""
    rng, raw = np.random.default_rng(0), tmp_path / "raw"
    raw.mkdir()
    for t, z in itertools.product(range(4), range(2)):
        tifffile.imwrite(raw / f"scan_T{t}_Z{z}.tif", rng.poisson(100, (520, 520)).astype("uint16"))
    (raw / "acquisition.done").touch()
    text = (DOCS / "follow.md").read_text()
    (source,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "run.yaml").write_text(source)
    (script,) = re.findall(r"<!-- not run: .* -->\n```bash\n(.*?)```", text, re.DOTALL)
    execute(script, tmp_path)
