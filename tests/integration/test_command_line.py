"""The command line as a stranger meets it: first configuration, --set, --json, completion, suggestions."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from builders import beads, config_of, level, make_run, write_zarr

from ssi_pipeline.cli import main
from ssi_pipeline.commands.first_try import first_try
from ssi_pipeline.config import load_config
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.run.planning import TimeEstimate
from ssi_pipeline.run.prepare import prepare

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"

TYPES: dict[str, type | tuple[type, ...]] = {
    "integer": int,
    "number": (int, float),
    "text": str,
    "boolean": bool,
    "list": list,
    "object": dict,
    "null": type(None),
}

WIDEFIELD = ["--psf", "widefield", "--na", "1.4", "--wavelength-um", "0.52"]


def said(capsys: pytest.CaptureFixture[str], *arguments: Any, status: int = 0) -> str:
    """Run a command in this process; returns its standard output."""
    assert main([str(part) for part in arguments]) == status
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """Run a command that is refused; returns its standard error."""
    try:
        status: Any = main([str(part) for part in arguments])
    except SystemExit as ended:  # the parser's way
        status = ended.code
    assert status == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


# ssi init


ROOT = PAGE.parents[1]
EXAMPLES = [*sorted((ROOT / "workflows").rglob("*")), *sorted((ROOT / "cluster").rglob("*"))]
EXAMPLES = [path for path in EXAMPLES if path.is_file() and path.name != "README.md"]


@pytest.mark.parametrize("source", EXAMPLES, ids=lambda path: path.name)
def test_every_workflow_and_script_is_taken_from_the_package(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a b").mkdir()
    home = ROOT / ("workflows" if ROOT / "workflows" in source.parents else "cluster")
    name = str(source.relative_to(home))
    said(capsys, "init", "a b/mine", "--from", name.removesuffix(".yaml"))
    made, kept = Path("a b/mine").read_text(), source.read_text()
    assert not re.search(r"#.*(?<![\w./])(workflows|cluster)/", made), "paths of the repository"
    for before, now in zip(kept.splitlines(), made.splitlines(), strict=True):
        if now != before:  # only comments differ
            assert now.partition("# ")[0] == before.partition("# ")[0]
    if f"{home.name}/{name}" in "".join(re.findall("#.*", kept)):
        assert "'a b/mine'" in made
    if source.suffix == ".yaml":
        assert yaml.safe_load(made) == yaml.safe_load(kept)


def test_a_workflow_that_does_not_exist_is_answered_with_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(capsys, "init", tmp_path / "run.yaml", "--from", "wide-field-stack")
    assert "did you mean 'widefield-stack'?" in told
    for source in EXAMPLES:
        assert source.name.removesuffix(".yaml") in told
    assert "  quickstart          a first run on your own data" in told
    assert "exclusive" in refused(capsys, "init", tmp_path / "run.yaml", "--from", "slurm", "--full")
    assert "no configuration" in refused(capsys, "init", tmp_path / "a", "--from", "array.sbatch", "--psf", "identity")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("known", [True, False])
def test_an_image_and_a_psf_replace_those_of_a_workflow(
    known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if known:
        imagej(Path("stack.tif"))
    else:
        tifffile.imwrite("stack.tif", beads((9, 32, 32)))
    told = said(capsys, "init", "run.yaml", "--from", "widefield-stack", "--input", "stack.tif")
    made, kept = (
        yaml.safe_load(path.read_text()) for path in (Path("run.yaml"), ROOT / "workflows/widefield-stack.yaml")
    )
    assert made["input"]["path"] == "stack.tif"
    assert made["psf"] == kept["psf"]
    assert made["tiling"] == kept["tiling"]
    assert ("voxel_size_um" in told) is not known, "never the example's"
    assert made["input"].get("voxel_size_um") is None
    said(capsys, "init", "other.yaml", "--from", "quickstart", "--input", "stack.tif", *WIDEFIELD)
    made = yaml.safe_load(Path("other.yaml").read_text())
    assert made["psf"]["kind"] == "widefield"
    assert made["tiling"] == {"dimensions": 2}


def imagej(path: Path, planes: int = 9) -> Path:
    metadata = {"axes": "ZYX", "spacing": 0.3, "unit": "um"}
    tifffile.imwrite(path, beads((planes, 32, 32)), imagej=True, resolution=(10, 10), metadata=metadata)
    return path


def test_a_configuration_is_written_from_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    imagej(Path("stack.tif"))
    told = said(capsys, "init", "run.yaml", "--input", "stack.tif", *WIDEFIELD)
    assert "zyx 9 x 32 x 32 uint16" in told
    assert "fill in" not in told
    text = Path("run.yaml").read_text()
    assert "FILL IN" not in text
    assert "path: stack.tif " in text, "a path from the configuration's folder"
    config = load_config("run.yaml")
    psf: Any = config.psf[0]
    assert (psf.kind, psf.numerical_aperture, psf.wavelength_um, psf.refractive_index) == (
        "widefield",
        1.4,
        0.52,
        1.515,
    )
    assert config.tiling.dimensions == 3, "a computed PSF has an axial spread"
    assert json.loads(said(capsys, "plan", "run.yaml", "--json"))["input"]["voxel_size_um"] == [0.3, 0.1, 0.1]
    assert "exists" in refused(capsys, "init", "run.yaml", "--input", "stack.tif")
    assert Path("run.yaml").read_text() == text


@pytest.mark.parametrize("form", [[], ["--full"]])
def test_what_nobody_says_has_to_be_filled_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: list[str]
) -> None:
    tifffile.imwrite(tmp_path / "plain.tif", beads((3, 32, 32)), photometric="minisblack")
    path = tmp_path / "run.yaml"
    told = said(capsys, "init", path, "--input", tmp_path / "plain.tif", "--psf", "widefield", *form)
    lacking = "input.axes, input.voxel_size_um, psf.numerical_aperture, psf.wavelength_um, psf.refractive_index"
    assert f"marked FILL IN: {lacking}" in told
    marked = {line.split(":")[0].strip() for line in path.read_text().splitlines() if "# FILL IN: " in line}
    assert marked == {name.split(".")[1] for name in lacking.split(", ")}
    assert "psf.numerical_aperture: expected a number above 0, found nothing" in refused(capsys, "plan", path)
    filled = {"axes": "zyx", "voxel_size_um": "{z: 0.3, y: 0.1, x: 0.1}", "numerical_aperture": "0.8"}
    filled |= {"wavelength_um": "0.5", "refractive_index": "1.0"}
    text = path.read_text()
    for key, value in filled.items():
        text = re.sub(rf"^  {key}: .*$", f"  {key}: {value}", text, count=1, flags=re.MULTILINE)
    path.write_text(text)
    assert "3 x 32 x 32" in said(capsys, "plan", path)


def test_the_optics_of_an_ome_tiff_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    xml = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Instrument ID="Instrument:0">
<Objective ID="Objective:0" LensNA="0.75"/></Instrument><Image ID="Image:0"><ObjectiveSettings ID="Objective:0"
RefractiveIndex="1.0"/><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="32" SizeY="32" SizeZ="2"
SizeC="1" SizeT="1" PhysicalSizeX="0.2" PhysicalSizeY="0.2" PhysicalSizeZ="1"><Channel ID="Channel:0:0"
EmissionWavelength="520"
EmissionWavelengthUnit="nm" SamplesPerPixel="1"/><TiffData/></Pixels></Image></OME>"""
    tifffile.imwrite(tmp_path / "a.ome.tif", beads((2, 32, 32)), description=xml, metadata=None)
    told = said(capsys, "init", tmp_path / "run.yaml", "--input", tmp_path / "a.ome.tif", "--psf", "widefield")
    assert "fill in" not in told
    psf: Any = load_config(tmp_path / "run.yaml").psf[0]
    assert (psf.numerical_aperture, psf.wavelength_um, psf.refractive_index) == (0.75, 0.52, 1.0)
    told = said(capsys, "info", tmp_path / "a.ome.tif")
    assert "OME version  2016-06" in told
    assert "na 0.75, wavelength_um 0.52, immersion 1" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--na", "1.4"], "--na: only a computed PSF needs them"),
        (["--psf", "widefeld"], "--psf widefeld: expected gaussian, widefield"),
        (["--immersion", "honey"], "expected air, water"),
        (["--all"], "unknown argument '--all'; did you mean '--full'?"),
        (["--input", "absent.tif"], "absent.tif not found"),
    ],
)
def test_init_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert message in refused(capsys, "init", tmp_path / "run.yaml", *arguments)
    assert not list(tmp_path.iterdir())


