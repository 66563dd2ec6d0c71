"""The arithmetic of the studies in benchmarks/, on curves and rows with known answers."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from types import SimpleNamespace

import calibration
import denoise
import light_sheet
import numpy as np
import pytest
import score
import stacks
import time_to_quality
import widefield
from _common import Study, begin, parser, pictures
from _light_sheet_scene import fwhm_at, make, recorded

from ssi_pipeline.benchmark import identity
from ssi_pipeline.benchmark.identity import solver_identity
from ssi_pipeline.benchmark.methods import configuration
from ssi_pipeline.benchmark.protocol import LEVELS
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.problem import build_problem
from ssi_pipeline.physics import Psf

PAIR = {"seed": 1, "changes": ["a=1"]}


def test_a_row_is_made_once_and_a_row_of_another_set_up_is_refused(tmp_path: Path) -> None:
    study, made = Study(tmp_path), []

    def make() -> dict[str, object]:
        made.append(1)
        return {"curve": [(1, 2.0)]}

    first = study.row("a.b", PAIR, make)
    assert study.row("a.b", PAIR, make) == first
    assert first["curve"] == [[1, 2.0]]  # as it reads from the file
    assert len(made) == 1
    with pytest.raises(SystemExit, match=r"a\.b\.json is of other seed"):
        study.row("a.b", {**PAIR, "seed": 2}, make)


def test_a_row_of_another_solver_or_algorithm_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, config = Study(tmp_path), configuration("wiener")
    first = study.row("a", PAIR, lambda: {"psnr": 1.0}, config)
    assert first["setup"]["device"] == "cpu"
    assert study.row("a", PAIR, lambda: {"psnr": 2.0}, config) == first
    with pytest.raises(SystemExit, match="is of other configuration:"):
        study.row("a", PAIR, lambda: {"psnr": 2.0}, configuration("wiener", ["masking.density=0.3"]))
    with pytest.raises(SystemExit, match="is of other device:"):
        study.row("a", PAIR, lambda: {"psnr": 2.0}, config, device="cuda")
    monkeypatch.setattr(identity, "ALGORITHM", identity.ALGORITHM + 1)
    with pytest.raises(SystemExit, match="is of other algorithm:"):
        study.row("a", PAIR, lambda: {"psnr": 2.0}, config)


def test_the_short_form_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    options = parser("text").parse_args(["--short", "training.learning_rate=0.01"])
    with begin("x", options, {"crop": 20, "only": "camera"}, ["training.steps=2"]) as study:
        assert options.changes == ["training.steps=2", "training.learning_rate=0.01"]  # the user's come last, and win
        assert [(name, truth.shape) for name, truth in pictures(options)] == [("camera", (20, 20))]
        study.finish("A study", [])
        kept = study.folder
        assert (kept / "summary.md").is_file()
    assert not kept.exists()
    assert "# A study" in capsys.readouterr().out


def test_unknown_pictures_are_refused() -> None:
    options = argparse.Namespace(images=None, only="camera,dog", crop=None)
    with pytest.raises(SystemExit, match="dog"):
        next(pictures(options))


def test_the_grid_is_twice_as_fine() -> None:
    np.testing.assert_allclose(calibration.finer([100, 1, 0.01]), [100, 10, 1, 0.1, 0.01])


def test_what_a_choice_loses() -> None:
    row = calibration.judged([(4.0, 20.0), (2.0, 23.0), (1.0, 22.5)], {"masked loss": 1.0, "likelihood": 2.0})
    assert (row["best_weight"], row["best_psnr"]) == (2, 23)
    assert row["choices"]["masked loss"] == {"weight": 1, "psnr": 22.5, "loss_db": 0.5}
    assert row["choices"]["likelihood"]["loss_db"] == 0
    other = {**calibration.judged([(2.0, 21.0), (1.0, 20.0)], {"masked loss": 1.0}), "image": "b"}
    other["choices"]["likelihood"] = {"weight": 2.0, "psnr": 21.0, "loss_db": 0.0}
    rows = [{"solver": "wiener", "seconds": 1.0, **r} for r in ({**row, "image": "a"}, other)]
    means, each = calibration.sheets(rows)
    assert means.lines[0] == ["wiener", "masked loss", "21.25", "22.00", "0.75", "1.00 (b)", "1.0"]
    assert means.lines[1][1:5] == ["likelihood", "22.00", "22.00", "0.00"]
    assert len(each.lines) == 4


@pytest.mark.parametrize(("chosen", "last"), [(3.0, 10), (15.0, 15)])
def test_iterations_go_on_until_none_is_better_and_the_chosen_one_is_there(chosen: float, last: int) -> None:
    path = ((float(n), -abs(n - 2.0)) for n in range(1, 100))
    assert calibration.until_worse(path, chosen)[-1][0] == last


def test_the_first_reach_and_the_ratios() -> None:
    theirs = {"psnr": 22.0, "curve": [(25, 50.0, 60.0, 20.0), (50, 100.0, 120.0, 22.1), (75, 150.0, 180.0, 22.0)]}
    ours = {"psnr": 24.0, "curve": [(25, 4.0, 6.0, 21.0), (50, 5.0, 8.0, 22.0), (75, 9.0, 9.0, 24.0)]}
    expected = ["22.00", "24.00", "100.0 (120.0, 50)", "5.0 (8.0, 50)", "20.0", "15.0"]
    assert time_to_quality.cells(ours, theirs) == expected
    never = {"psnr": 21.0, "curve": ours["curve"][:1]}
    assert time_to_quality.cells(never, theirs)[3:] == ["-", "-", "-"]
    rows = [{"image": "a", "method": "ssi", **ours}]
    assert time_to_quality.sheet(rows).lines == []  # half a pair says nothing
    assert len(time_to_quality.figure([*rows, {"image": "a", "method": "ssi_published", **theirs}]).axes) == 1


def test_scoring_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """By clocks that only training and scoring move."""
    clock = {"cpu": 100.0, "wall": 200.0}
    clocks = {"process_time": lambda: clock["cpu"], "perf_counter": lambda: clock["wall"]}
    monkeypatch.setattr(time_to_quality, "time", SimpleNamespace(**clocks))

    def work(cpu: float, wall: float) -> None:
        clock["cpu"] += cpu
        clock["wall"] += wall

    def score(_: object) -> float:
        work(8, 16)
        return 20.0

    told: list[object] = []
    recorder = time_to_quality.Recorder(score, 2, told.append)
    for step in (1, 2, 3, 4):
        work(1, 2)
        recorder.watch(step, lambda: np.zeros((1, 2, 2), np.float32))
    assert recorder.points == told == [(2, 2, 4, 20), (4, 4, 8, 20)]
    assert recorder.seconds() == (4, 8)


def test_noise_without_blur() -> None:
    truth = np.full((200, 200), 0.5, np.float32)
    gaussian, full = (denoise.noisy(truth, noise) / LEVELS for noise in ("gaussian", "full"))
    # standard errors: 0.1 / 200 of the mean, 0.1 / (200 sqrt 2) of the spread; 5 of them
    assert gaussian.mean() == pytest.approx(0.5, abs=0.0025)
    assert gaussian.std() == pytest.approx(0.1, abs=0.0018)
    # one pixel in a hundred is anything: a quarter of these is 2.5 sigma off or more below, a quarter above
    far = np.abs(full - 0.5) > 0.45
    assert 0.0005 < far.mean() < 0.002
    assert not (np.abs(gaussian - 0.5) > 0.47).any()


def test_the_best_denoiser_is_bold() -> None:
    values = dict.fromkeys(("psnr", "ssim_range2", "ssim_range1", "mi", "smi", "seconds"), 0.5)
    rows = [
        {"image": "a", "results": {"input": {**values, "psnr": 20.0}}},
        {"image": "a", "results": {"tv": {**values, "psnr": 24.0}, "tv, J-invariant": {**values, "psnr": 23.0}}},
    ]
    means, each = denoise.sheets(rows)
    assert (1, 1) in means.best
    assert each.lines == [["a", "20.00", "24.00", "23.00"]]
    assert each.best == {(0, 2)}


def test_a_score_that_orders_as_the_truth_does_correlates_and_loses_nothing() -> None:
    candidates = [{"name": str(i), "psnr": 20.0 + i, "a": float(-i), "b": float(i)} for i in range(5)]
    assert score.judged(candidates, ("a",)) == (pytest.approx(1), 0)
    assert score.judged(candidates, ("b",)) == (pytest.approx(-1), 4)
    assert score.judged(candidates, ("a", "b")) == (0, 2)  # all sums are equal: a pick by chance


def test_the_widefield_table_compares_on_the_same_pixels() -> None:
    shared = {"chi2": None, "whiteness": None, "flux_ratio": 1.0, "seconds": 2.0, "note": "", "noise": 0.001}
    losses = {("wiener", 0): 0.004, ("tv", 0): 0.002, ("ssi", 0): 0.001}
    losses |= {("wiener", 1): 0.006, ("tv", 1): 0.008, ("ssi", 1): 0.006}
    rows = [{"solver": s, "seed": seed, "loss": loss, **shared} for (s, seed), loss in losses.items()]
    table = widefield.sheet(rows)
    assert [line[:3] for line in table.lines] == [
        ["wiener", "5.0000", "1.5000 (1.0000 to 2.0000)"],
        ["tv", "5.0000", "1.1667 (1.0000 to 1.3333)"],
        ["ssi", "3.5000", "0.7500 (0.5000 to 1.0000)"],
    ]
    assert table.best == {(2, 1)}


def test_the_pixels_that_judge_are_seen_by_no_solver() -> None:
    stack, psf = widefield.simulated(), Psf(np.full((3, 3, 3), 1 / 27, np.float32))
    judges = widefield.draw_judges(stack.shape, 0)
    assert 0.03 < judges.mean() < 0.07
    assert not (judges == widefield.draw_judges(stack.shape, 1)).all()
    config = widefield.configured("wiener_likelihood", [])
    assert (config.solver, config.classical.weight) == ("wiener", "likelihood")
    posed, inside = widefield.posed_without(stack, judges, psf, config)
    changed, _ = widefield.posed_without(np.where(judges, 60_000, stack), judges, psf, config)
    np.testing.assert_array_equal(posed.y, changed.y)  # in the padding neither
    assert (posed.observed[inside] == ~judges).all()
    assert (posed.y[inside][~judges] == stack[~judges]).all()


def test_the_loss_is_that_of_the_pixels_that_judge() -> None:
    stack, psf = widefield.simulated().astype(np.float32), Psf(np.full((3, 3, 3), 1 / 27, np.float32))
    config = widefield.configured("wiener", ["sensor.impulse_share=0", "sensor.low=none", "sensor.high=none"])
    judges = widefield.draw_judges(stack.shape, 0)
    posed, inside = widefield.posed_without(stack, judges, psf, config)
    problem = build_problem(psf, calibrate([posed], psf, config), config, "cpu")
    level = np.full(posed.y.shape, 300, np.float32)  # the blur of a constant is the constant
    expected = ((300 - stack[judges].astype(np.float64)) / problem.calibration.scale) ** 2
    assert widefield.judged(stack, judges, inside, level, problem) == pytest.approx(expected.mean(), rel=1e-4)


def test_the_middle_of_a_stack() -> None:
    stack = np.arange(4 * 6 * 8).reshape(4, 6, 8)
    assert (widefield.middle(stack, (2, 99, 4)) == stack[1:3, :, 2:6]).all()
    assert widefield.middle(stack, None) is stack


def test_a_row_file_is_plain_json(tmp_path: Path) -> None:
    Study(tmp_path).row("r", {}, lambda: {"psnr": float(np.float32(2.5))})
    kept = json.loads((tmp_path / "rows" / "r.json").read_text())
    assert kept == {"psnr": 2.5, "setup": solver_identity(None)}


STUDIES = [p for p in Path(stacks.__file__).parent.glob("[a-z]*.py") if "__main__" in p.read_text()]


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_every_study_has_a_short_form(path: Path) -> None:
    """As ``make bench`` runs all of them in it."""
    assert re.search(r'"--short"|\bplain_parser\(|\bparser\(__doc__', path.read_text())


def test_a_light_sheet_volume_is_that_of_its_blocks_and_its_psf_widens_with_depth(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole", (16, 32, 32), (16, 32, 32), 3)
    again = make(tmp_path / "again", (16, 32, 32), (16, 32, 32), 3)
    assert np.array_equal(whole.image[...], again.image[...])
    light = np.asarray(whole.image[...], float).sum() - 100 * whole.image.size
    assert light == pytest.approx(np.asarray(whole.truth[...], float).sum(), rel=0.05)  # noise and borders
    truth = np.full((24, 48, 48), 10, np.uint16)
    truth[[4, 19], 24, 24] = 60000
    box = (slice(0, 24), slice(12, 36), slice(0, 48))  # cut along y: light comes from beyond the block too
    image = recorded(truth, box, np.random.default_rng(0)) - 110.0
    spots = [image[max(0, z - 4) : z + 5] for z in (4, 19)]
    for spot, z in zip(spots, (4, 19), strict=True):
        peak = spot.max() / spot.sum()
        assert peak == pytest.approx((np.sqrt(4 * np.log(2) / np.pi) ** 3) / fwhm_at(z, 24).prod(), rel=0.05)


def test_the_score_of_blocks_is_that_of_all_after_the_best_gain_and_offset() -> None:
    truth = np.random.default_rng(0).uniform(0, 700, (4, 20, 20))
    found = 3 * truth + 5 + 30 * np.random.default_rng(1).standard_normal(truth.shape)
    score = light_sheet.Score()
    score.add(found[:1], truth[:1])
    score.add(found[1:], truth[1:])
    left = truth - np.polyval(np.polyfit(found.ravel(), truth.ravel(), 1), found)
    assert score.decibel == pytest.approx(10 * np.log10(light_sheet.PEAK**2 / np.square(left).mean()))
