"""The report of real runs, parsed as a browser would."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from builders import write_zarr
from scipy import ndimage

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import InputError, OutputError
from ssi_pipeline.physics.widths import fwhm
from ssi_pipeline.report import write_report
from ssi_pipeline.report.drawing import round_below
from ssi_pipeline.report.facts import read_facts
from ssi_pipeline.report.grids import planes
from ssi_pipeline.report.sections.pictures import detail_corner
from ssi_pipeline.report.sections.seams import seams_section, worst_border
from ssi_pipeline.report.words import scaled, share
from ssi_pipeline.results.finish import METRICS
from ssi_pipeline.run import run
from ssi_pipeline.run.create import save_inputs
from ssi_pipeline.run.prepare import prepare
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.lock import run_lock
from ssi_pipeline.storage.state.records import TaskRecord
from ssi_pipeline.tasks.opening import open_context

SECTIONS = [
    "outcome",
    "pictures",
    "failures",
    "explorer",
    "tiles",
    "seams",
    "heldout",
    "maps",
    "timing",
    "psf",
    "calibration",
    "provenance",
]


class Page(HTMLParser):
    """What the tests ask of a page: text of each section, pictures with their labels, references, identifiers."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: dict[str, str] = {}
        self.labels: list[str] = []
        self.references: list[str] = []
        self.identifiers: list[str] = []
        self.rows = 0
        self._open: list[str] = []
        self._section = ""
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.rows += tag == "tr"
        self.identifiers += [known["id"] or ""] if "id" in known else []
        self.references += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "srcset", "data", "action")]
        if tag == "section":
            self._section = known["id"] or ""
            self.sections[self._section] = ""
        if tag == "svg":
            assert known.get("role") == "img"
            self.labels.append(known.get("aria-label") or "")
        if tag not in ("meta", "br", "hr", "img", "link"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        if self._section:
            self.sections[self._section] += data


def read_page(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://", text), "the page must open without a network"
    assert not re.search(r"<script[^>]*\bsrc|\b(?:fetch|import|XMLHttpRequest|eval)\s*\(", text)
    page = Page(text)
    assert list(page.sections) == SECTIONS
    assert all(page.labels), "every picture needs words"
    assert all(r.startswith(("#", "data:")) for r in page.references)
    assert len(set(page.identifiers)) == len(page.identifiers)
    targets = {r[1:] for r in page.references if r.startswith("#")}
    assert targets <= set(page.identifiers)
    assert "could not be created" not in text
    return page


def write_image(path: Path, shape: tuple[int, ...], axes: str, dtype: str = "uint16", chunk: int = 32) -> None:
    rng = np.random.default_rng(1)
    truth = ndimage.gaussian_filter(rng.random(shape), [0] * (len(shape) - 2) + [1.5, 1.5]) * 100
    values = np.clip(rng.normal(truth * 2, 2), 0, 250).astype(dtype)
    chunks = (1,) * (len(shape) - 2) + (chunk, chunk)
    array = zarr.create_array(path, shape=shape, chunks=chunks, dtype=dtype, dimension_names=tuple(axes))
    array[...] = values


def configure(root: Path, **changes: Any) -> RunConfig:
    document: dict[str, Any] = {
        "input": {"path": root / "in.zarr"},
        "output": {"path": root / "out.zarr", "pyramid": False},
        "psf": {"kind": "gaussian", "fwhm_px": {"z": 2.0, "y": 2.0, "x": 2.5}},
        "solver": "wiener",
        "tiling": {"dimensions": 2, "core": 32},
        "network": {"width": 2, "levels": 1},
        "training": {"steps": 4, "batch": 1},
        "executor": {"kind": "serial", "device": "cpu"},
    }
    for name, value in changes.items():
        old = document.get(name)
        document[name] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return RunConfig.model_validate(document)


def test_complete_run_in_2d(tmp_path: Path) -> None:
    write_image(tmp_path / "in.zarr", (2, 1, 70, 90), "czyx")
    size = {"z": 0.5, "y": 0.1, "x": 0.1}
    config = configure(tmp_path, input={"path": tmp_path / "in.zarr", "voxel_size_um": size})
    assert run(config).complete
    path = write_report(config, figures=tmp_path / "figures")
    assert path == StatePaths(config.state_path).report
    names = {file.stem for file in (tmp_path / "figures").glob("*.svg")}
    assert {"the-worst-tile", "map-of-heldout-after-on-the-grid-of-tiles", "input-and-output-of-channel-0"} <= names
    assert names == {file.stem for file in (tmp_path / "figures").glob("*.png")}
    page = read_page(path)
    assert "tilesfailed00%" in re.sub(r"\s", "", page.sections["outcome"])
    assert "linear (Wiener) solution" in page.sections["outcome"]
    assert page.sections["failures"].split() == ["Failures", "None."]
    assert sum(label.startswith("Input and output of channel") for label in page.labels) == 2
    assert "seam" in page.sections["maps"]
    assert re.search(r"x 2\.[56]\d px \(0\.2[56]\d* µm\)", page.sections["psf"])
    assert "noise_sigma" in page.sections["calibration"]
    assert "solver: wiener" in page.sections["provenance"]
    assert "use the linear solution" in page.sections["heldout"]
    assert not list(path.parent.glob("*.partial"))


@pytest.mark.long
def test_a_run_without_training_says_nothing_of_training(tmp_path: Path) -> None:
    write_image(tmp_path / "in.zarr", (40, 64), "yx")
    config = configure(tmp_path, solver="tv", classical={"weight": 0.05})
    assert run(config).complete
    page = read_page(write_report(config))
    assert "total variation, primal-dual" in page.sections["outcome"]
    assert "repeated trainings" not in page.sections["outcome"]
    assert "weight" in page.sections["calibration"]
    assert "than the linear solution" in page.sections["heldout"]
    assert any(
        label == "Held-out loss of the estimate of every tile against the linear solution" for label in page.labels
    )


def test_trained_run_shows_curves_and_every_metric(tmp_path: Path) -> None:
    write_image(tmp_path / "in.zarr", (64, 64), "yx", "uint8")
    config = configure(tmp_path, solver="ssi", training={"select": "network"})
    assert run(config).complete
    page = read_page(write_report(config, tmp_path / "report.html"))
    methods = page.sections["outcome"]
    trained = "self-supervised network" in methods
    assert trained or "fell back" in methods
    assert trained == any("Training curves" in label for label in page.labels)
    assert all(name in page.sections["maps"] for name in METRICS if name != "flag")  # shown as alarms, by their names
    assert "alarms" in page.sections["maps"]


@pytest.mark.parametrize(
    ("shape", "axes", "dtype", "changes"),
    [
        pytest.param((6, 40, 40), "zyx", "float32", {"tiling": {"dimensions": 3, "core": 20}}, marks=pytest.mark.long),
        ((3, 1, 33, 40), "tcyx", "uint8", {"solver": "identity", "psf": [{"kind": "identity"}]}),
        pytest.param(
            (5, 40, 40),
            "tyx",
            "int16",
            {"tiling": {"core": 40}, "output": {"dtype": "float32"}},
            marks=pytest.mark.long,
        ),
        ((1, 1, 1, 20, 64), "tczyx", "uint32", {"output": {"ome_zarr": "0.4"}}),
    ],
)
def test_axes_dtypes_and_solvers(
    tmp_path: Path, shape: tuple[int, ...], axes: str, dtype: str, changes: dict[str, Any]
) -> None:
    write_image(tmp_path / "in.zarr", shape, axes, dtype)
    config = configure(tmp_path, **changes)
    assert run(config).complete
    page = read_page(write_report(config))
    assert any(label.startswith("Input and output") for label in page.labels)
    if config.tiling.dimensions == 3:
        assert any("section along z and x" in label for label in page.labels)
    if config.solver == "identity":
        assert "No blur (identity)" in page.sections["psf"]


def test_not_finite_pixels(tmp_path: Path) -> None:
    write_image(tmp_path / "in.zarr", (64, 64), "yx", "float32")
    array = zarr.open_array(tmp_path / "in.zarr", mode="r+")
    array[10, 10:13] = [np.nan, np.inf, -np.inf]
    config = configure(tmp_path)
    run(config)
    assert "nonfinite" in read_page(write_report(config)).sections["maps"]


def test_constant_image(tmp_path: Path) -> None:
    write_zarr(tmp_path / "in.zarr", np.full((40, 40), 7, np.uint8), "yx")
    config = configure(tmp_path)
    assert run(config).complete
    assert "constant tile" in read_page(write_report(config)).sections["outcome"]


def damage_one_tile(root: Path) -> tuple[RunConfig, Path]:
    """Return a run with one corrupt chunk, away from the one place that the calibration samples."""
    write_image(root / "in.zarr", (512, 512), "yx", chunk=128)
    chunk = root / "in.zarr/c/0/0"
    return configure(root, tiling={"core": 128}), chunk


def test_failure_has_cause_place_and_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssi_pipeline.tasks.samples._SAMPLES", 1)
    config, chunk = damage_one_tile(tmp_path)
    chunk.write_bytes(b"no chunk")
    assert not run(config).complete
    path = write_report(config, configuration="'my run.yaml'")
    page = read_page(path)
    failures = page.sections["failures"]
    assert "ssi run --retry-failed 'my run.yaml'" in failures
    assert "CorruptDataError" in failures
    assert "solve/0" in failures
    assert "t 0, c 0, z 0, y 0, x 0" in failures
    assert "y 0 to 127, x 0 to 127" in failures
    assert "cannot be read" not in page.sections["pictures"]
    assert "incomplete: 4 of 16 tiles failed" in path.read_text()


@pytest.mark.long
def test_retried_failures_are_forgotten(tmp_path: Path) -> None:
    config, chunk = damage_one_tile(tmp_path)
    run(config)
    ledger = StatePaths(config.state_path).ledger
    with ledger.open("a") as stream:
        stream.write(TaskRecord("solve", 3, "failed", error="OSError: gone").to_line() + "\n")
    assert "OSError: gone" in read_page(write_report(config)).sections["failures"]
    with ledger.open("a") as stream:
        stream.write(TaskRecord("solve", 3, "done", attempt=2, quality={"method": "wiener"}).to_line() + "\n")
    assert read_page(write_report(config)).sections["failures"].split() == ["Failures", "None."]
    assert chunk.exists()


def test_run_that_cannot_be_calibrated(tmp_path: Path) -> None:
    config, _ = damage_one_tile(tmp_path)
    context = save_inputs(prepare(config))
    record = TaskRecord("calibrate", 0, "failed", error="InputError: no light")
    context.paths.ledger.write_text(record.to_line() + "\n")
    page = read_page(write_report(config))
    assert "InputError: no light" in page.sections["failures"]
    assert "channel 0" in page.sections["failures"]


def test_run_that_has_just_started(tmp_path: Path) -> None:
    """No calibration, no ledger, no output yet, and the client at work."""
    write_image(tmp_path / "in.zarr", (64, 64), "yx")
    config = configure(tmp_path)
    context = save_inputs(prepare(config))
    with run_lock(context.paths.lock):
        path = write_report(config)
    assert '<p class="state running">running</p>' in path.read_text()
    page = read_page(path)
    assert "not calibrated yet" in page.sections["calibration"]
    assert "output cannot be read" in page.sections["pictures"]


@pytest.mark.long
def test_partial_run_with_input_moved_away(tmp_path: Path) -> None:
    write_image(tmp_path / "in.zarr", (128, 128), "yx")
    config = configure(tmp_path)
    run(config)
    paths = StatePaths(config.state_path)
    lines = paths.ledger.read_bytes().splitlines(keepends=True)
    paths.ledger.write_bytes(b"".join(lines[: len(lines) // 2]) + b'{"kind":"solve","ind')  # a torn last line
    (tmp_path / "in.zarr").rename(tmp_path / "elsewhere.zarr")
    page = read_page(write_report(config))
    assert "input cannot be read" in page.sections["pictures"]
    assert "Hatched" in page.sections["pictures"]


def test_names_are_escaped(tmp_path: Path) -> None:
    write_image(tmp_path / "in.zarr", (40, 40), "yx")
    config = configure(tmp_path, output={"path": tmp_path / "<b>&µ.zarr"})
    run(config)
    path = write_report(config)
    read_page(path)
    assert "<b>&" not in path.read_text()
    assert path.read_bytes().isascii(), "reads the same whatever encoding is assumed"


def test_refusals(tmp_path: Path) -> None:
    write_image(tmp_path / "in.zarr", (40, 40), "yx")
    config = configure(tmp_path)
    with pytest.raises(InputError, match="no run"):
        write_report(config)
    save_inputs(prepare(config))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="--figures"):
        write_report(config, figures=tmp_path / "file")
    for bad in (tmp_path, tmp_path / "absent" / "report.html"):
        with pytest.raises(OutputError, match="file in an existing folder"):
            write_report(config, bad)


@pytest.mark.parametrize("across", [100, pytest.param(316, marks=pytest.mark.long)])
def test_many_tiles(tmp_path: Path, across: int) -> None:
    """No row for each tile, maps of bounded size, one pass: 2 x 10^5 tiles in seconds and a few MB."""
    side = across * 32
    made = zarr.create_array(
        tmp_path / "in.zarr", shape=(2, side, side), chunks=(1, 512, 512), dtype="uint8", dimension_names=tuple("zyx")
    )
    made[0, :8, :8] = 1  # one chunk: without any, the input is refused
    config = configure(tmp_path)
    context = save_inputs(prepare(config))
    n = context.plan.n_tiles
    assert n == 2 * across**2
    rng = np.random.default_rng(0)
    losses = rng.lognormal(-5, 1, n)
    with context.paths.ledger.open("w") as ledger:
        for i in range(n):
            failed = i % 100 == 7
            after = float(losses[i])
            quality = {
                "method": "network", "heldout_before": 3 * after, "heldout_after": after, "heldout_wiener": 1.3 * after,
                "steps": 60, "trainings": 1, "flux_ratio": 1.0 + 0.01 * (i % 5 - 2), "clipped_share": 0.0,
                "nonfinite": 0, "trace": [[0, None, 3 * after], [60, 1.0, after]], "note": "",
            }  # fmt: skip
            record = TaskRecord(
                "solve", i, "failed" if failed else "done", 1, 1.5, 10**9, f"node{i % 9}:1", 1e9 + i,
                {} if failed else quality, f"OSError: tile {i} is broken" if failed else None,
            )  # fmt: skip
            ledger.write(record.to_line() + "\n")
    started = time.process_time()
    path = write_report(config)
    seconds = time.process_time() - started
    page = read_page(path)
    assert seconds < 60  # of CPU; measured: 10 s
    assert path.stat().st_size < 5e6
    assert page.rows < 200
    assert f"{n // 100:,} tiles".replace(",", "\u202f") in page.sections["failures"]
    assert "9 machines" in page.sections["outcome"]
    assert "largest over all z" in path.read_text()


@pytest.mark.long
def test_needs_no_dask_and_no_display(tmp_path: Path) -> None:
    write_image(tmp_path / "in.zarr", (40, 40), "yx")
    config = configure(tmp_path)
    run(config)
    (tmp_path / "config.json").write_text(json.dumps(config.model_dump(mode="json")))
    code = (
        "import sys, json; from ssi_pipeline.config import RunConfig; from ssi_pipeline.report import write_report;"
        f"write_report(RunConfig.model_validate(json.load(open({str(tmp_path / 'config.json')!r}))));"
        "print(*{'dask', 'distributed', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_planes_keep_the_worst() -> None:
    values = np.zeros((1, 3, 1025, 2), np.float32)
    values[0, 2, 700, 1] = 5
    middle, worst = planes("seconds", values)
    assert middle.values.shape == (342, 2)
    assert middle.values.max() == 0
    assert worst.values[700 // 3, 1] == 5
    flux = np.array([[[[1.0, 1.2]], [[0.5, np.nan]]]], np.float32)
    assert planes("flux_ratio", flux)[1].values.tolist() == [[0.5, np.float32(1.2)]]
    assert planes("seconds", np.zeros((4, 5, 1, 1), np.float32))[0].axes == "tz"


def test_planes_keep_the_codes_of_concern() -> None:
    """Done tiles do not hide failed or pending ones, nor does the order of codes hide a fallback."""
    status = np.array([[[[1, 0]], [[2, 1]], [[1, 1]]]], np.float32)
    _, worst = planes("status", status)
    assert worst.title == "worst over all z"
    assert worst.values.tolist() == [[2, 0]]
    method = np.full((1, 1, 1, 12), 7, np.float32)  # the published recipe
    method[0, 0, 0, 5], method[0, 0, 0, 11] = 2, np.nan
    assert planes("method", method, most=4)[0].values.tolist() == [[7, 2, 7, 7]]
    assert np.isnan(planes("method", np.full((1, 2, 1, 2), np.nan, np.float32))[1].values).all()
    assert planes("steps", np.array([[[[9, 3]], [[4, 5]]]], np.float32))[1].values.tolist() == [[4, 3]]


def test_a_border_is_shown_once(tmp_path: Path) -> None:
    """The tiles at both sides of a step have the same border as their worst."""
    write_image(tmp_path / "in.zarr", (64, 128), "yx")
    config = configure(tmp_path)
    assert run(config).complete
    output = zarr.open_group(tmp_path / "out.zarr", mode="r+")["0"]
    values = np.tile(np.arange(128, dtype=np.float64) % 5, (64, 1))
    values[:32, 64:] += 100  # between tiles 1 and 2, both in the upper row
    output[...] = values.reshape(output.shape).astype(output.dtype)
    context = open_context(config)
    facts = read_facts(context, "run.yaml")
    facts.metrics["seam"] = np.full((1, 1, 1, 2, 4), 0.01, np.float32)
    facts.metrics["seam"][..., 0, 1:3] = 0.5
    first, second = (worst_border(facts, index) for index in (1, 2))
    assert first is not None
    assert second is not None
    assert (first.side, second.side) == ("right", "left")
    assert first.view == second.view
    html = str(seams_section(facts).html)
    assert re.findall(r"tile (\d+) \([^)]*\), seam 0.5", html) == ["1"]
    assert html.count("<svg") == 2


def test_small_measures() -> None:
    gaussian = np.exp(-(np.linspace(-10, 10, 201) ** 2) / 2)
    assert fwhm(gaussian) == pytest.approx(2.3548 / 0.1, rel=1e-3)  # straight lines over steps of sigma / 10
    assert fwhm(np.ones(1)) == pytest.approx(1.0)
    assert [round_below(v) for v in (1.0, 4.99, 0.07, 260)] == [1, 2, 0.05, 200]
    assert [share(0, 9), share(9, 9), share(1, 10**6), share(0, 0)] == ["0 %", "100 %", "0.01 %", "0 %"]
    assert [scaled(999.9, "B"), scaled(1.5e6, "B")] == ["1 kB", "1.5 MB"]
    plane = np.zeros((300, 300), np.float32)
    plane[200:260:2, 200:260] = 9
    y, x = detail_corner(plane)
    assert y <= 200 <= y + 60
    assert x <= 200 <= x + 60