# --set


def test_a_change_is_part_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_run(tmp_path, beads((1, 32, 32)))
    changes = ["--set", "seed=3", "--set", "output.dtype=float32"]
    assert main(["run", str(path), *changes, "-q"]) == 0
    assert capsys.readouterr().err == ""
    assert level(tmp_path / "out.zarr").dtype == np.float32
    message = refused(capsys, "run", path)
    assert "config.seed: 3 -> 0" in message, "without the change it is another run"
    text = path.read_text()
    path.write_text(yaml.safe_dump({**yaml.safe_load(text), "seed": 3}))
    assert main(["run", str(path), "--set", "output.dtype=float32"]) == 0, "an edited file is the same as a change"
    lines = capsys.readouterr().err.splitlines()
    assert "resuming: 1 of 1 tiles" in lines[0]
    assert f"ssi report {path} --set output.dtype=float32" in lines[-1]


def test_a_change_reaches_every_kind_of_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_run(tmp_path / "run", None)
    monkeypatch.chdir(tmp_path)
    changes = ["input.path=here.zarr", "training.bounds.lower=null", "tiling.core={y: 64, x: 32}", "psf.fwhm_px.y=4"]
    config = load_config(path, changes)
    assert config.input.path == tmp_path / "here.zarr", "relative to the working directory"
    assert config.output.path == tmp_path / "run" / "out.zarr", "relative to the file"
    assert config.training.bounds.lower is None
    assert config.tiling.core == {"y": 64, "x": 32}
    whole = load_config(path, ["psf=[{kind: file, path: a.npy}, {kind: identity}]", "psf.0.path=b.npy"])
    assert [getattr(part, "path", None) for part in whole.psf] == [tmp_path / "b.npy", None]
    assert load_config(path, ["input.axes='zyx'"]).input.axes == "zyx"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("trainig.steps=3", "trainig: unknown key; did you mean 'training'?"),
        ("training.steps=many", "training.steps: expected an integer above 0 or 'auto', found 'many'"),
        ("training.steps", "expected key=value"),
        ("training.steps=1,2", "only `ssi preview` compares several"),
        ("solver.x=3", "solver is 'identity', not a section"),
        ("seed={", "invalid value"),
    ],
)
def test_a_wrong_change_is_named(tmp_path: Path, change: str, message: str) -> None:
    path = make_run(tmp_path, None)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load_config(path, [change])
    assert re.search(f"--set '?{re.escape(change.partition('=')[0])}", str(caught.value))


