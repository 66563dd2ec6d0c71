"""A gradient far longer than usual is shortened, an ordinary one is not, and none is lengthened."""

from __future__ import annotations

import torch

from ssi_pipeline.inversion.network.gradient_clipping import AdaptiveGradientClip


def lengths(given: list[float]) -> list[float]:
    """Lengths of the gradients after the limit."""
    p = torch.nn.Parameter(torch.zeros(3))
    limit, found = AdaptiveGradientClip([p], "cpu"), []
    for length in given:
        p.grad = torch.tensor([0.0, length, 0.0])
        limit.apply()
        found.append(float(p.grad.norm()))
    return found


def test_ordinary_gradients_stay() -> None:
    given = [1.0, 1.5, 0.7, 1.2] * 10
    assert lengths(given) == torch.tensor(given).tolist()


def test_a_spike_is_cut_to_twice_the_usual() -> None:
    assert lengths([1.0] * 20 + [1000.0])[-1] == torch.tensor(2.0)


def test_a_lasting_change_is_followed() -> None:
    found = lengths([1.0] * 20 + [5.0] * 60)
    assert found[20] == torch.tensor(2.0)
    assert found[-1] == torch.tensor(5.0)


def test_a_start_without_gradient_holds_nothing_back() -> None:
    assert lengths([0.0] * 12 + [1.0, 0.15]) == torch.tensor([0.0] * 12 + [1.0, 0.15]).tolist()
