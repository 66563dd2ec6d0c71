"""On a pretended GPU no two devices meet, bytes are those of the CPU, and no step of training waits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from device_cases import FEW, Case, a_step, case
from pretended import NAME, OnDevice, PretendedGpu, TwoDevicesError

from ssi_pipeline.geometry.request import DEVICE_PROCESS_BYTES
from ssi_pipeline.inversion import window_sums
from ssi_pipeline.inversion.classical import tv_chambolle_pock, tv_conjugate_gradient
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.network import architectures, averaged, backward
from ssi_pipeline.inversion.network.checkpoint import pack
from ssi_pipeline.inversion.network.training import build_inverse
from ssi_pipeline.inversion.solve import solve, train_shared
from ssi_pipeline.inversion.solver import AS_CONFIGURED, SolveOptions
from ssi_pipeline.needs import tile_needs

SMALL = (42, 50)
ALONE = {"training": {**FEW, "select": "network"}, "quality": {"extended": False}}
"""The network without rivals and scores."""

QUICK = {"wiener": {}, "tv": {}, "tv_cg": {}, "richardson_lucy": {"classical": {"iterations": 4}}}


def assert_same_on_both(given: Case, options: SolveOptions = AS_CONFIGURED) -> str:
    """Solve on the CPU and on the pretended GPU, compare all that is returned, and return the method."""
    expected = solve(given.problem("cpu"), given.measurement, 3, options)
    with PretendedGpu():
        found = solve(given.problem(NAME), given.measurement, 3, options)
    assert found.method == expected.method
    assert found.estimate.tobytes() == expected.estimate.tobytes()
    assert found.scores == expected.scores
    assert found.heldout_after == expected.heldout_after
    assert found.trace[1:] == expected.trace[1:]
    np.testing.assert_array_equal(found.uncertainty, expected.uncertainty)
    return found.method


@pytest.fixture
def few_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (tv_chambolle_pock, tv_conjugate_gradient):
        monkeypatch.setattr(module, "TV_ITERATIONS", 3)


@pytest.fixture
def in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the device take the steps of the CPU: the ways of fewer launches differ by rounding."""
    monkeypatch.setattr(architectures, "standardised_at_once", architectures.standardised_in_steps)
    monkeypatch.setattr(architectures, "joined_at_once", architectures.joined_by_parts)
    monkeypatch.setattr(averaged, "VOXELS_AT_ONCE", 0)
    monkeypatch.setattr(backward, "in_closed_form", backward.by_autograd)
    monkeypatch.setattr(window_sums, "sums_by_pooling", window_sums.sums_by_addition)


@pytest.mark.parametrize("shape", [(16, 24, 3, 3), (8, 4, 3, 3, 3)])
def test_kernels_standardised_at_once_are_the_same_up_to_rounding(shape: tuple[int, ...]) -> None:
    layout = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    weight = torch.randn(shape, generator=generator(1)).contiguous(memory_format=layout).requires_grad_()
    pull = torch.randn(shape, generator=generator(2))
    expected, found = architectures.standardised_in_steps(weight), architectures.standardised_at_once(weight)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    slopes = [torch.autograd.grad((pull * kernels).sum(), weight)[0] for kernels in (expected, found)]
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-5, atol=1e-5)
    assert found.stride() == weight.stride()


def test_the_pretended_gpu_refuses_what_a_gpu_refuses() -> None:
    with PretendedGpu() as gpu:
        here, there = torch.ones(3), torch.ones(3).to(NAME)
        with pytest.raises(TwoDevicesError):
            here + there
        with pytest.raises(TwoDevicesError):
            torch.rand(3, generator=generator(0), device=NAME)
        with pytest.raises(TypeError):
            there.numpy()
        assert isinstance(there * 2 + torch.tensor(1.0), OnDevice)
        assert gpu.counts.totals() == {"launches": 2, "waits": 0, "uploads": 1, "downloads": 0}  # mul, add


def test_it_counts_waits_and_copies() -> None:
    with PretendedGpu() as gpu:
        x = torch.arange(4.0).to(NAME)
        assert float(x.sum()) == 6
        assert x[x > 1].cpu().tolist() == [2, 3]
        assert gpu.counts.totals() == {"launches": 3, "waits": 2, "uploads": 1, "downloads": 1}  # sum, gt, index


@pytest.mark.usefixtures("few_iterations", "in_steps")
@pytest.mark.parametrize("solver", QUICK)
def test_a_classical_solver_gives_the_bytes_of_the_cpu(solver: str) -> None:
    assert assert_same_on_both(case(solver, SMALL, **QUICK[solver], quality={"extended": False})) == solver


@pytest.mark.parametrize(
    "given",
    [
        case("ssi", SMALL, **ALONE),
        case("ssi", (6, 16, 16), **{**ALONE, "training": {**ALONE["training"], "steps": 2, "patch": None}}),
        case("ssi", SMALL, clips=False, blurred=False, **ALONE),
    ],
    ids=["2D", "3D", "denoising"],
)
@pytest.mark.usefixtures("in_steps")
def test_a_network_gives_the_bytes_of_the_cpu(given: Case) -> None:
    assert assert_same_on_both(given) == "network"