# --json


def documented(command: str) -> dict[str, list[str]]:
    """Return the keys of a command's document and their types, as the page has them."""
    (section,) = re.findall(rf"^### {command}\n(.*?)(?=^### |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return {
        key: types.split(" or ") for key, types in re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", section, re.MULTILINE)
    }


def leaves(document: dict[str, Any], known: dict[str, list[str]], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        name = f"{prefix}{key}"
        if name in known or not isinstance(value, dict):
            yield name, value
        else:
            yield from leaves(value, known, f"{name}.")


def check_document(command: str, text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text)
    known = documented(command)
    found = dict(leaves(document, known))
    assert list(found) == list(known)
    for name, value in found.items():
        allowed = [TYPES[kind] for kind in known[name]]
        assert any(isinstance(value, kind) for kind in allowed), f"{name}: {value!r} is no {known[name]}"
        assert not (isinstance(value, bool) and "boolean" not in known[name]), name
    return document


def test_documents_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_run(tmp_path, beads((2, 32, 32)), solver="wiener")
    plan = check_document("plan", said(capsys, "plan", path, "--json"))
    assert (plan["tiles"], plan["seconds"], plan["region"]) == (2, None, [1, 1, 2, 32, 32])
    assert main(["run", str(path), "-v"]) == 0
    assert re.search(r"^solve/1: wiener, [0-9.]+ s on ", capsys.readouterr().err, re.MULTILINE)
    status = check_document("status", said(capsys, "status", path, "--json"))
    assert (status["complete"], status["tiles"]["done"], status["solved_by"]) == (True, 2, {"wiener": 2})
    watched = check_document("status", said(capsys, "status", path, "--json", "--watch"))
    assert watched["tiles"] == status["tiles"]
    verified = check_document("verify", said(capsys, "verify", path, "--json", "--input"))
    assert (verified["good"], verified["input"]["compared"]) == (True, 2)
    assert check_document("plan", said(capsys, "plan", path, "--json"))["seconds"]["tiles"] == 2
    (tmp_path / "out.zarr" / "0" / "c" / "0" / "0" / "0").unlink()
    assert check_document("verify", said(capsys, "verify", path, "--json", status=1))["blocks"]["bad"] == 1
    assert refused(capsys, "plan", path, "--json", "--set", "seed=-1")


def test_a_preview_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, folder = make_run(tmp_path, beads((1, 32, 32))), tmp_path / "seen"
    changes = ["--set", "solver=wiener", "--set", "classical.weight=0.01,0.1"]
    options = ["--tiles", "1", "--output", folder, "--json", *changes]
    document = check_document("preview", said(capsys, "preview", path, *options))
    assert [tile["variant"] for tile in document["tiles"]] == ["classical.weight=0.01", "classical.weight=0.1"]
    assert {tile["method"] for tile in document["tiles"]} == {"wiener"}, "a single value is no variant"
    assert document["plan"]["solver"] == "wiener"


def test_what_is_in_an_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = np.arange(2 * 32 * 32, dtype=np.uint16).reshape(2, 32, 32)
    write_zarr(tmp_path / "a.zarr", image, "zyx", chunk=16)
    document = check_document("info", said(capsys, "info", tmp_path / "a.zarr", "--json"))
    assert (document["kind"], document["chunk"], document["levels"]) == ("zarr v3 array", [1, 16, 16], [[2, 32, 32]])
    assert document["values"] == {"plane": "plane z 1", "min": 1024, "median": 1535.5, "max": 2047}
    assert document["run"]["tiles"] == 2
    tifffile.imwrite(tmp_path / "plain.tif", image)
    told = said(capsys, "info", tmp_path / "plain.tif")
    assert "2 x 32 x 32 uint16; not named: set input.axes, for instance zyx" in told
    assert "is refused" in told
    assert "needs a PSF; in 2D 2 tiles" in said(capsys, "info", imagej(tmp_path / "stack.tif", 2))


# configuration of an output, schema, completion, suggestions


@pytest.mark.parametrize("state", [True, False])
def test_an_output_gives_its_configuration_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], state: bool
) -> None:
    path = make_run(tmp_path, beads((1, 32, 32)), seed=5, sensor={"high": 60000})
    assert main(["run", str(path)]) == 0
    kept = tmp_path / "out.zarr.run"
    if not state:
        shutil.move(kept, tmp_path / "aside")
    capsys.readouterr()
    again = tmp_path / "again.yaml"
    again.write_text(said(capsys, "config", tmp_path / "out.zarr"))
    if not state:
        shutil.move(tmp_path / "aside", kept)
    found, made = load_config(again), config_of(path)
    assert found.model_dump(exclude={"executor"}) == made.model_dump(exclude={"executor"})
    assert (found.executor == made.executor) is state, "provenance does not say where tasks ran"
    assert main(["run", str(again), "--set", "executor.kind=serial"]) == 0
    assert "resuming: 1 of 1 tiles" in capsys.readouterr().err
    assert "no provenance of ssi" in refused(capsys, "config", tmp_path / "in.zarr")


