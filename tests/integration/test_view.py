"""A run in the real napari: its model, the widget, a window on a screen in memory; the link for neuroglancer."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import zarr
from builders import beads, config_of, go, level, make_run

import ssi_pipeline as ssi
from ssi_pipeline.api.stepwise import deconvolve_tile, deconvolving
from ssi_pipeline.cli import main
from ssi_pipeline.errors import ConfigError, InputError, MissingPackageError, OutputError
from ssi_pipeline.storage.outputs.output import set_status
from ssi_pipeline.view.opened import Opened, is_run, open_run
from ssi_pipeline.view.opened import config_of as run_at

MANIFEST = Path(ssi.__file__).parent / "view" / "napari.yaml"
SCALE, SHIFT = {"z": 0.4, "y": 0.1, "x": 0.2}, {"z": 5.0, "y": -2.0, "x": 7.0}
ROI = {"z": [1, 4], "y": [8, 80], "x": [0, 272]}

needs_napari = pytest.mark.skipif(importlib.util.find_spec("napari") is None, reason="napari is not installed")
needs_qt = pytest.mark.skipif(
    not any(map(importlib.util.find_spec, ("PySide6", "PyQt6", "PyQt5"))), reason="no Qt is installed"
)
needs_screen = pytest.mark.skipif(
    not os.environ.get("DISPLAY") and shutil.which("xvfb-run") is None, reason="no display, and no xvfb-run"
)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pydantic, in napari and npe2


def write_input(folder: Path) -> None:
    """Write two channels with names, colours, voxel size and a position of the first voxel."""
    folder.mkdir(parents=True)
    image = np.stack([beads((5, 96, 280), seed) for seed in (0, 1)])
    steps = [
        {"type": "scale", "scale": [1.0, *SCALE.values()]},
        {"type": "translation", "translation": [0.0, *SHIFT.values()]},
    ]
    axes = [{"name": "c", "type": "channel"}] + [
        {"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"
    ]
    window = {"start": 0, "end": 1, "min": 0, "max": 1}
    channels = [{"label": name, "color": color, "window": window} for name, color in (("A", "00FF00"), ("B", "FF00FF"))]
    group = zarr.create_group(folder / "in.zarr", zarr_format=3)
    multiscales = [{"name": "in", "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales, "omero": {"channels": channels}}
    group.create_array("0", data=image, chunks=(1, 1, 32, 32), dimension_names=("c", "z", "y", "x"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a finished run of two channels, with a region of interest and a pyramid."""
    folder = tmp_path_factory.mktemp("view") / "run"
    write_input(folder)
    config = make_run(folder, None, input={"path": "in.zarr", "roi": ROI}, tiling={"core": 64})
    assert go(config).complete
    return config


