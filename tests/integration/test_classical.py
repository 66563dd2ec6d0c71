"""Every classical solver from zarr to OME-Zarr, in tiles, in 2D and 3D."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import complete, config_of, level, make_run, records
from scipy import ndimage

from ssi_pipeline.storage.state.document import RunDocument, StatePaths
from ssi_pipeline.tasks import Context


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def spots() -> np.ndarray[Any, Any]:
    """Points blurred by the PSF on a background with shot noise, none so near a border that light of it is missing."""
    rng = np.random.default_rng(0)
    points = np.zeros((8, 48, 56))
    points[tuple(rng.integers(low, n - low, 40) for low, n in zip((2, 10, 10), points.shape, strict=True))] = 6000
    sigma = [fwhm / 2.355 for fwhm in (1.5, 3.0, 3.0)]
    return rng.poisson(ndimage.gaussian_filter(points, sigma) + 100).astype(np.uint16)


def sharpness(image: np.ndarray[Any, Any]) -> float:
    return float(np.abs(np.diff(ndimage.gaussian_filter(image.astype(float), 0.7), axis=-1)).max())


@pytest.mark.parametrize(
    ("solver", "dimensions"),
    [
        *((solver, 2) for solver in ("richardson_lucy", "tv_cg")),
        ("wiener", 3),
        *(pytest.param(solver, 2, marks=pytest.mark.long) for solver in ("wiener", "tv")),
        *(pytest.param(solver, 3, marks=pytest.mark.long) for solver in ("richardson_lucy", "tv", "tv_cg")),
    ],
)
def test_a_volume_is_solved_in_tiles_with_a_weight_chosen_by_the_masked_loss(
    tmp_path: Path, solver: str, dimensions: int
) -> None:
    image = spots()
    tiling = {"dimensions": dimensions, "core": {"y": 32, "x": 32} | ({"z": 8} if dimensions == 3 else {})}
    psf = {"kind": "gaussian", "fwhm_px": {"z": 1.5, "y": 3.0, "x": 3.0}}
    roi = {} if dimensions == 3 else {"z": [3, 5]}
    config = make_run(
        tmp_path,
        image,
        input={"roi": roi},
        solver=solver,
        tiling=tiling,
        psf=psf,
        output={"dtype": "float32"},
    )
    found = level(complete(config))
    seen = image if dimensions == 3 else image[3:5]
    assert found.shape == seen.shape
    assert np.isfinite(found).all()
    assert {r.quality["method"] for r in records(config, "solve")} == {solver}
    assert all(r.quality["heldout_after"] > 0 for r in records(config, "solve"))
    # nothing but the borders changes the flux
    assert found.sum(dtype=float) == pytest.approx(seen.sum(dtype=float), rel=0.03)
    assert sharpness(found) > sharpness(seen)
    paths = StatePaths(config_of(config).state_path)
    assert Context(RunDocument.load(paths.document), paths).calibration(0).weight > 0  # type: ignore[operator]