def test_completion_in_a_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ssi.bash").write_text(said(capsys, "completion", "bash"))
    script = """source ssi.bash
complete_line() { COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); COMPREPLY=(); _ssi; echo "${COMPREPLY[@]}"; }
complete_line ssi st
complete_line ssi run run.yaml --re
complete_line ssi run run.yaml --set classical.w
complete_line ssi run run
"""
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["status", "--retry-failed --recreate-output", "classical.weight=", ""]


def test_a_misspelt_word_is_answered_with_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown command 'plna'; did you mean 'plan'?" in refused(capsys, "plna", "run.yaml")
    assert "unknown argument '--pilto'; did you mean '--pilot'?" in refused(capsys, "plan", "run.yaml", "--pilto", "4")
    assert "for an image: `ssi init run.yaml --input" in refused(capsys, "plan", imagej(tmp_path / "stack.tif"))


def test_a_long_run_is_tried_on_a_part_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_run(tmp_path, np.ones((2, 1100, 1200), np.uint8), solver="ssi", output={"path": "my out.zarr"})
    prepared = prepare(config_of(path))
    assert first_try(prepared, TimeEstimate(60, 50, 70, 4, "measured"), str(path)) == []
    hours = TimeEstimate(7200, 5000, 9000, 4, "measured")
    line, advice = first_try(prepared, hours, str(path))
    assert advice.startswith(f"{prepared.document.plan.n_tiles} networks will be trained")
    words = shlex.split(line.partition("ssi run ")[2])
    plan = json.loads(said(capsys, "plan", *words, "--json"))
    assert (plan["solver"], plan["region"]) == ("wiener", [1, 1, 1, 1000, 1000])
    assert plan["output"]["path"] == str(tmp_path / "my out-first-try.zarr")
    shared = prepare(load_config(path, ["training.scope=shared"]))
    assert len(first_try(shared, hours, str(path))) == 1


