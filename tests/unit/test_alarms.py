"""Alarms: outliers are flagged, ordinary tiles are not, and errors common to all tiles are reported once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.quality.alarms import ALARMS, count_alarms, flags, names_of
from ssi_pipeline.results.alarms import channel_alarms, describe_quality
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


def test_the_light_alarm_reads_the_ratio_without_impulses_where_there_is_one() -> None:
    metrics = usual(2)
    metrics["flux_ratio"][0, 0, 0, 7, 9] = 0.8  # hot pixels hold a fifth of the sum of a dark tile
    metrics["light_ratio"] = np.ones(GRID, np.float32)
    assert "flux" not in names_of(float(flags(metrics)[0, 0, 0, 7, 9]))
    metrics["light_ratio"][0, 0, 0, 7, 9] = 0.8
    assert "flux" in names_of(float(flags(metrics)[0, 0, 0, 7, 9]))
    metrics["light_ratio"][0, 0, 0, 7, 9] = np.nan  # too little light to tell
    assert "flux" not in names_of(float(flags(metrics)[0, 0, 0, 7, 9]))


def test_seams_are_compared_with_those_of_the_same_methods() -> None:
    """Networks of neighbouring tiles differ far more than total variation of the two, a shared network by rounding."""
    network, tv_cg = METHODS["network"], METHODS["tv_cg"]
    metrics = usual(3)
    metrics["method"] = np.full(GRID, tv_cg, np.float32)
    metrics["seam"] *= 0.01
    metrics["method"][:, 0, :, 5:11, 5:11] = network
    metrics["seam"][:, 0, :, 4:12, 4:12] *= 100  # also where only corners overlap
    other = {**metrics, "method": np.full(GRID, tv_cg, np.float32)}
    assert count_alarms(flags(other))["seam"] > 10  # what happened before methods were told apart
    assert count_alarms(flags(metrics)).get("seam", 0) <= 1
    for place in ((0, 0, 0, 7, 6), (0, 0, 0, 4, 6), (0, 0, 0, 15, 15)):  # among networks, where both meet, elsewhere
        worse = {**metrics, "seam": metrics["seam"].copy()}
        worse["seam"][place] *= 200
        assert "seam" in names_of(float(flags(worse)[place]))


def test_a_tile_beside_fill_is_not_one_where_methods_meet() -> None:
    """Its seams are those of its method, among which real borders between methods would be outliers."""
    metrics = usual(3)
    metrics["method"] = np.full(GRID, METHODS["tv_cg"], np.float32)
    metrics["seam"] *= 0.001
    metrics["method"][:, 0, :, ::3], metrics["seam"][:, 0, :, ::3] = METHODS["unmeasured"], np.nan
    metrics["method"][0, 0, 0, 7, 7] = METHODS["network"]
    metrics["seam"][0, 0, 0, 7:9, 6:9] *= 1000
    assert "seam" not in count_alarms(flags(metrics))


def test_a_seam_between_two_tiles_of_a_shared_network_is_an_alarm_and_one_to_another_solver_is_none() -> None:
    metrics, place = usual(3), (0, 0, 0, 7, 9)
    metrics["method"] = np.full(GRID, METHODS["network"], np.float32)
    metrics["seam"][:] = 1e-7  # rounding
    metrics["seam"][0, 0, 0, 6:9, 8:11] = [[0.003, 0.01, 0.003], [0.01, 0.02, 0.01], [0.003, 0.01, 0.003]]
    assert "seam" in names_of(float(flags(metrics)[place]))
    metrics["method"][place] = METHODS["tv_cg"]
    assert "seam" not in count_alarms(flags(metrics))


def test_tiles_that_do_not_overlap_have_no_common_seam() -> None:
    """Planes of the demo: two tiles by a network, six by total variation, the neighbours in z without overlap."""
    seam = np.repeat([3.4e-5, 2.4e-4, 7.1e-3, 1.0e-3], 2).reshape(1, 1, 4, 1, 2)
    network, tv_cg = METHODS["network"], METHODS["tv_cg"]
    method = np.repeat([tv_cg, tv_cg, network, tv_cg], 2).reshape(seam.shape)
    metrics = {"status": np.ones(seam.shape), "seam": seam, "method": method}
    demo = {name: np.tile(values, (4, 1, 1, 1, 1)).astype(np.float32) for name, values in metrics.items()}
    assert count_alarms(flags(demo, overlaps=(False, True, True))) == {}
    demo["seam"][3, 0, 2] = 0.1
    assert count_alarms(flags(demo, overlaps=(False, True, True))) == {"seam": 2}


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
    assert channel_alarms(metrics) == []
    metrics["chi2"][~blank] *= 2
    assert len(channel_alarms(metrics)) == 2


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
    assert channel_alarms(good) == []
    good["chi2"][:, 1] *= 2
    (line,) = channel_alarms(good)
    assert line.startswith("channel 1")
    assert "PSF" in line


ONE = (1, 1, 1, 1, 1)
CALIBRATION = {"offset": 100.0, "scale": 200.0, "dark": 90.0, "noise_alpha": 2.0}


def spot(middle: tuple[int, int] = (9, 9), pedestal: float = 0.0) -> Psf:
    y, x = np.mgrid[:19, :19]
    values = np.exp(-0.5 * ((y - middle[0]) ** 2 + (x - middle[1]) ** 2) / 1.7**2) + pedestal
    return Psf((values / values.sum()).astype(np.float32)[None])


def one_tile(**values: float) -> dict[str, np.ndarray]:
    """Metrics of a run of a single tile that is as it should be, but for ``values``."""
    good = {"status": 1, "method": METHODS["wiener"], "chi2": 0.95, "whiteness": 0.05, "light_ratio": 1.001}
    good |= {"impulses": 1e-3, "impulse_light": 1e-3, "clipped_share": 0, "saturated_share": 1e-4, "flag": 0}
    return {name: np.full(ONE, value, np.float32) for name, value in {**good, **values}.items()}


@pytest.mark.parametrize(
    ("values", "channel", "psf", "first"),
    [
        ({"chi2": 1.5}, {}, spot(), "check the PSF's width (FWHM 4"),
        ({"chi2": 1.5}, {"correlation": {"sigma": 1.0}, "psf_width": 0.65}, spot(), "the noise is correlated"),
        ({"whiteness": 0.4}, {"psf_width": 0.65}, spot(), "the PSF is too wide"),
        ({}, {"psf_width": 0.65}, spot(), "the PSF is too wide"),
        ({"chi2": 1.5}, {"psf_width": 0.65}, spot(pedestal=0.02), "the PSF has a pedestal"),
        ({"chi2": 1.5}, {}, spot((0, 0)), "the PSF's peak is 12.7 pixels"),
        ({"chi2": 3.0}, {}, Psf(np.repeat(spot().values, 3, 0) / 3), "the linear solution cannot fit"),
        ({"chi2": 3.0}, {"psf_width": 1.0}, spot(), "either the linear solution"),
        ({"chi2": 3.0, "method": METHODS["tv_cg"]}, {"psf_width": 1.0}, spot(), "check the PSF's width"),
        ({"chi2": 0.6}, {}, spot(), "the noise is overestimated"),
        ({"light_ratio": 0.97}, {}, spot(), "the dark level or the PSF"),
        (
            {"light_ratio": 0.9, "impulses": 0.07, "impulse_light": 0.3},
            {},
            spot(),
            "7.0% of the pixels are taken for hot",
        ),
        ({"clipped_share": 0.3}, {}, spot(), "30.0% of the voxels are outside the output's range"),
        ({"clipped_light": 0.3}, {}, spot(), "30.0% of the light is above the output's range"),
        ({"saturated_share": 0.02}, {"clip_high": 4095.0}, spot(), "saturated"),
        ({}, {"weight_at_end": "smoothest"}, spot(), "tuned to the smoothest"),
    ],
)
def test_one_tile_is_enough_and_the_likeliest_cause_comes_first(
    values: dict[str, float], channel: dict[str, Any], psf: Psf, first: str
) -> None:
    line = channel_alarms(one_tile(**values), [{**CALIBRATION, **channel}], [psf])[0]
    cause = line.split("expected 0): ")[-1].split("dark level: ")[-1].removeprefix("channel 0: ")
    assert cause.startswith(first) or (first in cause and "(also" not in cause), line


def test_one_tile_as_it_should_be_raises_nothing() -> None:
    fine = {**CALIBRATION, "psf_width": 1.0, "weight_at_end": None, "correlation": None, "clip_high": 4095.0}
    assert describe_quality(one_tile(), [fine], [spot()]) == []
    doubtful = one_tile(chi2=9, whiteness=9, light_ratio=0.5, clipped_share=0.5, method=METHODS["constant"])
    assert channel_alarms(doubtful, [{**fine, "psf_width": 0.5, "weight_at_end": "smoothest"}], [spot()]) == []


def test_every_bit_is_exact_in_float32() -> None:
    assert len(ALARMS) <= 24
    assert len({alarm.name for alarm in ALARMS}) == len(ALARMS)
