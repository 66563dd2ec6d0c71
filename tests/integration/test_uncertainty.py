"""The uncertainty map: its content, and the same guarantees as for the image."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from builders import EXTENDED, GAUSSIAN, TINY, beads, complete, config_of, hashes, level, make_run, ramp
from numpy.typing import NDArray
from scipy import ndimage

from ssi_pipeline.cli import main
from ssi_pipeline.config import parse_config
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.inversion.assess.uncertainty import uncertainty
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.measurement import Measurement, to_tensor, to_volume
from ssi_pipeline.inversion.problem import build_problem
from ssi_pipeline.inversion.solve import solve
from ssi_pipeline.inversion.tile import make_tile_tensors
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.run import verify
from ssi_pipeline.storage.outputs.quality_arrays import read_quality
from ssi_pipeline.storage.state.document import RunDocument, StatePaths
from ssi_pipeline.tasks import Context

MAP = {"output": {"uncertainty": 4}}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def map_of(output: Path) -> NDArray[np.float32]:
    return level(output / "uncertainty")


@pytest.mark.parametrize(
    ("solver", "blend"),
    [
        ("wiener", 8),
        *(pytest.param(solver, 0, marks=pytest.mark.long) for solver in ("wiener", "tv_cg", "ssi")),
        *(pytest.param(solver, 8, marks=pytest.mark.long) for solver in ("tv_cg", "ssi")),
    ],
)
def test_the_map_lies_beside_the_image_and_changes_none_of_it(tmp_path: Path, solver: str, blend: int) -> None:
    image = beads((1 if solver == "tv_cg" else 2, 64, 70))
    sections: dict[str, Any] = {"solver": solver, "tiling": {"core": 32, "blend": blend}}
    if solver == "ssi":
        sections |= TINY
    plain = complete(make_run(tmp_path / "plain", image, **sections))
    config = make_run(tmp_path / "map", image, **sections, **MAP)
    made = complete(config)
    assert {k: v for k, v in hashes(plain).items() if "zarr.json" not in k} == {
        k: v for k, v in hashes(made).items() if "zarr.json" not in k
    }
    found = map_of(made)
    assert (found.dtype, found.shape) == (np.float32, image.shape)
    assert (found > 0).all()
    assert found.mean() < level(made).std()  # a guess knows the image to its standard deviation
    axes = zarr.open_group(made / "uncertainty").attrs["ome"]["multiscales"][0]["axes"]
    assert [axis["name"] for axis in axes] == ["z", "y", "x"]
    scale = read_quality(made, "uncertainty_scale")
    assert scale is not None
    assert ((scale >= 1.4142) & (scale <= 2.8285)).all()
    assert verify(config_of(config)).good


def test_it_is_the_same_whatever_is_measured_besides_and_however_it_is_run(tmp_path: Path) -> None:
    image = beads((1, 64, 100))
    sections: dict[str, Any] = {"solver": "wiener", "tiling": {"core": 32, "blend": 8}, **MAP}
    maps = []
    for name, more in {
        "all": EXTENDED,
        "little": {},
        "dask": {"executor": {"kind": "dask", "workers": 1, "memory_gib": 2, "device": "cpu"}},
    }.items():
        maps.append(map_of(complete(make_run(tmp_path / name, image, **{**sections, **more}))))
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])


@pytest.mark.parametrize("blend", [pytest.param(0, marks=pytest.mark.long), 8])
@pytest.mark.parametrize("harm", ["lost", "cut", "flipped"])
def test_a_damaged_block_of_the_map_is_noticed_and_made_again(tmp_path: Path, harm: str, blend: int) -> None:
    config = make_run(tmp_path, beads((1, 64, 64)), solver="wiener", tiling={"core": 32, "blend": blend}, **MAP)
    made = complete(config)
    good, image = hashes(made / "uncertainty"), hashes(made)
    shard = next(p for p in sorted((made / "uncertainty/0/c").rglob("*")) if p.is_file())
    content = bytearray(shard.read_bytes())
    if harm == "lost":
        shard.unlink()
    elif harm == "cut":
        shard.write_bytes(content[:-7])
    else:
        content[len(content) // 3] ^= 4
        shard.write_bytes(content)
        assert not verify(config_of(config)).good
    complete(config)
    assert hashes(made / "uncertainty") == good
    assert hashes(made) == image
    assert verify(config_of(config)).good


@pytest.mark.parametrize("image", ["", "uncertainty"])
def test_metadata_without_which_no_viewer_opens_it_are_missed_and_made_again(tmp_path: Path, image: str) -> None:
    config = make_run(tmp_path, beads((1, 32, 32)), solver="wiener", **MAP)
    made = complete(config)
    attributes = made / image / "zarr.json"
    good = json.loads(attributes.read_text())
    document = json.loads(attributes.read_text())
    del document["attributes"]["ome"]
    attributes.write_text(json.dumps(document))
    (damage,) = verify(config_of(config)).damage
    assert "multiscales" in damage
    complete(config)
    assert (
        json.loads(attributes.read_text())["attributes"]["ome"]["multiscales"]
        == good["attributes"]["ome"]["multiscales"]
    )


def test_verify_says_which_of_the_images_is_harmed(tmp_path: Path) -> None:
    config = make_run(tmp_path, beads((1, 32, 32)), solver="wiener", **MAP)
    shard = next(p for p in (complete(config) / "uncertainty/0/c").rglob("*") if p.is_file())
    shard.write_bytes(shard.read_bytes()[:-9])
    (problem,) = verify(config_of(config)).problems
    assert "out.zarr/uncertainty" in problem


@pytest.mark.parametrize("solver", ["wiener", "tv_cg"])
def test_where_nothing_was_measured_little_is_known(solver: str) -> None:
    truth, measurement, psf, config = simulated(solver)
    hole = (0, slice(40, 64), slice(80, 104))
    seen = measurement.observed.copy()
    seen[hole] = False
    y = np.where(seen, measurement.y, measurement.y[seen].mean())
    calibration = calibrate([measurement], psf, config)
    found = solve(build_problem(psf, calibration, config, "cpu"), Measurement(y.astype(np.float32), seen), 0)
    assert found.uncertainty is not None
    error = np.abs(found.estimate - truth)[hole]
    assert (error > 3 * found.uncertainty[hole]).mean() < 0.1
    assert found.uncertainty[hole].min() > 2 * np.median(found.uncertainty[seen])


def test_a_tile_without_any_pixel_has_the_range_of_its_channel(tmp_path: Path) -> None:
    image = beads((1, 32, 160)).astype(np.float32)
    image[..., 64:] = np.nan
    config = make_run(
        tmp_path, image, solver="wiener", input={"nonfinite": "mask"}, tiling={"core": 32}, output={"uncertainty": 2}
    )
    found = map_of(complete(config))
    context = Context(
        RunDocument.load(StatePaths(config_of(config).state_path).document), StatePaths(config_of(config).state_path)
    )
    np.testing.assert_allclose(found[..., 128:], context.calibration(0).scale, rtol=1e-6)


def test_a_lost_map_is_made_again_and_not_taken_for_one_never_made(tmp_path: Path) -> None:
    config = make_run(tmp_path, beads((1, 32, 32)), solver="wiener", **MAP)
    made = complete(config)
    good = hashes(made / "uncertainty")
    shutil.rmtree(made / "uncertainty")
    assert not verify(config_of(config)).good
    complete(config)
    assert hashes(made / "uncertainty") == good


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_both_versions_and_an_image_that_is_constant_somewhere(tmp_path: Path, version: str) -> None:
    image = beads((1, 32, 192))
    image[..., 48:] = 100  # the last tile sees nothing else: nothing is inverted there
    output = {"ome_zarr": version, "uncertainty": 2}
    sections: dict[str, Any] = {"solver": "wiener", "output": output, "tiling": {"core": 32}}
    made = complete(make_run(tmp_path, image, input={"fill": "none"}, **sections))
    found = map_of(made)
    assert (found[..., :32] > 0).all()
    assert (found[..., 160:] == 0).all()


@pytest.mark.parametrize(("solver", "number"), [("identity", 8), ("ssi_published", 8), ("ssi", 1), ("ssi", -1)])
def test_what_cannot_be_repeated_is_refused(tmp_path: Path, solver: str, number: int) -> None:
    config = make_run(tmp_path, ramp((1, 32, 32)), solver=solver, output={"uncertainty": number})
    with pytest.raises(ConfigError, match="uncertainty"):
        config_of(config)


def simulated(solver: str, seed: int = 0) -> tuple[NDArray[np.float64], Measurement, Psf, Any]:
    """Truth, measurement, PSF and configuration: blurred points and plates, shot noise."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((1, 128, 128))
    truth[0, rng.integers(8, 120, 60), rng.integers(8, 120, 60)] = rng.uniform(2000, 9000, 60)
    truth = ndimage.gaussian_filter(truth, (0, 1, 1)) * 8 + 200
    truth[0, 30:60, 70:110] += 900
    profile = np.exp(-0.5 * (np.arange(-4, 5) / 1.4) ** 2)
    kernel = np.outer(profile, profile)[None] / profile.sum() ** 2
    y = rng.poisson(ndimage.convolve(truth, kernel, mode="reflect")).astype(np.float32)
    document = {
        "input": {"path": "a"},
        "output": {"path": "b", "uncertainty": 16},
        "psf": GAUSSIAN,
        "solver": solver,
    }
    return truth, Measurement(y, np.ones(y.shape, bool)), Psf(kernel.astype(np.float32)), parse_config(document)


