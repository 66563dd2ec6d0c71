"""Tables of known rows."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ssi_pipeline.benchmark.display import seconds_left
from ssi_pipeline.benchmark.figures import busiest_crop, crops_figure, mean_curve, spectrum
from ssi_pipeline.benchmark.methods import METHODS, choose_methods, configuration, measurement
from ssi_pipeline.benchmark.outputs import summary
from ssi_pipeline.benchmark.rows import METRICS, Row, RowJob
from ssi_pipeline.benchmark.setup import Benchmark, Options
from ssi_pipeline.benchmark.tables import failure_sheet, image_sheet, quality_sheet, seed_sheet, time_sheet
from ssi_pipeline.errors import ConfigError


def row(image: str, method: str, psnr: float, seed: int = 0, **changes: Any) -> Row:
    metrics = dict.fromkeys(METRICS, psnr / 100) | {"psnr": psnr}
    return Row(image, method, seed, {}, metrics=metrics, **changes)


ROWS = [
    row("a", "blurry", 40),
    row("b", "blurry", 40),
    row("a", "input", 20),
    row("b", "input", 10),
    row("a", "lr5", 24, inference_seconds=2.0, curve=[(1, 20.0, 0.1), (2, 24.0, 0.2)]),
    row("b", "lr5", 14, inference_seconds=4.0, curve=[(1, 10.0, 0.3), (2, 14.0, 0.2)]),
    row("a", "ssi", 25, training_seconds=10.0, facts={"attempts": 1, "note": ""}),
    row("a", "ssi", 27, seed=1, training_seconds=20.0, facts={"attempts": 3, "note": ""}),
    row("b", "ssi", 9, facts={"attempts": 2, "note": "training failed, linear solution kept"}),
    Row("b", "ssi", 1, {}, error="TrainingError: no"),
]
CHOSEN = choose_methods("blurry,input,lr5,ssi")


def line(sheet: Any, start: str) -> list[str]:
    return next(cells for cells in sheet.lines if cells[0].startswith(start))


def test_means_are_over_seeds_first_and_the_best_is_bold() -> None:
    sheet = quality_sheet(CHOSEN, ROWS)
    assert line(sheet, "ours")[1] == "17.50"  # (26 + 9) / 2
    assert line(sheet, "Richardson")[1] == "19.00"
    assert line(sheet, "ours")[-1] == "2"
    bold = {sheet.lines[i][0] for i, j in sheet.best if j == 1}
    assert bold == {"Richardson-Lucy n = 5"}  # and not the blurred image, which restores nothing
    assert "**19.00**" in sheet.markdown()
    assert "**40.00**" not in sheet.markdown()


def test_a_mean_over_fewer_images_is_never_bold() -> None:
    easy = [r for r in ROWS if r.method != "ssi"] + [row("a", "ssi", 30)]
    sheet = quality_sheet(CHOSEN, easy)
    assert line(sheet, "ours")[1] == "30.00"  # above the others' means, on the easier image alone
    assert {sheet.lines[i][0] for i, _ in sheet.best} == {"Richardson-Lucy n = 5"}
    failed = [*easy, Row("b", "ssi", 0, {}, error="TrainingError: no")]
    assert quality_sheet(CHOSEN, failed).best == sheet.best


@pytest.mark.parametrize("width", [60, 80, 110])
def test_no_number_is_cut_in_a_narrow_terminal(width: int) -> None:
    console = Console(width=width, file=io.StringIO())
    sheet = quality_sheet(CHOSEN, ROWS)
    console.print(sheet.rich())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for cells in sheet.lines:
        assert all(cell in shown for cell in cells[1:])
    assert max(len(line) for line in shown.splitlines()) <= width


def test_each_image_has_its_own_best() -> None:
    sheet = image_sheet(CHOSEN, ROWS)
    assert sheet.lines == [["a", "40.00", "20.00", "24.00", "26.00"], ["b", "40.00", "10.00", "14.00", "9.00"]]
    assert sheet.best == {(0, 4), (1, 3)}


def test_seconds_failures_and_seeds() -> None:
    assert line(time_sheet(CHOSEN, ROWS), "Richardson") == ["Richardson-Lucy n = 5", "0.0", "3.00"]
    assert line(time_sheet(CHOSEN, ROWS), "ours")[1] == "10.0"
    # 4 rows, 1 error, 2 + 1 repeated trainings, 1 fell back, 1 below the input
    assert line(failure_sheet(CHOSEN, ROWS), "ours")[1:] == ["4", "1", "3", "1", "1"]
    spread = seed_sheet(CHOSEN, [r for r in ROWS if r.image == "a"])
    assert line(spread, "ours, PSNR")[1:] == ["2", "26.000", "1.414", "25.000", "27.000", "2.000"]


def test_a_method_without_rows_is_a_dash_and_not_a_crash() -> None:
    sheet = quality_sheet(CHOSEN, [r for r in ROWS if r.method != "ssi"])
    assert line(sheet, "ours")[1:] == ["-"] * 5 + ["0"]


def made(tmp_path: Path, rows: dict[int, Row], workers: int = 1) -> Benchmark:
    jobs = [RowJob(r.image, "", r.method, r.seed, None, (), {}, str(tmp_path)) for r in ROWS]
    options = Options(tmp_path, workers=workers, changes=("training.steps=5",))
    return Benchmark(options, [Path("a.png"), Path("b.png")], CHOSEN, [0, 1], np.ones((3, 3)) / 9, jobs, rows)


def test_the_summary_says_what_it_was_made_from_and_what_failed(tmp_path: Path) -> None:
    text = summary(made(tmp_path, {}), ROWS)
    failed = "b, ssi, seed 1: TrainingError: no"
    for part in ("2 images", "Seeds 0, 1", "training.steps=5", failed, "Spread over seeds"):
        assert part in text


def test_the_time_left_is_that_of_rows_of_the_same_method(tmp_path: Path) -> None:
    seconds = {"ssi": 100.0}
    rows = {i: Row(r.image, r.method, r.seed, {}, seconds=seconds.get(r.method, 1.0)) for i, r in enumerate(ROWS)}
    del rows[9], rows[0]
    assert seconds_left(made(tmp_path, rows), rows) == pytest.approx(101)
    assert seconds_left(made(tmp_path, rows, workers=2), rows) == pytest.approx(50.5)
    assert seconds_left(made(tmp_path, {}), {}) is None


def test_the_curve_is_a_mean_over_images() -> None:
    np.testing.assert_allclose(mean_curve(ROWS), [[1, 15, 0.2], [2, 19, 0.2]])


def test_the_crop_is_where_something_happens_and_spectra_tell_noise_from_blur() -> None:
    image = np.zeros((400, 500), np.float32)
    image[330:360, 400:440] = np.random.default_rng(0).random((30, 40))
    y, x = busiest_crop(image)
    assert y.start <= 330
    assert y.stop >= 360
    assert x.start <= 400
    assert x.stop >= 440
    assert spectrum(image).shape == image.shape
    figure = crops_figure("a", image, [("one", image), ("two", image * 0)])
    assert len(figure.axes) == 6
    assert len({axis.images[0].get_clim() for axis in figure.axes[:3]}) == 1  # one grey range for all


def test_names_are_checked() -> None:
    assert [m.name for m in choose_methods("ssi, lr5")] == ["lr5", "ssi"]
    assert len(choose_methods(None)) == len(METHODS)
    with pytest.raises(ConfigError, match="did you mean wiener"):
        choose_methods("weiner")
    with pytest.raises(ConfigError, match="is empty"):
        choose_methods(",")


def test_changes_reach_the_configuration() -> None:
    assert configuration("ssi", ["training.steps=7"]).training.steps == 7
    assert configuration("wiener").solver == "wiener"
    assert configuration("ssi", ["executor.device=cpu"]).executor.device == "cpu"
    without_effect = ("solver=ssi", "psf.kind=file", "seed=1", "executor.workers=3", "tiling.core=64")
    impossible = ("training.steps", "training.stepz=3", "training.steps=-1", "training.steps=[", "=1")
    for change in (*without_effect, *impossible):
        with pytest.raises(ConfigError):
            configuration("ssi", [change])
    with pytest.raises(ConfigError, match="training"):  # a section that is a number has no options
        configuration("ssi", ["training=5", "training.steps=3"])


def test_a_plane_is_padded_as_the_pipeline_pads() -> None:
    counts = np.arange(20 * 30).reshape(20, 30).astype(np.uint16)
    posed, inside = measurement(counts, 3, 4)
    assert all(n % 4 == 0 for n in posed.y.shape[1:])
    assert (posed.y[inside] == counts).all()
    assert posed.observed.sum() == counts.size
    assert (posed.observed[inside]).all()
