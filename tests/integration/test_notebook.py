"""What a notebook shows: progress, a result and a run with a picture, tables of metrics and of a network."""

from __future__ import annotations

import base64
import io
import re
import sys
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import torch
from builders import TINY, beads, complete, level, make_run
from matplotlib.image import imread
from numpy.typing import NDArray

import ssi_pipeline as ssi
from ssi_pipeline.api.picture import Plane, encode_png, middle_plane, picture_html, shrunk
from ssi_pipeline.api.progress import Notebook, in_notebook
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.results.snapshot import Snapshot

LIGHT: dict[str, Any] = {"solver": "wiener", "tiling": {"core": 32}}


def picture(html: str) -> NDArray[np.uint8]:
    """Return the grey levels of the picture in a text, by another library."""
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return np.rint(imread(io.BytesIO(base64.b64decode(data))) * 255).astype(np.uint8)


def expected(plane: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = np.percentile(plane, (0.5, 99.8))
    return np.rint(np.clip((plane - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def test_a_png_has_the_pixels() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (5, 7), np.uint8)
    found = imread(io.BytesIO(encode_png(grey)))
    assert np.array_equal(np.rint(found * 255), grey)


def test_large_planes_shrink_by_means_and_pixels_that_are_not_finite_are_left_out() -> None:
    plane = np.arange(600.0 * 3).reshape(600, 3)
    plane[0, 0], plane[3:6] = np.inf, np.nan
    found = shrunk(plane, 256)
    assert found.shape == (200, 1)
    assert found[0] == plane[:3].reshape(-1)[1:].mean()
    assert np.isnan(found[1])
    assert picture(picture_html(Plane(plane), "a"))[1] == 0


@pytest.mark.parametrize(("value", "level"), [(7.0, 128), (np.nan, 0)])
def test_a_constant_plane_is_grey_and_one_without_finite_pixels_black(value: float, level: int) -> None:
    assert (picture(picture_html(Plane(np.full((8, 9), value)), "a")) == level).all()
    sparse = np.zeros((64, 64))
    sparse[3, 4] = 5
    assert picture(picture_html(Plane(sparse), "a"))[3, 4] == 255


def test_the_plane_is_the_middle_one_of_the_first_channel_whatever_the_order_of_the_axes() -> None:
    image = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    plane = middle_plane(image)
    assert plane is not None
    assert np.array_equal(plane.pixels, image[0, 1])
    assert plane.place == "c = 0 (0 to 1), z = 1 (0 to 2)"
    for other in (middle_plane(image.transpose(3, 2, 0, 1), "xycz"), middle_plane(torch.from_numpy(image))):
        assert other is not None
        assert np.array_equal(other.pixels, image[0, 1])
    assert middle_plane(da.from_array(image)) is None


def test_a_result_shows_its_plane_and_a_lazy_one_computes_nothing() -> None:
    image = beads((3, 40, 48))
    found = ssi.deconvolve(image.transpose(1, 2, 0), 2.0, axes="yxz", metrics=True, **LIGHT)
    html = found._repr_html_()
    assert np.array_equal(picture(html), expected(found.image[:, :, 1]))
    assert 'alt="estimate, z = 1 (0 to 2), grey from' in html
    assert "wiener 12" in html

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("computed")

    lazy = ssi.deconvolve(da.from_array(image), 2.0, metrics=True, progress=True, **LIGHT)
    with dask.config.set(scheduler=refuse):
        assert "<img" not in lazy._repr_html_()


def test_a_run_shows_a_level_of_its_pyramid_and_its_metrics(tmp_path: Path) -> None:
    path = make_run(tmp_path, beads((2, 260, 270)), solver="identity", tiling={"core": 288})
    output = complete(path)
    run = ssi.open_run(path)
    html = run._repr_html_()
    assert np.array_equal(picture(html), expected(level(output, 1)[1]))
    assert "output, z = 1 (0 to 1), level 1, grey from" in html
    text = run.metrics()._repr_html_()
    assert "2 = z 2" in text
    assert "identity 2" in text
    (output / "1" / "zarr.json").write_text("{")
    assert "not shown, as the output cannot be read" in run._repr_html_()


def test_progress_goes_to_a_function_and_changes_no_byte() -> None:
    image, seen = beads((40, 64)), list[Snapshot]()
    found = ssi.deconvolve(image, 2.0, progress=seen.append, **LIGHT)
    assert np.array_equal(found, ssi.deconvolve(image, 2.0, progress=False, **LIGHT))
    steps = [(now.stage, now.done, now.total) for now in seen]
    channels = [("calibrating channels", n, 1) for n in (0, 1)]
    assert steps == channels + [("tiles", n, 4) for n in range(5)]
    with pytest.raises(ConfigError, match="progress is 'yes': expected None, True, False or a function"):
        ssi.deconvolve(image, 2.0, progress="yes", **LIGHT)


def test_progress_is_silent_elsewhere_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    image = beads((32, 32))
    ssi.deconvolve(image, 2.0, **LIGHT)
    assert capsys.readouterr().err == ""
    ssi.deconvolve(image, 2.0, progress=True, **LIGHT)
    assert "tiles: 1 of 1 done" in capsys.readouterr().err


def test_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Screen())
    ssi.deconvolve(beads((32, 32)), 2.0, **LIGHT)
    assert "tiles" in sys.stderr.getvalue()  # type: ignore[attr-defined]


def test_a_notebook_shows_a_bar_that_is_updated_and_removed() -> None:
    display = pytest.importorskip("IPython.core.displaypub")
    from IPython.core.interactiveshell import InteractiveShell

    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(display_pub_class=display.CapturingDisplayPublisher)
    try:
        assert not in_notebook()  # IPython on a terminal
        bar = Notebook()
        for done in (0, 1, 2):
            bar.show(Snapshot("tiles", done, 2, 0, 0, None, None, 0.0))
        bar.close()
        shown = [output["data"]["text/html"] for output in shell.display_pub.outputs]
    finally:
        InteractiveShell.clear_instance()
    assert shown == [
        '<progress value="0" max="2"></progress> tiles: 0 of 2 done',
        '<progress value="2" max="2"></progress> tiles: 2 of 2 done',  # 1 came at once after 0
        "",
    ]


def test_a_network_shows_what_it_was_fitted_on() -> None:
    image, seen = beads((70, 80)), list[Snapshot]()
    training = {**TINY["training"], "steps": 20, "patch": 48}
    inverse = ssi.Inverse(ssi.psf.gaussian(fwhm_px=2), **{**TINY, "training": training, "tiling": {"core": 64}})
    assert "nothing yet: call fit" in inverse._repr_html_()
    inverse.fit(image, progress=seen.append)
    html = inverse._repr_html_()
    assert "(70, 80) uint16, axes yx" in html
    assert f"{seen[-2].done} of at most {seen[-2].total} steps" in html
    assert "of the Wiener filter" in html
    assert {now.stage for now in seen} == {"training shared networks", "training the network"}
