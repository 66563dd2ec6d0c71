"""Networks: receptive field, equivariance to shifts, and initialisation."""

from __future__ import annotations

import pytest
import torch

from ssi_pipeline.config import NetworkConfig
from ssi_pipeline.geometry import network_radius, network_stride
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.network import architectures
from ssi_pipeline.inversion.network.architectures import UNet, build_network
from ssi_pipeline.inversion.network.inverse import Inverse

CONFIGS = [NetworkConfig(width=2, levels=levels) for levels in (1, 2, 3, 4)]


def build(config: NetworkConfig, axes: int) -> UNet:
    """Build a network whose head is not zero."""
    network = build_network(config, axes, generator(0))
    torch.nn.init.normal_(network.head.weight, generator=generator(9))  # type: ignore[arg-type]
    return network


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("axes", [2, 3])
def test_no_output_depends_on_a_pixel_beyond_the_radius(config: NetworkConfig, axes: int) -> None:
    radius, stride = network_radius(config.levels), network_stride(config.levels)
    if axes == 3 and radius > 20:
        pytest.skip("the same arithmetic as in 2D, on 10^6 voxels")
    network = build(config, axes)
    n = -(-(2 * radius + 3 * stride) // stride) * stride
    x = torch.randn((1, 2) + (n,) * axes, generator=generator(1), requires_grad=True)
    reach = 0
    for position in range(n // 2, n // 2 + stride):  # every phase with respect to the pooling
        (gradient,) = torch.autograd.grad(network(x)[(0, 0) + (position,) * axes], x)
        used = torch.nonzero(gradient[0].abs().sum(0))
        reach = max(reach, int((used - position).abs().max()))
    assert reach <= radius
    assert reach >= radius - stride  # and the halo is not wasteful


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_shifts_by_the_stride_commute(config: NetworkConfig) -> None:
    radius, stride = network_radius(config.levels), network_stride(config.levels)
    network = build(config, 2)
    n = -(-(2 * radius + 6 * stride) // stride) * stride
    x = torch.randn(1, 2, n, n, generator=generator(1))
    with torch.no_grad():
        y, shifted = network(x), network(x.roll((stride, stride), (2, 3)))
    inner = (..., *[slice(radius + stride, n - radius)] * 2)
    torch.testing.assert_close(shifted[inner], y.roll((stride, stride), (2, 3))[inner], rtol=0, atol=1e-5)


def test_training_starts_at_the_wiener_solution() -> None:
    channels = torch.randn(1, 2, 16, 16, generator=generator(0))
    assert torch.equal(Inverse(NetworkConfig(), 2, generator(0))(channels), channels[:, 1])


def test_inputs_are_standardised_whatever_their_mean_and_scale() -> None:
    noise = torch.randn(2, 24, 24, generator=generator(0))
    images = [noise * torch.tensor([0.1, 0.3])[:, None, None] + 5.0, 0.2 * noise.flip(2) + 4.9]
    inverse = Inverse(NetworkConfig(), 2, generator(0))
    inverse.standardise(images)
    seen: list[torch.Tensor] = []
    inverse.network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for image in images:
        inverse(image[None])
    both = torch.cat(seen).transpose(0, 1).flatten(1)
    torch.testing.assert_close(both.mean(1), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(both.std(1), torch.ones(2), rtol=1e-5, atol=0)


def test_width_and_levels_make_other_networks() -> None:
    def size(**options: object) -> int:
        return sum(p.numel() for p in build_network(NetworkConfig(**options), 2, generator(0)).parameters())  # type: ignore[arg-type]

    sizes = [size(), size(width=12), size(levels=2)]
    assert len(set(sizes)) == len(sizes)


def test_the_start_depends_on_the_generator_alone() -> None:
    state = torch.get_rng_state()
    first = build_network(NetworkConfig(), 2, generator(5)).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(7)
    second = build_network(NetworkConfig(), 2, generator(5)).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("axes", [2, 3])
def test_what_is_upsampled_need_not_be_stored(axes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build(NetworkConfig(width=4, levels=3), axes)
    x = torch.randn((2, 2, *(12, 8, 16)[-axes:]), generator=generator(3))
    found = []
    for form in (architectures.joined_by_parts, architectures.joined_at_once):
        monkeypatch.setattr(architectures, "joined_by_parts", form)
        network.zero_grad()
        estimate = network(x)
        estimate.square().mean().backward()
        found.append([estimate.detach(), *(p.grad for p in network.parameters())])
    for by_parts, at_once in zip(*found, strict=True):
        torch.testing.assert_close(by_parts, at_once, rtol=1e-5, atol=2e-6 * float(at_once.abs().max()))