def test_quick_commands_load_nothing_heavy(tmp_path: Path) -> None:
    """Not the time is measured, which varies, but what takes it."""
    tifffile.imwrite(tmp_path / "in.tif", beads((2, 32, 32)), imagej=True, metadata={"axes": "ZYX"})
    path = make_run(tmp_path, None, input={"path": "in.tif"})
    code = """
import sys
from ssi_pipeline.cli import main
heavy = {"torch", "dask", "distributed", "scipy.stats", "scipy.ndimage", "matplotlib", "rich", "jinja2", "skimage"}
heavy |= {"scipy.special"}
driving = {"ssi_pipeline.run.driver", "ssi_pipeline.run.scheduling", "ssi_pipeline.report"}
driving |= {"ssi_pipeline." + name for name in ("executors.base", "tasks.execute", "tasks.ability", "tasks.solve_tile")}
try:
    main(sys.argv[1:])
except SystemExit:
    pass
if sys.argv[1] != "status":
    heavy |= {"zarr"}  # the metrics of a finished run are zarr arrays
else:
    heavy |= {"tifffile", "ssi_pipeline.physics.psf_loader", "ssi_pipeline.executors"}  # it reads no image, no PSF file
if sys.argv[1] == "--help":
    heavy |= {"numpy", "pydantic", "yaml", "scipy", "tifffile"}
print("loaded", sorted((heavy | driving) & set(sys.modules)))
"""
    for command in (["--help"], ["plan", str(path)], ["status", str(path)]):
        done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "loaded []", command
        if command[0] == "plan":
            assert main(["run", str(path)]) == 0
    done = subprocess.run(
        [sys.executable, "-m", "ssi_pipeline", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("ssi_pipeline ")


@pytest.mark.parametrize(
    "words",
    [
        ["import", "a.tif", "s3://bucket/a.zarr"],
        ["images", "s3:/bucket/plate.zarr"],
        ["psf", "make", "s3://bucket/psf.tif", "--kind", "gaussian"],
        ["export", "run.yaml", "--output", "https://me:hunter22@host/a.csv"],
    ],
)
def test_a_url_is_no_folder_here(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Its name would be a folder ``s3:`` otherwise, and nothing would be in the store."""
    with pytest.raises(SystemExit):
        main(words)
    said = capsys.readouterr().err
    assert "expected a path, found the URL" in said
    assert "hunter22" not in said
