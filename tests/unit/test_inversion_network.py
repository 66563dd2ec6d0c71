"""Networks: how far they see, what they commute with, how they start."""

from __future__ import annotations

import pytest
import torch

from ssi_pipeline.config import NetworkConfig
from ssi_pipeline.geometry import network_radius, network_stride
from ssi_pipeline.inversion.inverse import Inverse
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.network import build_network

CONFIGS = [
    *(NetworkConfig(kind="unet", width=2, levels=levels, residual=False) for levels in (1, 2, 3, 4)),
    *(NetworkConfig(kind="conv", width=3, depth=depth, residual=False) for depth in (2, 5)),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("axes", [2, 3])
def test_no_output_depends_on_a_pixel_beyond_the_radius(config: NetworkConfig, axes: int) -> None:
    radius, stride = network_radius(config), network_stride(config)
    if axes == 3 and radius > 20:
        pytest.skip("the same arithmetic as in 2D, on 10^6 voxels")
    network = build_network(config, axes, generator(0))
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
    radius, stride = network_radius(config), network_stride(config)
    network = build_network(config, 2, generator(0))
    n = -(-(2 * radius + 6 * stride) // stride) * stride
    x = torch.randn(1, 2, n, n, generator=generator(1))
    with torch.no_grad():
        y, shifted = network(x), network(x.roll((stride, stride), (2, 3)))
    inner = (..., *[slice(radius + stride, n - radius)] * 2)
    torch.testing.assert_close(shifted[inner], y.roll((stride, stride), (2, 3))[inner], rtol=0, atol=1e-5)


def test_the_residual_form_starts_at_the_wiener_solution() -> None:
    channels = torch.randn(1, 2, 16, 16, generator=generator(0))
    assert torch.equal(Inverse(NetworkConfig(), 2, generator(0))(channels), channels[:, 1])
    free = Inverse(NetworkConfig(residual=False), 2, generator(0))(channels)
    assert not torch.allclose(free, channels[:, 1])


def test_without_wiener_input_the_wiener_channel_is_not_read() -> None:
    inverse = Inverse(NetworkConfig(wiener_input=False, residual=False), 2, generator(0))
    channels = torch.randn(1, 2, 16, 16, generator=generator(0))
    other = channels.clone()
    other[:, 1] = 0
    assert torch.equal(inverse(channels), inverse(other))


def test_width_levels_depth_and_kind_make_other_networks() -> None:
    def size(**options: object) -> int:
        return sum(p.numel() for p in build_network(NetworkConfig(**options), 2, generator(0)).parameters())  # type: ignore[arg-type]

    sizes = [size(), size(width=12), size(levels=2), size(kind="conv"), size(kind="conv", depth=3)]
    assert len(set(sizes)) == len(sizes)


def test_the_start_depends_on_the_generator_alone() -> None:
    state = torch.get_rng_state()
    first = build_network(NetworkConfig(), 2, generator(5)).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(7)
    second = build_network(NetworkConfig(), 2, generator(5)).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
