"""The inputs of a shared network: standardised by constants that are kept with its parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from ssi_pipeline.config import NetworkConfig
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.network.inverse import Inverse


def made(channels: Tensor | None) -> Inverse:
    inverse = Inverse(NetworkConfig(width=4, levels=2), 2, generator(0))
    torch.nn.init.ones_(inverse.network.head.weight)
    if channels is not None:
        inverse.standardise([channels[:, :16], channels[:, 16:]])
    return inverse


def test_inputs_have_no_mean_and_unit_deviation_and_units_do_not_matter() -> None:
    w = 100 + 30 * torch.randn(32, 32, generator=generator(1))
    channels = torch.stack([w + 5 * torch.randn(w.shape, generator=generator(2)) + 2, w])
    inverse, seen = made(channels), []
    inverse.network.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0][0]))
    found = inverse(channels[None])[0]
    torch.testing.assert_close(seen[0].mean((1, 2)), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen[0].std((1, 2)), torch.ones(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(seen[0][0], (channels[0] - w - 2.0) / 5, atol=0.2, rtol=0)
    other = made(channels / 1000 - 7)(channels[None] / 1000 - 7)[0]
    torch.testing.assert_close(1000 * (other + 7), found, atol=0.05, rtol=0)
    again = made(None)
    again.load_state_dict(inverse.state_dict())
    assert torch.equal(again(channels[None])[0], found)


def test_a_network_of_one_tile_sees_its_channels_as_they_are() -> None:
    channels = torch.randn(1, 2, 16, 16, generator=generator(3))
    inverse = made(None)
    assert torch.equal(inverse(channels), channels[:, 1] + inverse.network(channels)[:, 0])
