"""A channel's problem is built once per worker; another weight only costs its filter."""

from __future__ import annotations

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from classical_cases import PLAIN, blobs, config_for, gaussian_psf, measured

from ssi_pipeline.inversion.problem import build_problem, with_weight
from ssi_pipeline.tasks.context import Context

NOTHING: Any = None


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the channels whose problem is built, in order."""
    channels: list[int] = []

    def build(self: Context, c: int) -> object:
        time.sleep(0.02)  # all threads are there before it is done
        channels.append(c)
        return object()

    monkeypatch.setattr(Context, "_build_problem", build)
    return channels


def test_threads_share_one_problem(built: list[int]) -> None:
    context = Context(NOTHING, NOTHING)
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(context.problem, [0, 1] * 20))
    assert sorted(built) == [0, 1]
    assert len(found) == 2


def test_the_channel_of_the_longest_ago_is_built_again(built: list[int]) -> None:
    context = Context(NOTHING, NOTHING)
    for c in (0, 1, 2, 3, 0, 4, 0, 1):
        context.problem(c)
    assert built == [0, 1, 2, 3, 4, 1]


def test_another_weight_shares_the_forward_model_and_is_the_problem_built_with_it() -> None:
    psf, config = gaussian_psf(), config_for("wiener")
    problem = build_problem(psf, PLAIN, config, "cpu")
    other = with_weight(problem, 0.02)
    assert other.forward is problem.forward
    assert other.objective is problem.objective
    assert other.linear.clipping_bias is problem.linear.clipping_bias
    assert with_weight(problem, 0.02).linear.wiener is other.linear.wiener
    alone = build_problem(psf, dataclasses.replace(PLAIN, wiener_weight=0.02), config, "cpu")
    assert other.calibration == alone.calibration
    image = torch.from_numpy(measured(blobs((40, 44)), psf))
    assert torch.equal(other.linear(image), alone.linear(image))
    assert not torch.equal(other.linear(image), problem.linear(image))


def test_an_empty_channel_has_a_problem() -> None:
    empty = dataclasses.replace(PLAIN, scale=0.0, offset=7.0, noise_sigma=0.0, empty=True)
    assert build_problem(gaussian_psf(), empty, config_for("wiener"), "cpu").calibration.normalise(9.0) == 2.0
