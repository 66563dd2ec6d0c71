"""``ssi.deconvolve``: the bytes of a run, whatever kind of array comes in; errors as of a configuration."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pytest
import torch
import zarr
from builders import EXTENDED, GAUSSIAN, TINY, beads, complete, level, make_run
from distributed import Client, LocalCluster
from numpy.typing import NDArray

import ssi_pipeline as ssi
from ssi_pipeline.api.coordinates import voxel_size_of
from ssi_pipeline.errors import ConfigError, InputError
from ssi_pipeline.physics.psf import Psf

IMAGE = beads((2, 70, 80))
FWHM = ssi.psf.gaussian(fwhm_px=2)
BLENDED: dict[str, Any] = {"solver": "wiener", "tiling": {"core": 48, "blend": 4}}
NETWORK: dict[str, Any] = {**TINY, "training": {**TINY["training"], "steps": 20, "patch": 48}, "tiling": {"core": 64}}
PLAIN: dict[str, Any] = {"quality": {"extended": False}}
LIGHT: dict[str, Any] = {"solver": "wiener", "tiling": {"core": 48}}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    local = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0")
    with local as cluster, Client(cluster) as found:
        yield found


def of_run(folder: Path, image: NDArray[Any], axes: str = "zyx", **sections: Any) -> Path:
    return complete(make_run(folder, image, axes, **sections))


def quality(output: Path, name: str) -> NDArray[Any]:
    return np.asarray(zarr.open_array(output / "quality" / name, mode="r")[...])


def test_blended_tiles_are_those_of_a_run(tmp_path: Path) -> None:
    output = of_run(tmp_path, IMAGE, output={"dtype": "float32", "uncertainty": 3}, **EXTENDED, **BLENDED)
    known = ssi.deconvolve(IMAGE, FWHM, uncertainty=3, metrics=True, output={"dtype": "float32"}, **BLENDED)
    array = da.from_array(IMAGE, chunks=(1, 33, 50))
    lazy = ssi.deconvolve(array, FWHM, uncertainty=3, metrics=True, output={"dtype": "float32"}, **BLENDED)
    assert lazy.image.chunks == ((1, 1), (48, 22), (48, 32))
    with dask.config.set(scheduler="threads"):
        found = dask.compute(*lazy)
    expected = level(output), np.asarray(zarr.open_array(output / "uncertainty" / "0", mode="r")[...])
    assert '<td style="text-align:left">wiener 8</td>' in known._repr_html_()
    assert "(2, 70, 80) float32" in lazy._repr_html_()
    for image, uncertainty, metrics in (known, found):
        assert image.dtype == np.float32
        assert np.array_equal(image, expected[0])
        assert np.array_equal(uncertainty, expected[1])
        assert metrics.shape == (1, 1, 2, 2, 2)
        for name in set(metrics.dtype.names) - {"seconds"}:
            assert np.array_equal(metrics[name], quality(output, name), equal_nan=True), name


def test_networks_of_tiles_are_those_of_a_run_on_a_client_with_threads(tmp_path: Path, client: Client) -> None:
    image = IMAGE[0]
    output = of_run(tmp_path, image, "yx", solver="ssi", **EXTENDED, **NETWORK)
    lazy = ssi.deconvolve(da.from_array(image, chunks=40), FWHM, metrics=True, **NETWORK)
    sent = pickle.loads(cloudpickle.dumps(lazy))  # as to a worker process: without the caches and locks of this one
    found, metrics = dask.compute(sent.image, sent.metrics)
    assert np.array_equal(found, level(output))
    assert np.array_equal(metrics["heldout_after"], quality(output, "heldout_after"))
    assert (metrics["steps"] > 0).any()
    assert (metrics["seam"] > 0).all()
    assert np.array_equal(metrics["seam"], quality(output, "seam"))


def test_a_shared_network_is_that_of_a_run(tmp_path: Path) -> None:
    options = {**NETWORK, **PLAIN, "training": {**NETWORK["training"], "scope": "shared"}}
    output = of_run(tmp_path, IMAGE[0], "yx", solver="ssi", **options)
    assert np.array_equal(ssi.deconvolve(IMAGE[0], FWHM, **options), level(output))
    lazy = ssi.deconvolve(da.from_array(IMAGE[0], chunks=40), FWHM, **options)
    assert np.array_equal(lazy.compute(scheduler="synchronous"), level(output))


def test_neighbouring_planes_are_read_as_in_a_run(tmp_path: Path) -> None:
    options = {**NETWORK, "network": {**TINY["network"], "context": {"z": 1}}, **PLAIN}
    options["training"] = {**options["training"], "steps": 2}
    output = of_run(tmp_path, IMAGE, solver="ssi", **options)
    lazy = ssi.deconvolve(da.from_array(IMAGE, chunks=(1, 70, 50)), FWHM, **options)
    assert np.array_equal(lazy.compute(scheduler="synchronous"), level(output))


def test_further_samples_are_read_as_in_a_run_where_most_planes_are_fill(tmp_path: Path) -> None:
    image = beads((40, 32, 48))
    image[4:] = 0
    output = of_run(tmp_path, image, **LIGHT, **PLAIN)
    lazy = ssi.deconvolve(da.from_array(image, chunks=(1, 32, 48)), FWHM, **LIGHT, **PLAIN)
    assert np.array_equal(lazy.compute(scheduler="synchronous"), level(output))
    assert not np.array_equal(level(output)[:4], image[:4])


def test_a_stack_in_3d_in_another_order_of_axes(tmp_path: Path) -> None:
    image = beads((8, 24, 36))
    psf = {"kind": "gaussian", "fwhm_um": {"z": 0.6, "y": 0.3, "x": 0.3}}
    sizes = {"z": 0.3, "y": 0.1, "x": 0.1}
    options: dict[str, Any] = {"solver": "wiener", "tiling": {"core": 24, "dimensions": 3}, **PLAIN}
    output = level(of_run(tmp_path, image, "zyx", psf=psf, input={"voxel_size_um": sizes}, **options))
    del options["tiling"]["dimensions"]  # the PSF has a depth
    found = ssi.deconvolve(image, (0.6, 0.3, 0.3), voxel_size_um=(0.3, 0.1, 0.1), **options)
    assert np.array_equal(found, output)
    swapped = da.from_array(image.transpose(0, 2, 1), chunks=(5, 20, 20))
    lazy = ssi.deconvolve(swapped, psf, axes="zxy", voxel_size_um=sizes, **options)
    assert np.array_equal(lazy.compute(scheduler="synchronous"), output.transpose(0, 2, 1))


def test_voxel_sizes_are_those_of_the_image_whatever_the_psf_says() -> None:
    """They weight total variation along z, also in a run, whose workers read the PSF back."""
    image, side = beads((6, 20, 20)), np.arange(-2, 3)
    values = np.exp(-(side[:, None, None] ** 2 + side[:, None] ** 2 + side**2) / 2.0).astype(np.float32)
    options: dict[str, Any] = {"solver": "tv_cg", "classical": {"weight": 0.01}, "dimensions": 3, **PLAIN}
    plain = ssi.deconvolve(image, values / values.sum(), **options)
    sized = ssi.deconvolve(image, Psf(values / values.sum(), (0.4, 0.1, 0.1)), **options)
    assert np.array_equal(plain, sized)
    known = ssi.deconvolve(image, Psf(values / values.sum()), voxel_size_um=(0.4, 0.1, 0.1), **options)
    assert not np.array_equal(plain, known)


def test_a_psf_as_an_array_a_file_and_a_model(tmp_path: Path) -> None:
    image = IMAGE[0, :40, :48]
    side = np.arange(-4, 5)
    values = np.exp(-(side[:, None] ** 2 + side**2) / 3.0)
    np.save(tmp_path / "psf.npy", values)
    by_file = ssi.deconvolve(image, tmp_path / "psf.npy", **LIGHT, **PLAIN)
    assert np.array_equal(by_file, ssi.deconvolve(image, values, **LIGHT, **PLAIN))
    assert np.array_equal(by_file, ssi.deconvolve(image, ssi.psf.measured(values), **LIGHT, **PLAIN))
    by_width = ssi.deconvolve(image, GAUSSIAN, **LIGHT, **PLAIN)
    assert np.array_equal(by_width, ssi.deconvolve(image, 2.0, **LIGHT, **PLAIN))
    assert np.array_equal(by_width, ssi.deconvolve(image, (0.4, 0.2), voxel_size_um=(0.2, 0.1), **LIGHT, **PLAIN))
    assert not np.array_equal(by_width, by_file)


def test_tensors_stay_tensors_and_threads_stay_as_they_were() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        tensor = torch.from_numpy(IMAGE[0].astype(np.float32))
        found = ssi.deconvolve(tensor, FWHM, **LIGHT, **PLAIN)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert isinstance(found, torch.Tensor)
    assert np.array_equal(found.numpy(), ssi.deconvolve(IMAGE[0].astype(np.float32), FWHM, **LIGHT, **PLAIN))


def test_an_xarray_keeps_names_and_coordinates() -> None:
    xarray = pytest.importorskip("xarray")
    image = xarray.DataArray(
        IMAGE[0].T, dims=("x", "Y"), name="cells", coords={"x": np.arange(80) * 0.1}, attrs={"unit": "counts"}
    )
    found = ssi.deconvolve(image, FWHM, **LIGHT, **PLAIN)
    assert (found.dims, found.name, found.attrs) == (image.dims, "cells", {"unit": "counts"})
    assert found.coords["x"].equals(image.coords["x"])
    assert np.array_equal(found.values.T, ssi.deconvolve(IMAGE[0], FWHM, **LIGHT, **PLAIN))
    assert np.array_equal(
        ssi.deconvolve(image.chunk(30), FWHM, **LIGHT, **PLAIN).compute(scheduler="synchronous"), found
    )


def test_coordinates_with_a_unit_are_the_voxel_size() -> None:
    xarray = pytest.importorskip("xarray")
    image = xarray.DataArray(IMAGE[0], dims=("y", "x"))
    image = image.assign_coords({a: (a, np.arange(n) * 200.0, {"units": "nm"}) for a, n in image.sizes.items()})
    expected = ssi.deconvolve(IMAGE[0], 0.5, voxel_size_um=(0.2, 0.2), **LIGHT, **PLAIN)
    assert np.array_equal(ssi.deconvolve(image, 0.5, **LIGHT, **PLAIN), expected)
    for other in (
        image.assign_coords(x=np.arange(80) * 0.2),
        image.assign_coords(x=("x", np.geomspace(1, 9, 80), {"units": "um"})),
    ):
        assert voxel_size_of(other, "yx") is None


@pytest.mark.parametrize(
    ("image", "psf", "options", "text"),
    [
        (IMAGE, FWHM, {"training": {"stepz": 3}}, "training.stepz: unknown key; did you mean 'steps'"),
        (IMAGE, FWHM, {"training.steps": "many"}, "training.steps"),
        (IMAGE, FWHM, {"solver": "magic"}, "solver"),
        (IMAGE, FWHM, {"input": {"path": "a.zarr"}}, "input.path has no meaning for an image in memory"),
        (IMAGE, FWHM, {"executor.workers": 3}, "executor.workers has no meaning"),
        (IMAGE, FWHM, {"training": {"retrain": True}}, "training.retrain has no meaning"),
        (IMAGE, FWHM, {"axes": "zy"}, "axes is 'zy', but the image has 3 dimensions"),
        (IMAGE[0, 0], FWHM, {}, "the image has 1 dimensions"),
        (IMAGE, FWHM, {"voxel_size_um": {"z": 1.0}}, "voxel_size_um is"),
        (IMAGE, None, {}, "psf is None: expected an array"),
        (IMAGE, [FWHM, FWHM], {}, "psf lists 2 PSFs, but 1 channel"),
    ],
)
def test_errors_say_what_was_expected(image: Any, psf: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text.replace("(", r"\(")):
        ssi.deconvolve(image, psf, **options)


def test_images_and_psfs_that_are_none() -> None:
    with pytest.raises(InputError, match="array: pixels are complex128; expected integers or floats"):
        ssi.deconvolve(IMAGE.astype(complex), FWHM)
    with pytest.raises(InputError, match="PSF array has negative values"):
        ssi.deconvolve(IMAGE, -np.ones((5, 5)))
    with pytest.raises(ConfigError, match=r"ssi\.psf\.widefield is invalid:\n  psf\.numerical_aperture"):
        ssi.psf.widefield(-1.0, 0.5)
    with pytest.raises(InputError, match="has only NaN or infinite pixels") as caught:
        ssi.deconvolve(np.full((40, 40), np.nan, np.float32), FWHM, **LIGHT, **PLAIN)
    assert "array" not in str(caught.value)


def test_first_mistakes_are_told() -> None:
    for image, said in (
        ("stack.tif", "the image is 'stack.tif': expected an array; ssi.run works with files"),
        (np.ones((64, 64, 3), np.float32), r"3 pixels along x.*Of colours: np.moveaxis"),
    ):
        with pytest.raises(ConfigError, match=said):
            ssi.deconvolve(image, 2.5, solver="wiener")
