"""Data that the report computes before drawing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from ssi_pipeline.report.facts import RunFacts
from ssi_pipeline.report.grids import coarsen
from ssi_pipeline.report.ranking import alarm_counts, alarms_of, shown_metrics, worst_median_best
from ssi_pipeline.report.sections.explorer import quantised
from ssi_pipeline.report.sections.seams import border_ratio
from ssi_pipeline.report.spectrum import radial_power
from ssi_pipeline.results.finish import METRICS


def test_a_coarse_cell_keeps_the_worst_and_channels_apart() -> None:
    values = np.zeros((2, 2, 3, 40, 50), np.float32)
    values[1, 0, 2, 33, 7] = 5
    values[0, 1] = np.nan
    coarse, cell = coarsen("seam", values, 300)
    assert coarse.size <= 300
    assert cell[1] == 1
    assert np.nanmax(coarse[:, 0]) == 5
    assert np.nanmax(coarse[:, 1]) == 0
    assert coarsen("seam", values, values.size)[0].shape == values.shape
    assert coarsen("seam", values, 1)[0].shape == (1, 2, 1, 1, 1)


def test_of_a_ratio_the_worst_is_the_farthest_from_one() -> None:
    values = np.array([0.5, 1.2, 1.0, 1.01], np.float32).reshape(1, 1, 1, 1, 4)
    assert coarsen("flux_ratio", values, 1)[0].item() == np.float32(0.5)


@pytest.mark.parametrize("values", [np.linspace(-1, 3, 1001), np.geomspace(1e-6, 10, 1001)])
def test_levels_tell_the_value(values: np.ndarray) -> None:
    """254 steps between the 1st and the 99th percentile: half a step off at most."""
    grid = values.astype(np.float32).reshape(1, 1, 1, 7, 143)
    levels = quantised("seam", grid, grid)
    share = (levels.codes.ravel().astype(float) - 1) / 254
    inside = (values >= levels.low) & (values <= levels.high)
    if levels.log:
        back = levels.low * (levels.high / levels.low) ** share
        assert np.abs(np.log(back / values))[inside].max() < 0.51 * np.log(levels.high / levels.low) / 254
    else:
        back = levels.low + share * (levels.high - levels.low)
        assert np.abs(back - values)[inside].max() < 0.51 * (levels.high - levels.low) / 254
    assert (levels.codes > 0).all()
    grid[0, 0, 0, 0, 0] = np.nan
    assert quantised("seam", grid, grid).codes[0, 0, 0, 0, 0] == 0


def test_worst_median_best() -> None:
    assert worst_median_best(np.array([3.0, np.nan, 1.0, 2.0])) == {0: "worst", 3: "median", 2: "best"}
    assert len(worst_median_best(np.array([1.0]))) == 1
    assert worst_median_best(np.array([np.nan])) == {}


def test_alarms_are_named_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metric itself says what its bits mean."""
    monkeypatch.setitem(METRICS, "flag", "alarms of the tile, a bit for each: 1 held-out, 2 chi2, 4 r2r")
    flag = np.array([0, 1, 6, np.nan], np.float32).reshape(1, 1, 1, 2, 2)
    facts = cast("RunFacts", SimpleNamespace(metrics={"flag": flag}))
    assert alarm_counts(facts) == (2, [("held-out", 1), ("chi2", 1), ("r2r", 1)])
    assert alarms_of(facts, 2) == ["chi2", "r2r"]
    assert alarms_of(facts, 3) == []
    assert shown_metrics(facts)["alarms"].ravel().tolist()[:3] == [0, 1, 2]
    assert np.isnan(shown_metrics(facts)["alarms"].ravel()[3])
    assert alarm_counts(cast("RunFacts", SimpleNamespace(metrics={}))) == (0, [])


def test_the_spectrum_of_white_noise_is_flat_and_of_a_wave_has_a_peak() -> None:
    rng = np.random.default_rng(0)
    frequency, power = radial_power(rng.normal(0, 2, (256, 256)))
    # variance 4 in every bin; the innermost rings have few pixels, and less where the mean was taken off
    assert power[4:] == pytest.approx(4, rel=0.3)
    wave = np.sin(2 * np.pi * 0.2 * np.arange(128))[None] * np.ones((128, 1))
    frequency, power = radial_power(wave)
    assert frequency[power.argmax()] == pytest.approx(0.2, abs=0.011)


def test_a_seam_is_a_gradient_in_the_middle() -> None:
    assert border_ratio(np.array([1.0, 1, 1, 1, 5, 1, 1, 1, 1])) == 5
    assert border_ratio(np.zeros(9)) == 1
