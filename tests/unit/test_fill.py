"""Fill is told from what was measured, wherever a tile is cut."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from ssi_pipeline.inversion.sensor.fill import REACH, Fill, fill_of
from ssi_pipeline.inversion.sensor.fill_value import Part, find_fill

ALL = (True, True, True, True)


def scene(n: int = 160, offset: float = 100.0, light: float = 30.0) -> NDArray[np.float32]:
    """Blurred blobs with shot noise over a camera's offset, y x."""
    rng = np.random.default_rng(3)
    blobs = ndimage.gaussian_filter((rng.random((n, n)) < 0.004).astype(float), 2) * 200
    return (rng.poisson(light * (0.5 + blobs)) + offset).astype(np.float32)


def wedge(n: int = 160, degrees: float = 45.0) -> NDArray[np.bool_]:
    y, x = np.mgrid[:n, :n]
    return np.asarray(y < (x - 40) * np.tan(np.deg2rad(degrees)))


def marked(y: NDArray[np.float32], value: float = 0, rim: int = 0) -> NDArray[np.bool_]:
    return fill_of(y[None], value, rim, np.zeros((1, *y.shape), bool), ALL)[0]


def found(y: NDArray[np.floating]) -> Fill:
    image = np.asarray(y, np.float32)[None]
    return find_fill([Part(image, ~np.isfinite(image), ALL)], "auto")


@pytest.mark.parametrize("degrees", [2, 10, 30, 45, 80])
def test_wedges_are_marked_to_the_tip(degrees: float) -> None:
    inside = wedge(degrees=degrees)
    assert np.array_equal(marked(np.where(inside, 0, scene())), inside)


@pytest.mark.parametrize("wide", [1, 2, 8])
def test_thin_borders_are_marked(wide: int) -> None:
    inside = np.zeros((160, 160), bool)
    inside[:wide], inside[:, -wide:] = True, True
    assert np.array_equal(marked(np.where(inside, 0, scene())), inside)


def test_noise_of_which_half_is_clipped_is_no_fill() -> None:
    assert not marked(np.maximum(np.random.default_rng(0).normal(0, 5, (400, 400)), 0).astype(np.float32)).any()


def test_the_decision_does_not_depend_on_the_box_that_is_read() -> None:
    rng = np.random.default_rng(1)
    y = np.maximum(rng.normal(2, 5, (160, 160)), 0).astype(np.float32)  # a third of it has the value too
    y[wedge(degrees=30)] = 0
    y[-3:], y[:, 0] = 0, 0
    whole = marked(y, rim=1)
    for _ in range(40):
        (a, b), (c, d) = (sorted(int(i) for i in rng.choice(161, 2, replace=False)) for _ in range(2))
        rows, columns = (max(a - REACH, 0), min(b + REACH, 160)), (max(c - REACH, 0), min(d + REACH, 160))
        box = y[slice(*rows), slice(*columns)][None]
        border = (rows[0] == 0, rows[1] == 160, columns[0] == 0, columns[1] == 160)
        part = fill_of(box, 0, 1, np.zeros(box.shape, bool), border)
        inner = part[0, a - rows[0] : b - rows[0], c - columns[0] : d - columns[0]]
        assert np.array_equal(inner, whole[a:b, c:d])


@pytest.mark.parametrize("value", [0.0, 160.0])
def test_the_value_is_found(value: float) -> None:
    assert found(np.where(wedge(), value, scene())) == Fill(value, 0, pytest.approx(wedge().mean()))


@pytest.mark.parametrize("order", [1, 3])
def test_the_rim_of_an_interpolated_edge_is_found(order: int) -> None:
    turned = ndimage.rotate(scene(), 20, order=order, reshape=False, cval=0, mode="grid-constant")
    fill = found(np.clip(np.rint(turned), 0, None))
    assert (fill.value, fill.rim) == (0, 1)


def _clipped() -> NDArray[np.float32]:
    return np.maximum(scene(offset=-18), 0)


def _photons() -> NDArray[np.float32]:
    places = np.random.default_rng(4).random((160, 160)) < 0.002
    light = ndimage.gaussian_filter(places.astype(float), 3) * 500
    return np.random.default_rng(5).poisson(light).astype(np.float32)


def _lone_photons() -> NDArray[np.float32]:
    return np.random.default_rng(5).poisson(0.01, (160, 160)).astype(np.float32)


def _subtracted() -> NDArray[np.float32]:
    smooth = ndimage.gaussian_filter(scene(), 1.5)
    return np.rint(np.clip(smooth - np.percentile(smooth, 60), 0, None))


@pytest.mark.parametrize("image", [_clipped, _photons, _lone_photons, _subtracted])
def test_areas_of_zeros_that_were_measured_are_no_fill(image: object) -> None:
    assert callable(image)
    y = image()
    fill = found(y)
    assert fill.value is None
    assert bool(fill.doubt) == bool(marked(y).any())


def test_saturated_areas_are_no_fill() -> None:
    y = scene()
    assert found(np.minimum(y, np.percentile(y, 80))).value is None


def test_a_mask_of_zeros_is_fill() -> None:
    y, x = np.mgrid[:160, :160]
    outside = (y - 80) ** 2 / 60**2 + (x - 80) ** 2 / 45**2 > 1
    assert found(np.where(outside, 0, scene())).value == 0