@pytest.fixture
def model(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A viewer without a window, with settings of its own."""
    monkeypatch.setenv("NAPARI_CONFIG", str(tmp_path_factory.mktemp("settings") / "settings.yaml"))
    from napari.components import ViewerModel

    return ViewerModel()


def half_written(config: Path, folder: Path) -> Path:
    """Copy a run and drop half of the blocks from its ledger, as if it had not got any further."""
    shutil.copytree(config.parent, folder)
    copy = folder / config.name
    ledger = config_of(copy).state_path / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    blocks = [line for line in lines if '"stitch"' in line]
    gone = {*blocks[len(blocks) // 2 :], *(line for line in lines if '"pyramid"' in line)}
    ledger.write_text("".join(line for line in lines if line not in gone))
    return copy


def names(opened: Opened) -> list[str]:
    return [options["name"] for _, options, _ in opened.layers]


def test_input_output_and_tiles_lie_on_each_other(finished: Path) -> None:
    opened = open_run(run_at(finished))
    by_name = {options["name"]: (data, options) for data, options, _ in opened.layers}
    assert {"input: A", "input: B", "output: A", "output: B", "alarms: A", "alarms: B"} <= set(by_name)
    for channel, c in (("A", 0), ("B", 1)):
        before, after = by_name[f"input: {channel}"], by_name[f"output: {channel}"]
        assert before[1]["contrast_limits"] == after[1]["contrast_limits"]
        assert before[1]["units"] == after[1]["units"] == ["micrometer"] * 3
        assert np.allclose(before[1]["translate"], list(SHIFT.values()))
        whole = level(finished.parent / "in.zarr")
        assert np.array_equal(np.asarray(before[0]), whole[c])
        shift = np.subtract(after[1]["translate"], before[1]["translate"]) / list(SCALE.values())
        assert shift.round(6).tolist() == [first for first, _ in ROI.values()]
        part = tuple(slice(*bounds) for bounds in ROI.values())
        assert np.array_equal(np.asarray(after[0][0]), whole[c][part])  # the identity copies
        assert [small.shape for small in after[0][1:]] == [
            array.shape[1:] for array in map(zarr.open_array, sorted(finished.parent.glob("out.zarr/[1-9]")))
        ]
    labels, options = by_name["alarms: A"]
    output = by_name["output: A"][1]
    assert labels.shape == (3, 2, 5)
    for axis, core in enumerate((1, 64, 64)):
        edge = output["translate"][axis] - output["scale"][axis] / 2
        assert options["scale"][axis] == pytest.approx(core * output["scale"][axis])
        assert options["translate"][axis] - options["scale"][axis] / 2 == pytest.approx(edge)


def test_every_way_to_name_a_run_leads_to_it(finished: Path, tmp_path: Path) -> None:
    output = finished.parent / "out.zarr"
    expected = names(open_run(run_at(finished)))
    for path in (output, finished.parent / "out.zarr.run"):
        assert is_run(path)
        assert names(open_run(run_at(path))) == expected
    alone = shutil.copytree(output, tmp_path / "mine.zarr")
    opened = open_run(run_at(alone))
    assert names(opened) == [name for name in expected if not name.startswith("input")]
    assert ["mine.zarr.run is not beside the output" in opened.notes[0], len(opened.notes)] == [True, 1]
    set_status(alone, "incomplete")
    assert "what was not written is shown as zero" in open_run(run_at(alone)).notes[1]
    for path in (finished.parent / "in.zarr", tmp_path):
        assert not is_run(path)
        with pytest.raises(InputError, match="no run found"):
            run_at(path)
    with pytest.raises(ConfigError, match="--set changes a configuration file"):
        run_at(output, ["training.steps=1"])


def test_an_input_that_is_gone_is_a_note(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished.parent, tmp_path / "run")) / finished.name
    shutil.rmtree(copy.parent / "in.zarr")
    opened = open_run(run_at(copy))
    assert not any(name.startswith("input") for name in names(opened))
    assert "the input is not shown" in opened.notes[0]
    shutil.rmtree(copy.parent / "out.zarr")
    with pytest.raises(InputError, match="does not exist"):
        open_run(run_at(copy))


@needs_napari
def test_the_model_of_napari_shows_it_in_2d_and_3d(finished: Path, model: Any) -> None:
    from ssi_pipeline.view.window import fill

    opened = open_run(run_at(finished))
    fill(model, opened)
    assert [layer.name for layer in model.layers] == names(opened)
    assert tuple(model.dims.axis_labels) == ("z", "y", "x")
    assert {str(unit) for layer in model.layers for unit in layer.units} == {"micrometer"}
    assert model.dims.point[0] == pytest.approx(SHIFT["z"] + SCALE["z"] * 2)  # the middle of the output: z 1 to 3
    assert model.canvas.overlays.scale_bar.visible
    output = model.layers["output: B"]
    assert output.multiscale
    assert not model.layers["input: B"].visible  # colours of four layers would add up
    there = [SHIFT[axis] + SCALE[axis] * (ROI[axis][0] + n) for axis, n in zip("zyx", (1, 40, 50), strict=True)]
    pixel = tuple(round(p) for p in output.world_to_data(there))
    assert output.data[0][pixel] == level(finished.parent / "in.zarr")[1, 2, 48, 50]
    model.dims.ndisplay = 3
    assert output._data_view.ndim == 3


@needs_napari
def test_a_run_in_progress_is_followed(finished: Path, tmp_path: Path, model: Any) -> None:
    from ssi_pipeline.report.facts import read_facts
    from ssi_pipeline.tasks.opening import open_context
    from ssi_pipeline.view.images import OutputImage
    from ssi_pipeline.view.maps import SHOWN
    from ssi_pipeline.view.opened import run_maps
    from ssi_pipeline.view.window import fill, refresh

    copy = half_written(finished, tmp_path / "half")
    opened = open_run(run_at(copy))
    fill(model, opened)
    missing = model.layers["not written yet: B"]
    share = float((missing.data > 0).mean())
    assert 0 < share <= 1
    hidden = missing.get_status([opened.middle["z"], SHIFT["y"] + 4, SHIFT["x"] + 1], world=True)["coordinates"]
    assert "not written yet" in hidden
    model.layers.remove("alarms: A")
    known = {layer.name for layer in model.layers} | {"alarms: A"}
    assert go(copy).complete
    facts = read_facts(open_context(config_of(copy)), "")
    facts.metrics["chi2"].flat = range(facts.metrics["chi2"].size)  # unknown at first
    refresh(model, run_maps(facts, OutputImage(opened.path), SHOWN), known)
    left = [layer.name for layer in model.layers]
    assert not any(name.startswith("not written yet") for name in left)
    assert "alarms: A" not in left  # the user removed it
    assert "alarms: B" in left
    assert "chi2: A" in left


@needs_napari
def test_the_manifest_is_read_by_npe2(finished: Path) -> None:
    from npe2 import PluginManifest
    from npe2._plugin_manager import PluginManager

    manifest = PluginManifest.from_file(MANIFEST)
    manager = PluginManager()
    manager.register(manifest)
    manager.activate(manifest.name)
    for path in (finished, finished.parent / "out.zarr", finished.parent / "out.zarr.run"):
        (reader,) = manager.iter_compatible_readers([str(path)])
        read = reader.exec(kwargs={"path": [str(path)], "stack": False}, _registry=manager.commands)
        assert {kind for *_, kind in read([str(path)], stack=False)} == {"image", "labels"}
    other = finished.parent / "in.zarr"
    (reader,) = manager.iter_compatible_readers([str(other)])
    assert reader.exec(kwargs={"path": [str(other)], "stack": False}, _registry=manager.commands) is None


# without napari


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from ssi_pipeline.view.window import require_napari

    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    if importlib.util.find_spec("napari") and importlib.util.find_spec("PySide6") and sys.platform == "linux":
        with pytest.raises(OutputError, match="there is no display"):
            require_napari()
    monkeypatch.setitem(sys.modules, "napari", None)
    with pytest.raises(
        MissingPackageError,
        match=r"ssi view needs napari .*pip install napari PySide6-Essentials, or '\.\[view\]' in a clone",
    ):
        require_napari()


def test_the_command_refuses_what_it_cannot_show(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, said in (
        ([str(finished), "--maps", "chi"], "--maps chi: there is no such map"),
        ([str(finished), "--port", "80"], "--port is for --neuroglancer alone"),
        ([str(finished), "--port", "80000", "--neuroglancer"], "expected 1 to 65535"),
        ([str(tmp_path)], "no run found"),
        ([str(finished), "--set", "output.path=other.zarr", "--neuroglancer"], "no run found"),
    ):
        assert main(["view", *arguments]) == 2
        assert said in capsys.readouterr().err


def test_neuroglancer_gets_a_link_to_what_it_can_read(finished: Path) -> None:
    command = [sys.executable, "-m", "ssi_pipeline", "view", str(finished), "--neuroglancer"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        link = process.stdout.readline().strip()
        try:
            page, _, state = unquote(link).partition("/#!")
            layers = json.loads(state)["layers"]
            assert [(layer["name"], layer["localPosition"]) for layer in layers] == [
                ("output: A", [0]),
                ("output: B", [1]),
            ]
            assert layers[0]["shaderControls"]["color"] == "#00FF00"
            source = layers[0]["source"].removeprefix("zarr://")
            with urllib.request.urlopen(f"{source}zarr.json", timeout=20) as answer:
                assert answer.headers["Access-Control-Allow-Origin"] == page
                assert json.load(answer)["attributes"]["ome"]["multiscales"]
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


# the widget


def test_steps_give_the_bytes_of_one_call_and_can_be_stopped() -> None:
    image = beads((64, 64))
    options: dict[str, Any] = {"axes": "yx", "solver": "wiener", "tiling": {"core": 32}}
    steps, seen = deconvolving(image, 2.0, **options), []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            found = end.value
            break
    assert seen == [(n, 4) for n in range(1, 5)]
    assert np.array_equal(found, ssi.deconvolve(image, 2.0, **options))
    stopped = deconvolving(image, 2.0, **options)
    next(stopped)
    stopped.close()
    part = deconvolve_tile(image, 2.0, {"y": 40.2, "x": 999}, **options)
    assert part.start == {"y": 32, "x": 32}
    assert part.image.shape == (32, 32)
    inner = found[40:56, 40:56].astype(float)  # beyond the blend with its neighbours
    assert np.abs(part.image[8:24, 8:24] - inner).max() <= 1


@needs_napari
@needs_qt
def test_the_widget_previews_deconvolves_and_stops(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if "QApplication" not in sys.modules:
        monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    from qtpy.QtWidgets import QApplication

    application = QApplication.instance() or QApplication([])
    from ssi_pipeline.view.widget import PREVIEW, DeconvolveWidget

    def wait(until: Callable[[], bool]) -> None:
        """Let Qt work until something holds."""
        end = time.monotonic() + 120
        while not until():
            assert time.monotonic() < end
            application.processEvents()
            time.sleep(0.01)

    image = beads((2, 80, 72))
    kept = {"scale": (0.4, 0.065, 0.0651), "units": ("um",) * 3, "translate": (1, 2, 3), "axis_labels": ("z", "y", "x")}
    layer = model.add_image(image, name="beads", **kept)
    widget = DeconvolveWidget(model)
    widget["layer"].choices = [layer]
    widget["layer"].value = layer
    assert widget.form().pixel_um == {"z": 0.4, "y": 0.065, "x": 0.0651}
    assert widget.form().fwhm == pytest.approx(2.5 * 0.0651, abs=1e-4)
    widget["psf"].value = "file"
    widget["go"].changed.emit(True)
    wait(lambda: widget["go"].enabled)
    assert widget["status"].value.startswith("no PSF: choose its file")
    widget["psf"].value = "Gaussian"
    widget["preview"].changed.emit(True)
    assert widget["cancel"].enabled
    assert not widget["go"].enabled
    wait(lambda: widget["go"].enabled)
    shown = model.layers[PREVIEW]
    assert widget["status"].value.startswith("solved by wiener in ")
    assert np.allclose(shown.scale, layer.scale)
    offset = (np.asarray(shown.translate) - layer.translate) / layer.scale
    assert np.allclose(offset, np.round(offset))
    widget["go"].changed.emit(True)
    widget["cancel"].changed.emit(True)
    wait(lambda: widget["go"].enabled)
    assert widget["status"].value == "cancelled"
    widget["go"].changed.emit(True)
    wait(lambda: widget["go"].enabled)
    result = model.layers["beads, wiener"]
    assert PREVIEW not in model.layers
    form = widget.form().arguments()
    assert np.array_equal(result.data, ssi.deconvolve(image, form.pop("psf"), **form))
    assert np.allclose(result.extent.world, layer.extent.world)


WINDOW = """
import json, sys
from pathlib import Path
import numpy as np
from ssi_pipeline.view.opened import config_of, open_run
from ssi_pipeline.view.window import fill, require_napari

viewer = require_napari().Viewer()
fill(viewer, open_run(config_of(Path(sys.argv[1]))))
viewer.window.resize(900, 700)
viewer.reset_view()


def screenshot():
    return viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)


