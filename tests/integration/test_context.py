"""Neighbouring planes and frames as inputs of the network: read with the tile, never masked, and left out where the
theorem would not hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from builders import TINY, complete, config_of, go, make_run
from numpy.typing import NDArray
from scipy import ndimage

from ssi_pipeline.cli import main
from ssi_pipeline.config import GaussianPsf, parse_config
from ssi_pipeline.errors import ConfigError, InputError, RunChangedError
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.channel import MOST_BETWEEN, ChannelCalibration
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.network.inverse import Inverse
from ssi_pipeline.inversion.problem import Problem, apply, build_problem
from ssi_pipeline.inversion.sensor.between import noise_between
from ssi_pipeline.inversion.sensor.impulses import NoiseModel
from ssi_pipeline.inversion.tile import TileTensors, make_tile_tensors
from ssi_pipeline.physics.gaussian import gaussian_psf
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.run.checks.verify_input import verify_input
from ssi_pipeline.run.prepare import prepare
from ssi_pipeline.storage.inputs.source import clear_sources
from ssi_pipeline.tasks.context import NO_FILL
from ssi_pipeline.tasks.neighbours import with_neighbours
from ssi_pipeline.tasks.pixels import read_pixels

Image = NDArray[np.float32]
MINIMAL: dict[str, Any] = {
    "input": {"path": "a.zarr"},
    "output": {"path": "b.zarr"},
    "psf": {"kind": "gaussian", "fwhm_px": {"y": 3, "x": 3}},
}
BOTH = {"z": 1, "t": 1}


def frames(count: int = 4, side: int = 96, seed: int = 0, photons: float = 40) -> NDArray[np.float64]:
    """Frames of one scene with independent noise, as a camera gives them."""
    rng = np.random.default_rng(seed)
    scene = ndimage.gaussian_filter(rng.standard_normal((side, side)), 4)
    level = photons * (0.3 + np.clip(scene / scene.std(), 0, 2))
    return 100 + 2 * rng.poisson(ndimage.gaussian_filter(level, 1.3), (count, side, side)).astype(float)


# ---- f and the mask


def problem_of(between: dict[str, float | None]) -> Problem:
    config = parse_config(MINIMAL | {"network": {"width": 2, "levels": 2, "context": BOTH}})
    values = np.random.default_rng(3).random((1, 5, 5)).astype(np.float32)
    calibration = ChannelCalibration(100.0, 1000.0, 50.0, 0.5, 0.01, 0.1, 0.0, clip_low=0.0, between=between)
    return build_problem(Psf(values / values.sum()), calibration, config, "cpu")


def tile_of(problem: Problem, y: Image, neighbours: tuple[Image | None, ...]) -> TileTensors:
    return make_tile_tensors(problem, Measurement(y, np.ones(y.shape, bool), neighbours), seed=5)


def predicted(problem: Problem, tile: TileTensors) -> torch.Tensor:
    inverse = Inverse(problem.config.network, 2, generator(1))
    torch.nn.init.ones_(inverse.network.head.weight)  # type: ignore[union-attr,arg-type]
    return apply(inverse, tile.inputs(tile.channels))


@pytest.mark.parametrize("between", [{"z": 0.0, "t": 0.0}, {"z": 0.0, "t": 0.5}, {"z": None, "t": None}])
@pytest.mark.parametrize("missing", [(), (0,), (0, 1, 2, 3)])
def test_no_hidden_pixel_reaches_the_prediction(between: dict[str, float | None], missing: tuple[int, ...]) -> None:
    """Also where a neighbour is missing or not used: what takes its place is computed from the masked plane."""
    problem, rng = problem_of(between), np.random.default_rng(0)
    y = rng.uniform(100, 1000, (1, 40, 40)).astype(np.float32)
    others = tuple(None if k in missing else rng.uniform(100, 1000, y.shape).astype(np.float32) for k in range(4))
    first = tile_of(problem, y, others)
    changed = np.where(first.heldout.numpy(), 3000, y).astype(np.float32)
    assert torch.equal(predicted(problem, first), predicted(problem, tile_of(problem, changed, others)))


def test_a_neighbour_reaches_the_prediction_unmasked_and_only_where_its_noise_is_independent() -> None:
    rng = np.random.default_rng(0)
    y, *others = (rng.uniform(100, 1000, (1, 40, 40)).astype(np.float32) for _ in range(5))

    def reaches(problem: Problem, k: int, where: tuple[NDArray[Any], ...]) -> bool:
        """Whether pixels of neighbour k reach the prediction."""
        changed = [other.copy() for other in others]
        changed[k][where] += 100
        pair = [predicted(problem, tile_of(problem, y, tuple(each))) for each in (others, changed)]
        return not torch.equal(*pair)

    problem = problem_of({"z": 0.0, "t": 2 * MOST_BETWEEN})
    hidden = np.nonzero(tile_of(problem, y, ()).heldout.numpy()[None])
    assert [reaches(problem, k, hidden) for k in range(4)] == [True, True, False, False]


# ---- reading


def context_of(folder: Path, image: NDArray[Any], axes: str, reach: dict[str, int], **sections: Any) -> Any:
    network = {**TINY["network"], "context": reach}
    path = make_run(folder, image, axes, solver="ssi", **{**TINY, "network": network, **sections})
    return prepare(config_of(path)).context


def shown(context: Any, index: int) -> list[float | None]:
    """Return the middle pixel of each neighbour of a tile."""
    tile = context.plan.tile(index)
    own = read_pixels(context, tile.t, tile.c, tile.domain, fill=NO_FILL).measurement(tile.domain)
    found = with_neighbours(context, tile.t, tile.c, tile.domain, own, NO_FILL)
    assert all(n is None or n.shape == own.y.shape for n in found.neighbours)
    return [None if n is None else float(n[0, n.shape[1] // 2, n.shape[2] // 2]) for n in found.neighbours]


def numbered(*shape: int) -> NDArray[np.float32]:
    """Planes of 32 x 32 pixels whose value is their number."""
    count = int(np.prod(shape))
    return np.broadcast_to(np.arange(count, dtype=np.float32).reshape(*shape, 1, 1), (*shape, 32, 32)).copy()


def test_neighbours_of_a_stack_and_what_stands_for_them_at_its_ends(tmp_path: Path) -> None:
    near = context_of(tmp_path / "near", numbered(4), "zyx", {"z": 1})
    assert [shown(near, k) for k in range(4)] == [[1, 1], [0, 2], [1, 3], [2, 2]]
    far = context_of(tmp_path / "far", numbered(4), "zyx", {"z": 2})
    # -1, +1, -2, +2; of plane 1 there is no -2 and +2 is plane 3, so that stands for it
    assert [shown(far, k) for k in range(4)] == [[1, 1, 2, 2], [0, 2, 3, 3], [1, 3, 0, 0], [2, 2, 1, 1]]


def test_a_region_of_interest_has_neighbours_outside_of_it(tmp_path: Path) -> None:
    image = numbered(3, 3)  # t z: 3 t + z
    context = context_of(tmp_path, image, "tzyx", BOTH, input={"roi": {"t": [1, 2], "z": [0, 2]}})
    assert shown(context, 0) == [4, 4, 0, 6]
    assert shown(context, 1) == [3, 5, 1, 7]


def test_pixels_of_a_neighbour_that_were_not_measured_are_interpolated(tmp_path: Path) -> None:
    image = numbered(4)
    image[0] = np.nan
    image[2, 10:20, 10:20] = np.nan
    context = context_of(tmp_path, image, "tyx", {"t": 1})
    assert shown(context, 1) == [2, 2]  # frame 0 was not measured; the hole in frame 2 is filled from around it
    assert shown(context, 2) == [1, 3]
    image[:] = np.nan
    image[1] = 1
    assert shown(context_of(tmp_path / "alone", image, "tyx", {"t": 1}), 1) == [None, None]


def test_the_plan_counts_what_is_read(tmp_path: Path) -> None:
    image, sections = numbered(3, 4), {"input": {"roi": {"z": [1, 4]}}}
    alone = prepare(config_of(make_run(tmp_path / "alone", image, "tzyx", solver="ssi", **{**TINY, **sections})))
    context = context_of(tmp_path / "with", image, "tzyx", BOTH, **sections)
    cost = prepare(context.document.config).cost
    # 9 planes; 9 have one below and 6 one above, 6 an earlier and 6 a later frame
    assert cost.bytes_read == alone.cost.bytes_read // 9 * (9 + 9 + 6 + 6 + 6)
    assert cost.bytes_worker_memory > alone.cost.bytes_worker_memory


# ---- a run


def test_a_run_records_its_neighbours_and_notices_when_they_change(tmp_path: Path) -> None:
    image, region = frames(3, 48).astype(np.uint16), {"roi": {"t": [1, 2]}}
    network = {**TINY["network"], "context": {"t": 1}}
    path = make_run(tmp_path, image, "tyx", solver="ssi", **{**TINY, "network": network, "input": region})
    complete(path)
    assert not verify_input(config_of(path)).changed
    zarr.open_array(tmp_path / "in.zarr", mode="r+")[2, 40:, 40:] += 1  # outside the region of interest
    clear_sources()
    assert verify_input(config_of(path)).changed
    with pytest.raises(RunChangedError):
        go(path)


# ---- noise that neighbours share


def pairs_of(image: NDArray[np.floating]) -> list[Measurement]:
    pairs = [image[k : k + 2].astype(np.float32) for k in range(len(image) - 1)]
    return [Measurement(pair, np.ones(pair.shape, bool)) for pair in pairs]


@pytest.mark.parametrize("fwhm", [3.0, 1.2])
def test_noise_that_frames_share_is_found(fwhm: float) -> None:
    section = GaussianPsf(kind="gaussian", fwhm_px={"y": fwhm, "x": fwhm})
    psf, noise, image = gaussian_psf(section, None, 2)[0], NoiseModel(2.0, 1.0, 100.0), frames(5)

    def between(image: NDArray[np.floating]) -> float:
        found = noise_between(pairs_of(image), 0.0, 1.0, noise, psf)
        assert found is not None
        return found

    assert abs(between(image)) < MOST_BETWEEN
    lag = image + 0.3 * (np.roll(image, 1, 0) - 100)
    assert between(lag[1:]) == pytest.approx(0.3 / 1.09, abs=0.08)
    assert between(image + 12 * np.random.default_rng(9).standard_normal(image.shape[1:])) > 2 * MOST_BETWEEN
    sheared = np.stack([np.roll(image[k], k, 1) for k in range(5)])  # deskewed: neighbours share it a pixel aside
    assert between((image[:-1] + image[1:]) / 2) > 2 * MOST_BETWEEN
    assert between((sheared[:-1] + np.roll(sheared[1:], -1, 2)) / 2) > 2 * MOST_BETWEEN


def test_that_noise_is_independent_can_be_stated() -> None:
    config = parse_config(MINIMAL | {"sensor": {"correlation": "none"}, "network": {"context": {"t": 1}}})
    fixed = frames(2, 64) + 30 * np.random.default_rng(9).standard_normal((64, 64))
    samples = [Measurement(y[None].astype(np.float32), np.ones((1, 64, 64), bool)) for y in fixed]
    assert calibrate(samples, None, config, {"t": pairs_of(fixed)}).independent == {"t"}


def test_a_run_says_that_frames_share_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = frames(4, 64)
    mixed = ((image[:-1] + image[1:]) / 2).astype(np.float32)
    network = {**TINY["network"], "context": {"t": 1}}
    region = {"roi": {"t": [1, 2]}}
    path = make_run(tmp_path, mixed, "tyx", solver="ssi", **{**TINY, "network": network, "input": region})
    assert main(["run", str(path)]) == 0
    said = capsys.readouterr().err
    assert "noise shared with the next frame (correlation 0.5" in said
    assert "network.context is not used along t: remove t from it" in said


# ---- refusals


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"tiling": {"dimensions": 3}}, "network.context is for 2D tiles, but tiling.dimensions is 3"),
        ({"solver": "tv_cg"}, "network.context: solver: tv_cg does not train the network"),
        ({"solver": "ssi_published"}, "network.context: solver: ssi_published does not train the network"),
        ({"network": {"context": {"c": 1}}}, "network.context.c: unknown axis; expected 'z' or 't'"),
        ({"network": {"context": {"z": 4}}}, "network.context.z: expected an integer of at least 0 and of at most 3"),
    ],
)
def test_context_is_refused_where_it_makes_no_sense(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(MINIMAL | {"network": {"context": {"z": 1}}} | sections)


def test_an_image_without_the_axis_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"network.context has t, but .* has a single frame \(t\)"):
        context_of(tmp_path, numbered(3), "zyx", BOTH)