@pytest.mark.parametrize(("shape", "launches"), [((40, 40), 85), ((40, 56), 200)], ids=["square", "oblong"])
def test_orientations_are_evaluated_together(shape: tuple[int, int], launches: int) -> None:
    """Oblong tiles are turned: those of one shape, as they follow each other, are together."""
    given, found = case("ssi", shape, border=0), []
    channels = torch.rand((2, *shape), generator=generator(1))
    for at_once in (2**22, 0):
        with PretendedGpu() as gpu, pytest.MonkeyPatch.context() as patched:
            patched.setattr(averaged, "VOXELS_AT_ONCE", at_once)
            inverse = build_inverse(given.problem(NAME), generator(5))
            torch.nn.init.ones_(inverse.network.head.weight)
            image = channels.to(NAME)
            before = gpu.counts.launches.total()
            found.append(averaged.averaged(given.problem(NAME), image, inverse).cpu())
            launched = gpu.counts.launches.total() - before
        assert (launched <= launches) == (at_once > 0)
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)


def with_start(scope: str) -> tuple[Case, SolveOptions]:
    training = {**FEW, "scope": scope, "fine_tune_steps": 2, "select": "network"}
    given = case("ssi", SMALL, **{**ALONE, "training": training})
    problem = given.problem("cpu")
    return given, SolveOptions(start=pack(problem, build_inverse(problem, generator(5)).state_dict()))


@pytest.mark.usefixtures("in_steps")
def test_a_shared_network_gives_the_bytes_of_the_cpu() -> None:
    given, _ = with_start("shared")
    models = [train_shared(given.problem("cpu"), [given.measurement], 3)]
    with PretendedGpu():
        models.append(train_shared(given.problem(NAME), [given.measurement], 3))
    expected, found = (model.state for model in models)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    assert assert_same_on_both(given, SolveOptions(start=models[0])) == "network"


LONG: list[dict[str, Any]] = [
    {"solver": solver, "shape": shape, "clips": clips}
    for solver in ("wiener", "tv", "tv_cg", "richardson_lucy", "ssi")
    for shape in ((48, 48), (8, 20, 20))
    for clips in (True, False)
]


@pytest.mark.long
@pytest.mark.usefixtures("in_steps")
@pytest.mark.parametrize("given", LONG, ids=str)
def test_a_solver_with_scores_and_uncertainty_gives_the_bytes_of_the_cpu(given: dict[str, Any]) -> None:
    weights = {"iterations": 5} if given["solver"] == "richardson_lucy" else {}
    three = {"training": {**FEW, "patch": None}} if len(given["shape"]) == 3 else {}
    assert_same_on_both(case(**given, output={"path": "b", "uncertainty": 2}, classical=weights, **three))


@pytest.mark.long
@pytest.mark.usefixtures("in_steps")
def test_a_fine_tuned_network_gives_the_bytes_of_the_cpu() -> None:
    assert_same_on_both(*with_start("fine_tune"))


@pytest.mark.long
def test_the_published_recipe_starts_as_on_the_cpu() -> None:
    """Its large steps make of a rounding error, in its first estimate, another image (tests/golden_tiles.py)."""
    given = case("ssi_published", SMALL, published={"steps": 1})
    expected = solve(given.problem("cpu"), given.measurement, 3).trace[0][1]
    with PretendedGpu():
        found = solve(given.problem(NAME), given.measurement, 3).trace[0][1]
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("precision", "most"), [("float32", 174), ("bfloat16", 220)])
def test_a_step_neither_waits_nor_copies_and_launches_few_kernels(precision: str, most: int) -> None:
    step, _ = a_step(case("ssi", SMALL, network={}, training={**FEW, "precision": precision}))
    assert step["waits"] == step["uploads"] == step["downloads"] == 0
    assert step["launches"] <= most


@pytest.mark.parametrize(("shape", "border", "launches", "waits"), [((48, 48), 0, 275, 0), (SMALL, 3, 655, 4)])
def test_a_mask_launches_few_kernels(shape: tuple[int, ...], border: int, launches: int, waits: int) -> None:
    _, mask = a_step(case("ssi", shape, border=border))
    assert mask["calls"] == 1
    assert mask["launches"] <= launches
    assert mask["waits"] <= waits


@pytest.mark.usefixtures("few_iterations")
@pytest.mark.parametrize(
    "given",
    [case("wiener", (90, 90), quality={"extended": False}), case("ssi", (58, 58), **{**ALONE, "network": {}})],
    ids=["wiener", "network"],
)
def test_the_plan_counts_the_memory_of_the_device(given: Case) -> None:
    """Beside the context of a process: more than the tensors take, and not many times as much."""
    with PretendedGpu() as gpu:
        solve(given.problem(NAME), given.measurement, 3)
    needs = tile_needs(given.config, (0, 3, 3))
    planned = needs.device_bytes(given.measurement.y.shape) - DEVICE_PROCESS_BYTES
    assert 0.4 * planned < gpu.memory.peak < planned
    assert gpu.memory.now < 0.05 * gpu.memory.peak
