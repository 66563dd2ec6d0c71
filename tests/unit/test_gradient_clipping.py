"""Gradients with a norm far above the mean are clipped, ordinary ones are unchanged."""

from __future__ import annotations

import torch

from ssi_pipeline.inversion.network.gradient_clipping import AdaptiveGradientClip


def clipped_norms(given: list[float]) -> list[float]:
    """Return the norms of gradients after clipping."""
    p = torch.nn.Parameter(torch.zeros(3))
    clip, found = AdaptiveGradientClip([p], "cpu"), []
    for length in given:
        p.grad = torch.tensor([0.0, length, 0.0])
        clip.apply()
        found.append(float(p.grad.norm()))
    return found


def test_ordinary_gradients_are_unchanged() -> None:
    given = [1.0, 1.5, 0.7, 1.2] * 10
    assert clipped_norms(given) == torch.tensor(given).tolist()


def test_a_spike_is_clipped_to_twice_the_mean() -> None:
    assert clipped_norms([1.0] * 20 + [1000.0])[-1] == torch.tensor(2.0)


def test_a_lasting_change_is_followed() -> None:
    found = clipped_norms([1.0] * 20 + [5.0] * 60)
    assert found[20] == torch.tensor(2.0)
    assert found[-1] == torch.tensor(5.0)


def test_initial_steps_without_gradient_do_not_clip_later_ones() -> None:
    assert clipped_norms([0.0] * 12 + [1.0, 0.15]) == torch.tensor([0.0] * 12 + [1.0, 0.15]).tolist()
