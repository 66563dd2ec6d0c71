"""Metrics without ground truth, on images with a closed-form answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ssi_pipeline.quality.background import background_structure
from ssi_pipeline.quality.decorrelation import decorrelation_resolution
from ssi_pipeline.quality.ranks import rank_sum
from ssi_pipeline.quality.residual import chi_squared, white_noise_level, whiteness
from ssi_pipeline.quality.resolution import ring_correlation_resolution

RNG = np.random.default_rng


@pytest.mark.parametrize("shape", [(200, 180), (30, 40, 36)])
def test_white_noise_is_white_to_what_its_number_of_pixels_allows(shape: tuple[int, ...]) -> None:
    noise, seen = RNG(0).standard_normal(shape), np.ones(shape, bool)
    # a sum of L / 2 independent squares (d and -d are equal), each chi^2 of one degree: relative deviation 2 / sqrt(L)
    lags = 112 if len(shape) == 2 else 924
    assert whiteness(noise, seen) == pytest.approx(white_noise_level(seen), rel=5 * 2 / lags**0.5)
    assert chi_squared(noise, seen) == pytest.approx(1, abs=5 * (2 / noise.size) ** 0.5)


def test_the_level_of_white_noise_is_lags_over_pixels() -> None:
    # 112 lags in a disc of radius 6; pairs are fewer than pixels by at most 6 / 500 along each axis
    assert white_noise_level(np.ones((500, 500), bool)) == pytest.approx(112 / 500**2, rel=0.025)


def test_the_autocorrelation_of_a_moving_average_is_a_triangle() -> None:
    noise = RNG(1).standard_normal((600, 603))
    smooth = noise[:, :-3] + noise[:, 1:-2] + noise[:, 2:-1]  # 2 / 3 and 1 / 3 at one and two pixels
    found = whiteness(smooth, np.ones(smooth.shape, bool))
    assert found == pytest.approx(2 * (4 / 9 + 1 / 9), abs=0.02)


def test_one_lag_alone_and_its_sign_does_not_matter() -> None:
    noise = RNG(2).standard_normal((400, 401))
    difference = noise[:, 1:] - noise[:, :-1]  # - 1 / 2 at one pixel
    assert whiteness(difference, np.ones(difference.shape, bool), lags=1) == pytest.approx(2 * 0.25, abs=0.02)


def test_pixels_that_do_not_count_change_nothing() -> None:
    noise, seen = RNG(3).standard_normal((60, 50)), RNG(4).random((60, 50)) > 0.2
    spoiled = np.where(seen, noise, 1e3)
    assert whiteness(spoiled, seen) == pytest.approx(whiteness(noise, seen), rel=1e-6)
    assert chi_squared(spoiled, seen) == chi_squared(noise, seen)
    assert np.isnan(whiteness(noise, np.zeros_like(seen)))
    assert np.isnan(whiteness(np.ones((20, 20)), np.ones((20, 20), bool)))


def test_a_short_axis_has_only_the_lags_that_it_has_room_for() -> None:
    assert white_noise_level(np.ones((1, 100, 100), bool)) == pytest.approx(
        white_noise_level(np.ones((100, 100), bool))
    )


@pytest.mark.parametrize("cutoff", [0.1, 0.18])
def test_both_resolutions_find_where_a_spectrum_ends(cutoff: float) -> None:
    """White structure below a frequency, noise everywhere; window and rings blur the end by three rings of 128."""
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None])
    spectrum = np.fft.rfft2(RNG(5).standard_normal((256, 256))) * (frequency < cutoff)
    signal = np.fft.irfft2(spectrum)
    image = signal / signal.std() + 0.5 * RNG(6).standard_normal(signal.shape)
    assert ring_correlation_resolution(image) == pytest.approx(1 / cutoff, rel=0.15)
    assert decorrelation_resolution(image) == pytest.approx(1 / cutoff, rel=0.15)


def test_blur_makes_resolution_worse_and_planes_are_pooled() -> None:
    sharp = ndimage.gaussian_filter(RNG(7).standard_normal((3, 160, 150)), (0, 1.5, 1.5))
    blurred = ndimage.gaussian_filter(sharp, (0, 3, 3))
    noise = 0.01 * RNG(8).standard_normal(sharp.shape)
    for measure in (ring_correlation_resolution, decorrelation_resolution):
        assert measure(blurred + noise) > 1.3 * measure(sharp + noise)


def test_noise_and_small_images_have_no_resolution() -> None:
    assert np.isnan(ring_correlation_resolution(RNG(9).standard_normal((256, 256))))
    assert np.isnan(ring_correlation_resolution(np.zeros((20, 400))))
    assert np.isnan(decorrelation_resolution(np.zeros((20, 400))))
    assert np.isnan(decorrelation_resolution(np.zeros((64, 64))))


def test_structure_in_the_background_is_its_mean_deviation() -> None:
    shape = (120, 100)
    measured = RNG(10).standard_normal(shape)
    variance, seen = np.ones(shape), np.ones(shape, bool)
    assert background_structure(measured, np.full(shape, 3.0), variance, seen)[0] == 0
    stripes = np.where(np.arange(shape[1]) % 2, 0.4, -0.4) * np.ones(shape)
    # every pixel is 0.8 or 0 from the median, which is one of both values or their mean
    assert background_structure(measured, stripes, variance, seen)[0] == pytest.approx(0.4, rel=0.05)
    assert np.isnan(background_structure(100 * measured, stripes, variance, seen)).all()


def test_ranks_are_added_and_ties_share() -> None:
    candidates = [{"a": 1.0, "b": 5.0}, {"a": 2.0, "b": 4.0}, {"a": 3.0, "b": np.inf}]
    assert rank_sum(candidates, ("a", "b")).tolist() == [3, 3, 6]
    assert rank_sum([{"a": 1.0}, {"a": 1.0}], ("a",)).tolist() == [1.5, 1.5]
    assert rank_sum([{"a": 1.0}, {"a": 2.0, "b": 0.0}], ("a", "b")).tolist() == [1, 2]  # b is not known of both
    assert rank_sum([]).size == 0
    with pytest.raises(ValueError, match="in every candidate"):
        rank_sum([{"a": 1.0}], ("b",))
