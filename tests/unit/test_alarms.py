"""Alarms: outliers are flagged, ordinary tiles are not, and errors common to all tiles are reported once."""

from __future__ import annotations

import numpy as np
import pytest

from ssi_pipeline.quality.alarms import ALARMS, count_alarms, flags, names_of
from ssi_pipeline.results.alarms import describe_quality, psf_doubts
from ssi_pipeline.results.finish import METHODS

GRID = (1, 2, 1, 20, 25)


def usual(seed: int = 0) -> dict[str, np.ndarray]:
    """Metrics of undisturbed tiles, spread as measured ones are: by factors, with long tails."""
    rng = np.random.default_rng(seed)
    typical = {
        "heldout_excess": 1e-3,
        "whiteness": 4e-3,
        "r2r_risk": 1e-3,
        "chi2": 1.0,
        "background_deviation": 0.01,
        "impulses": 0.01,
        "seam": 0.02,
        "heldout_after": 0.01,
    }
    found = {name: value * np.exp(0.2 * rng.standard_t(8, GRID)) for name, value in typical.items()}
    found["chi2"] = np.exp(0.03 * rng.standard_t(8, GRID))
    found["flux_ratio"] = 1 + 0.002 * rng.standard_t(8, GRID)
    found["steps"] = 500 * np.exp(-0.2 * np.abs(rng.standard_normal(GRID)))
    found |= {"status": np.ones(GRID), "heldout_wiener": np.full(GRID, 0.011)}
    found |= {name: np.zeros(GRID) for name in ("clipped_share", "saturated_share")}
    found["whiteness"][:, 1] *= 10  # what is usual differs between channels
    return {name: values.astype(np.float32) for name, values in found.items()}


def test_undisturbed_tiles_raise_hardly_any() -> None:
    flagged = np.mean([(flags(usual(seed)) > 0).mean() for seed in range(5)])
    assert flagged < 0.02


@pytest.mark.parametrize(
    ("metric", "value", "alarm"),
    [
        ("heldout_excess", 0.01, "held-out"),
        ("heldout_after", 0.1, "gain"),
        ("whiteness", 0.5, "whiteness"),
        ("r2r_risk", 0.01, "r2r"),
        ("chi2", 2.0, "chi2"),
        ("chi2", 0.5, "chi2"),
        ("flux_ratio", 1.2, "flux"),
        ("flux_ratio", 0.8, "flux"),
        ("clipped_share", 0.1, "clipped"),
        ("saturated_share", 0.05, "saturated"),
        ("impulses", 0.2, "impulses"),
        ("background_deviation", 0.2, "background"),
        ("seam", 0.5, "seam"),
        ("steps", 20, "steps"),
    ],
)
def test_each_metric_has_its_alarm_in_the_bad_direction(metric: str, value: float, alarm: str) -> None:
    metrics = usual(1)
    before = flags(metrics)
    metrics[metric][0, 0, 0, 7, 9] = value
    found = flags(metrics)
    assert alarm in names_of(float(found[0, 0, 0, 7, 9]))
    metrics[metric][0, 0, 0, 7, 9] = np.nan
    assert alarm not in names_of(float(flags(metrics)[0, 0, 0, 7, 9]))
    others = np.ones(GRID, bool)
    others[0, 0, 0, 7, 9] = False
    assert (found[others] == before[others]).mean() > 0.99  # the median moves by one tile


def test_low_losses_raise_no_alarm() -> None:
    metrics = usual(2)
    place = (0, 0, 0, 3, 3)
    for name in ("heldout_excess", "whiteness", "seam", "background_deviation"):
        metrics[name][place] = 0
    assert flags(metrics)[place] == 0