def alone(name):
    for layer in viewer.layers:
        layer.visible = layer.name == name
    return screenshot().max(axis=-1) > 60


def box(name):
    viewer.layers[name].contrast_limits = (-2, -1)  # everything is bright
    rows, columns = np.nonzero(alone(name))
    return [int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1]


seen = screenshot()
found = {"green": int((seen[..., 1] > 120).sum()), "magenta": int((seen[..., 0] > 120).sum())}
viewer.canvas.overlays.scale_bar.visible = False
found["input"], found["output"] = box("input: A"), box("output: A")
tiles = viewer.layers["alarms: A"]
tiles.data = (np.indices(tiles.data.shape)[1:].sum(0) % 2 == 0).astype(tiles.data.dtype)  # a chessboard
top, _, left, _ = found["output"]
found["edges"] = np.flatnonzero(np.diff(alone("alarms: A")[top + 2].astype(int))).tolist()
viewer.close()
print(json.dumps(found))
"""


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(900)  # all is drawn by the processor
@needs_napari
@needs_qt
@needs_screen
def test_a_window_shows_both_channels_and_tiles_where_they_were_solved(finished: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WINDOW, str(finished)]
    if not os.environ.get("DISPLAY"):
        command = ["xvfb-run", "-a", "-s", "-screen 0 1280x1024x24", *command]
    own = {**os.environ, "NAPARI_CONFIG": str(tmp_path / "settings.yaml")}
    own.pop("QT_QPA_PLATFORM", None)
    done = subprocess.run(command, capture_output=True, text=True, env=own, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["green"] > 500, found
    assert found["magenta"] > 500, found
    (high, wide), (top, bottom, left, right) = (ROI["y"], ROI["x"]), found["output"]
    zoom = (right - left) / ((wide[1] - wide[0]) * SCALE["x"])  # pixels of the screen per micrometre
    rounding = {"abs": 1.5}  # an edge is on a pixel of the screen
    assert bottom - top == pytest.approx((high[1] - high[0]) * SCALE["y"] * zoom, **rounding)
    assert top - found["input"][0] == pytest.approx(high[0] * SCALE["y"] * zoom, **rounding)
    assert found["input"][1] - bottom == pytest.approx((96 - high[1]) * SCALE["y"] * zoom, **rounding)
    expected = [left - 1 + n * 64 * SCALE["x"] * zoom for n in range(6)]  # five tiles of 64 voxels
    assert found["edges"] == pytest.approx(expected, **rounding)
