"""``ssi.Inverse``: one network, fitted to one image and applied to others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from builders import TINY, beads, complete, level, make_run

import ssi_pipeline as ssi
from ssi_pipeline.errors import ConfigError, InputError

FIRST, SECOND = beads((70, 80)), beads((64, 64), seed=1)
FWHM = ssi.psf.gaussian(fwhm_px=2)
OPTIONS: dict[str, Any] = {
    "network": TINY["network"],
    "training": {**TINY["training"], "steps": 20, "patch": 48},
    "tiling": {"core": 64},
    "quality": {"extended": False},
}


@pytest.fixture(scope="module")
def fitted() -> ssi.Inverse:
    return ssi.Inverse(FWHM, **OPTIONS).fit(FIRST)


def test_it_is_a_shared_network(fitted: ssi.Inverse) -> None:
    shared = {**OPTIONS, "training": {**OPTIONS["training"], "scope": "shared"}}
    assert np.array_equal(fitted.predict(FIRST), ssi.deconvolve(FIRST, FWHM, **shared))
    lazy = fitted.predict(da.from_array(SECOND, chunks=40))
    assert np.array_equal(lazy.compute(scheduler="synchronous"), fitted.predict(SECOND))


def test_it_is_saved_and_loaded_and_starts_a_run(fitted: ssi.Inverse, tmp_path: Path) -> None:
    fitted.save(tmp_path / "f.pt")
    given = {"scope": "shared", "start_from": str(tmp_path / "f.pt")}
    run = make_run(tmp_path, SECOND, "yx", solver="ssi", **{**OPTIONS, "training": {**OPTIONS["training"], **given}})
    expected = level(complete(run))
    assert np.array_equal(fitted.predict(SECOND), expected)
    rest = {key: value for key, value in OPTIONS.items() if key != "network"}
    found = ssi.Inverse.load(tmp_path / "f.pt", **rest).predict(SECOND, metrics=True)
    assert np.array_equal(found.image, expected)
    assert (found.metrics["steps"] == 0).all()


def test_a_lazy_image_fits_and_channels_have_networks_of_their_own(tmp_path: Path) -> None:
    image = np.stack([FIRST, FIRST[::-1]])
    short = {**OPTIONS, "training": {**OPTIONS["training"], "steps": 3}}
    lazy = ssi.Inverse(FWHM, axes="cyx", **short).fit(da.from_array(image, chunks=(1, 40, 40)))
    known = ssi.Inverse(FWHM, axes="cyx", **short).fit(image)
    for one, other in zip(lazy.models, known.models, strict=True):
        assert all(np.array_equal(one.state[name], other.state[name]) for name in one.state)
    known.save(tmp_path / "models")
    loaded = ssi.Inverse.load(tmp_path / "models", axes="cyx", tiling=OPTIONS["tiling"])
    assert len(loaded.models) == 2
    with pytest.raises(ConfigError, match="psf lists 2 PSFs, but 1 channel"):
        loaded.predict(FIRST[None])
    with pytest.raises(ConfigError, match="networks are for 2 channel"):
        known.predict(FIRST[None])


def test_misuse_is_refused(fitted: ssi.Inverse, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no network yet"):
        ssi.Inverse(FWHM).predict(FIRST)
    with pytest.raises(ConfigError, match="there is no network to save"):
        ssi.Inverse(FWHM).save(tmp_path / "f.pt")
    with pytest.raises(ConfigError, match="expected solver ssi"):
        ssi.Inverse(FWHM, solver="wiener")
    with pytest.raises(InputError, match="has no network"):
        ssi.Inverse.load(tmp_path)
    with pytest.raises(InputError, match="intensity scale"):
        fitted.predict((SECOND * 16).astype(np.uint16))
