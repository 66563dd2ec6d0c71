"""The published recipe agrees with its publication in every constant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.errors import GeometryError
from ssi_pipeline.geometry.halo import published_radius
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.kobayashi2020.forward import PublishedForward, broadened
from ssi_pipeline.inversion.kobayashi2020.network import PublishedUNet
from ssi_pipeline.inversion.kobayashi2020.solve import solve_published
from ssi_pipeline.inversion.kobayashi2020.training import PublishedTile, density_at, hide_by_zeros
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.problem import Problem, build_problem
from ssi_pipeline.inversion.solve import Solution, solve
from ssi_pipeline.needs import required_halo, tile_needs
from ssi_pipeline.physics.psf import Psf


def config_for(solver: str = "ssi_published", steps: int = 3, **sections: Any) -> RunConfig:
    document = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {"kind": "identity"}, "solver": solver}
    return parse_config({**document, "published": {"steps": steps}, **sections})


def gaussian_psf(axes: int = 2) -> Psf:
    g = np.exp(-0.5 * (np.arange(-3, 4) / 1.2) ** 2)
    values = np.einsum("z,y,x->zyx", g[2:-2] if axes == 3 else np.ones(1), g, g)
    return Psf((values / values.sum()).astype(np.float32))


def measured(shape: tuple[int, ...] = (1, 48, 56)) -> Measurement:
    rng = np.random.default_rng(3)
    x = ndimage.gaussian_filter(rng.standard_normal(shape), (min(2, shape[0] - 1), 2, 2)) > 0
    return Measurement((100 + 300 * x + 20 * rng.standard_normal(shape)).astype(np.float32), np.ones(shape, bool))


def problem_of(measurement: Measurement, psf: Psf, config: RunConfig) -> Problem:
    return build_problem(psf, calibrate([measurement], psf, config), config, "cpu")


def solved(solver: str = "ssi_published", seed: int = 0, steps: int = 3) -> Solution:
    measurement, psf, config = measured(), gaussian_psf(), config_for(solver, steps)
    return solve(problem_of(measurement, psf, config), measurement, seed)


def test_the_network_is_the_published_one() -> None:
    network = PublishedUNet(2, torch.Generator())
    assert sum(p.numel() for p in network.parameters()) == 554_057  # what the published code prints
    kernels = [m.kernel_size[0] for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert kernels == [5, 3] * 9 + [1]
    assert network(torch.zeros(1, 1, 45, 38)).shape == (1, 1, 45, 38)  # sizes that pooling does not divide


def test_no_output_depends_on_an_input_beyond_the_radius_that_the_halo_is_made_of() -> None:
    network = PublishedUNet(2, torch.Generator().manual_seed(1)).eval()
    radius = published_radius()
    x = torch.rand(1, 1, 32, 400, requires_grad=True)
    for column in (200, 207, 208):
        x.grad = None
        network(x)[0, 0, 16, column].backward()
        assert x.grad is not None
        (reached,) = torch.nonzero(x.grad.abs().sum(dim=(0, 1, 2)), as_tuple=True)
        assert reached.min() >= column - radius
        assert reached.max() <= column + radius
    assert required_halo(config_for(), (0, 3, 3)) == (0, radius, radius)


def test_the_density_falls_as_published() -> None:
    density = 0.5
    for step in range(200):
        density = 0.005 * 0.05 + 0.995 * density
        assert density_at(step) == pytest.approx(density, rel=1e-9)
    assert density_at(3000) == pytest.approx(0.05, rel=1e-5)


def test_hidden_pixels_are_zero_and_no_others() -> None:
    image = torch.full((1, 1, 200, 200), 0.7)
    shown, hidden = hide_by_zeros(image, 0.3, torch.Generator().manual_seed(0))
    assert (shown[hidden] == 0).all()
    assert (shown[~hidden] == image[~hidden]).all()
    assert abs(float(hidden.float().mean()) - 0.3) < 0.01
    assert not hide_by_zeros(image, 0.0, torch.Generator())[1].any()


def test_a_tenth_validates_and_only_the_first_square_is_trained_on() -> None:
    y = measured((1, 64, 90)).y
    tile = PublishedTile.of(y, np.ones(y.shape, bool), 2, 0, "cpu")
    assert tile.y.shape == (1, 1, 64, 64)
    assert torch.equal(tile.y[0, 0], torch.from_numpy(y[0, :, :64]))
    # drawn with repetition: 1 - exp(-0.1) of the pixels
    assert abs(float(tile.valid.mean()) - 0.0952) < 0.005
    assert torch.equal(tile.valid + tile.fitted, torch.ones_like(tile.valid))
    unseen = np.ones(y.shape, bool)
    unseen[0, :10] = False
    tile = PublishedTile.of(y, unseen, 2, 0, "cpu")
    assert not (tile.valid + tile.fitted)[0, 0, :10].any()


def test_the_model_clamps_broadens_and_reflects() -> None:
    psf = gaussian_psf().values[0]
    wide = broadened(psf)
    assert wide.shape == (9, 9)
    assert wide.sum() == pytest.approx(1)
    variance = [float((k.sum(axis=1) / k.sum()) @ (np.arange(len(k)) - len(k) // 2) ** 2) for k in (psf, wide)]
    assert variance[1] - variance[0] == pytest.approx(2 * 0.33 / 1.14, rel=0.02)
    image = torch.rand(1, 1, 40, 41) * 3 - 1
    clamped = image[0, 0].clamp(0, 1).double().numpy()
    # scipy's mirror is torch's reflect
    expected = ndimage.correlate(clamped, wide, mode="mirror")
    np.testing.assert_allclose(PublishedForward(psf, "cpu")(image)[0, 0].numpy(), expected, atol=1e-6)


def test_an_asymmetric_psf_is_correlated() -> None:
    psf = np.zeros((3, 3), np.float32)
    psf[1, 2] = 1
    image = torch.rand(1, 1, 40, 40)
    expected = ndimage.correlate(image[0, 0].double().numpy(), broadened(psf), mode="mirror")
    np.testing.assert_allclose(PublishedForward(psf, "cpu")(image)[0, 0].numpy(), expected, atol=1e-6)


def test_chance_comes_from_the_seed_alone() -> None:
    first = solved(seed=1)
    torch.rand(3)
    state = torch.get_rng_state()
    again = solved(seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert first.estimate.tobytes() == again.estimate.tobytes()
    assert first.estimate.tobytes() != solved(seed=2).estimate.tobytes()
    assert (first.method, first.attempts, first.steps) == ("published", 1, 3)
    assert first.training_seconds > 0
    assert first.inference_seconds > 0


def test_masking_and_the_number_of_steps_change_the_result() -> None:
    masked, unmasked, longer = solved(), solved("ssi_published_unmasked"), solved(steps=5)
    assert masked.estimate.tobytes() != unmasked.estimate.tobytes()
    assert masked.estimate.tobytes() != longer.estimate.tobytes()
    assert longer.steps == 5


def test_it_learns() -> None:
    measurement, psf = measured((1, 64, 64)), gaussian_psf()
    seen: list[int] = []
    estimates = []

    def watch(step: int, estimate: Any) -> None:
        seen.append(step)
        if step in (1, 60):
            estimates.append(estimate())

    found = solve_published(
        problem_of(measurement, psf, config_for(steps=60)),
        measurement,
        0,
        masked=True,
        on_validation=watch,
    )
    assert seen == list(range(1, 61))
    assert found.trace[-1][2] < 0.5 * found.trace[0][2]
    assert np.corrcoef(found.estimate.ravel(), measurement.y.ravel())[0, 1] > 0.6
    assert all(e.shape == found.estimate.shape for e in estimates)
    assert measurement.y.min() <= found.estimate.min() <= found.estimate.max() <= measurement.y.max()
    # watching changes nothing
    plain = solve_published(
        problem_of(measurement, psf, config_for(steps=60)),
        measurement,
        0,
    )
    assert plain.estimate.tobytes() == found.estimate.tobytes()


def test_what_surrounds_the_image_is_not_used() -> None:
    inner = measured()
    pads = [(0, 0), (5, 5), (5, 5)]
    observed = np.pad(inner.observed, pads)
    results = []
    for mode in ("reflect", "constant"):
        outer = Measurement(np.pad(inner.y, pads, mode=mode), observed)  # type: ignore[call-overload]
        results.append(
            solve_published(
                problem_of(outer, gaussian_psf(), config_for()),
                outer,
                0,
            ).estimate
        )
    assert results[0].tobytes() == results[1].tobytes()
    assert results[0][:, 5:-5, 5:-5].tobytes() == solved().estimate.tobytes()


def test_three_axes() -> None:
    config = config_for(tiling={"dimensions": 3}, steps=2)
    found = solve_published(
        problem_of(measured((32, 32, 36)), gaussian_psf(3), config),
        measured((32, 32, 36)),
        0,
    )
    assert found.estimate.shape == (32, 32, 36)
    assert np.isfinite(found.estimate).all()


def test_a_small_image_is_refused() -> None:
    with pytest.raises(GeometryError, match="32 pixels"):
        solve_published(
            problem_of(measured((1, 20, 64)), gaussian_psf(), config_for()),
            measured((1, 20, 64)),
            0,
        )


def test_the_memory_of_training_on_a_whole_tile_is_counted() -> None:
    small, large = (tile_needs(config_for(), (0, 3, 3)).worker_bytes((1, n, n)) for n in (256, 1024))
    assert large - small > 1.2e9
    assert tile_needs(config_for("wiener"), (0, 3, 3)).worker_bytes((1, 1024, 1024)) < large