@pytest.mark.parametrize("solver", ["wiener", "richardson_lucy", "tv_cg"])
def test_few_errors_exceed_three_times_the_map(solver: str) -> None:
    truth, measurement, psf, config = simulated(solver)
    calibration = calibrate([measurement], psf, config)
    found = solve(build_problem(psf, calibration, config, "cpu"), measurement, 0)
    assert found.uncertainty is not None
    inner = (0, slice(16, -16), slice(16, -16))
    error, typical = np.abs(found.estimate - truth)[inner], found.uncertainty[inner]
    assert (error > 3 * typical).mean() < 0.05
    assert (error > typical).mean() > 0.02  # nor is it so wide that it says nothing
    assert np.corrcoef(error.ravel(), typical.ravel())[0, 1] > 0.2


def test_of_a_linear_filter_it_is_what_repeated_measurements_show() -> None:
    """For the Wiener filter the error's mean square is known: measure the estimate itself many times over."""
    _, measurement, psf, config = simulated("wiener")
    calibration = calibrate([measurement], psf, config)
    found = solve(build_problem(psf, calibration, config, "cpu"), measurement, 0)
    assert found.invert is not None
    problem = build_problem(psf, calibration, config, "cpu")
    estimate = to_tensor(calibration.normalised(found.estimate), 2)
    known = uncertainty(problem, make_tile_tensors(problem, measurement, 0), found.invert, estimate, 16, seed=0)
    level_of = ndimage.convolve(found.estimate, psf.values, mode="reflect")
    rng = np.random.default_rng(9)
    squares = np.zeros(found.estimate.shape)
    for _ in range(30):
        again = rng.poisson(np.maximum(level_of, 0)).astype(np.float32)
        repeated = solve(
            build_problem(psf, calibration, without_map(config), "cpu"), Measurement(again, measurement.observed), 0
        )
        squares += (repeated.estimate - found.estimate) ** 2 / 30
    inner = (0, slice(24, -24), slice(24, -24))
    expected = np.sqrt(squares[inner].mean())
    typical = calibration.scale * to_volume(known.deviation)[inner] / known.scale
    assert np.sqrt((typical**2).mean()) == pytest.approx(expected, rel=0.1)


def without_map(config: Any) -> Any:
    return config.model_copy(update={"output": config.output.model_copy(update={"uncertainty": 0})})


def test_the_report_shows_it_beside_the_tiles(tmp_path: Path) -> None:
    pages = []
    for name, more in (("with", MAP), ("without", {})):
        config = make_run(tmp_path / name, beads((1, 64, 64)), solver="wiener", **more)
        complete(config)
        assert main(["report", str(config)]) == 0
        pages.append((config_of(config).state_path / "report.html").read_text())
    words = "the uncertainty (the typical error per"
    assert words in pages[0]
    assert words not in pages[1]