def test_an_excess_within_its_error_raises_no_alarm() -> None:
    rng = np.random.default_rng(8)
    metrics = usual(8)
    metrics["heldout_excess"] = (2e-5 * rng.standard_normal(GRID)).astype(np.float32)  # about 0, `least` is 1e-5
    metrics["whiteness"] = (0.01 * rng.standard_normal(GRID)).astype(np.float32)
    assert (flags(metrics) > 0).mean() < 0.02
    metrics["heldout_excess"][0, 0, 0, 3, 3] = 4e-4
    assert names_of(float(flags(metrics)[0, 0, 0, 3, 3])) == ["held-out"]


def test_of_two_neighbours_the_worse_is_flagged() -> None:
    metrics = usual(3)
    metrics["seam"][0, 0, 0, 5, 4:7] = (0.3, 0.6, 0.3)
    names = [names_of(float(f)) for f in flags(metrics)[0, 0, 0, 5, 4:7]]
    assert ["seam" in n for n in names] == [False, True, False]


def test_tiles_that_are_not_done_have_no_flag_and_few_tiles_no_alarms() -> None:
    metrics = usual(4)
    metrics["status"][0, 0, 0, 0, 0] = 2
    assert np.isnan(flags(metrics)[0, 0, 0, 0, 0])
    assert names_of(float("nan")) == []
    few = {name: values[..., :1, :5].copy() for name, values in metrics.items()}
    few["whiteness"][...] = (0, 0, 0, 0, 9)
    assert (np.nan_to_num(flags(few)) == 0).all()


def with_empty_part(seed: int = 7) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Metrics of a run of which four fifths are blank: no steps, losses and structure far below the others'."""
    metrics, blank = usual(seed), np.zeros(GRID, bool)
    blank[..., 4:, :] = True
    for name in ("heldout_excess", "whiteness", "r2r_risk", "background_deviation", "seam"):
        metrics[name][blank] *= 0.05
    metrics["heldout_wiener"][blank] = metrics["heldout_after"][blank]
    metrics["steps"][blank] = 0
    return metrics, blank


def test_blank_tiles_are_compared_with_one_another_only() -> None:
    metrics, blank = with_empty_part()
    assert (flags(metrics)[~blank] > 0).mean() > 0.2  # what is usual in emptiness is not usual elsewhere
    found = flags(metrics, blank)
    assert (found > 0).mean() < 0.02
    places = {"blank": (0, 0, 0, 9, 9), "full": (0, 0, 0, 1, 1)}
    for place in places.values():
        assert blank[place] == (place == places["blank"])
        metrics["whiteness"][place] = 3
    assert all("whiteness" in names_of(float(flags(metrics, blank)[place])) for place in places.values())
    metrics["steps"][places["full"]] = 20
    assert "steps" in names_of(float(flags(metrics, blank)[places["full"]]))


def test_a_wrong_psf_is_detected_although_most_tiles_are_blank() -> None:
    metrics, blank = with_empty_part()
    metrics["method"] = np.where(blank, METHODS["blank"], METHODS["network"]).astype(np.float32)
    metrics["whiteness"][:, 1] /= 10
    assert psf_doubts(metrics) == []
    metrics["chi2"][~blank] *= 2
    assert len(psf_doubts(metrics)) == 2


def test_alarms_are_counted_and_described() -> None:
    metrics = usual(5)
    metrics["chi2"][0, 0, 0, 2, 2] = metrics["chi2"][0, 1, 0, 4, 4] = 9
    metrics["flag"] = flags(metrics)
    assert count_alarms(metrics["flag"])["chi2"] == 2
    (line,) = describe_quality(metrics)
    assert "chi2 2" in line
    assert "of 1000 tiles flagged" in line


def test_what_is_off_everywhere_is_the_psf() -> None:
    good = usual(6)
    good["whiteness"][:, 1] /= 10
    assert psf_doubts(good) == []
    good["chi2"][:, 1] *= 2
    (line,) = psf_doubts(good)
    assert line.startswith("channel 1")
    assert "PSF" in line


def test_every_bit_is_exact_in_float32() -> None:
    assert len(ALARMS) <= 24
    assert len({alarm.name for alarm in ALARMS}) == len(ALARMS)
