"""Masks, streams of random numbers, and replacement of hidden pixels."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from ssi_pipeline.config import MaskingConfig
from ssi_pipeline.inversion import masking
from ssi_pipeline.inversion.masking import Stream, draw_heldout, draw_mask, generator, hide


def test_density_sets_the_share_of_masks() -> None:
    for density in (0.05, 0.3):
        mask = draw_mask((200, 200), MaskingConfig(density=density), generator(0))
        assert abs(float(mask.float().mean()) - density) < 0.01  # five standard errors of 40000 draws


def test_heldout_share_sets_the_share_of_v(monkeypatch: pytest.MonkeyPatch) -> None:
    for share in (0.02, 0.2):
        monkeypatch.setattr(masking, "HELDOUT_SHARE", share)
        mask = draw_heldout((200, 200), generator(0))
        assert abs(float(mask.float().mean()) - share) < 0.01


def test_streams_are_independent_of_the_order_of_use() -> None:
    first = draw_mask((8, 8), MaskingConfig(), generator(7, 1))
    draw_mask((8, 8), MaskingConfig(), generator(7, 2))
    torch.rand(3)
    assert torch.equal(first, draw_mask((8, 8), MaskingConfig(), generator(7, 1)))


def test_neighbours_fill_with_the_mean_of_what_is_not_hidden() -> None:
    image = torch.arange(25.0).reshape(5, 5)
    hidden = torch.zeros(5, 5, dtype=torch.bool)
    hidden[2, 2] = hidden[2, 3] = True
    filled = hide(image, hidden, MaskingConfig(), generator(0))
    assert filled[2, 2] == image[1:4, 1:4].flatten()[[0, 1, 2, 3, 6, 7, 8]].mean()
    assert torch.equal(filled[~hidden], image[~hidden])


def test_neighbours_fill_large_holes() -> None:
    image, hidden = torch.ones(20, 20), torch.zeros(20, 20, dtype=torch.bool)
    hidden[4:16, 4:16] = True
    torch.testing.assert_close(hide(image, hidden, MaskingConfig(), generator(0)), image)


def test_random_and_zeros_replace_hidden_pixels() -> None:
    image, hidden = torch.full((50, 50), 7.0), torch.ones(50, 50, dtype=torch.bool)
    assert not hide(image, hidden, MaskingConfig(replacement="zeros"), generator(0)).any()
    random = hide(image, hidden, MaskingConfig(replacement="random"), generator(0))
    assert 0 <= float(random.min()) < 0.1 < 0.9 < float(random.max()) <= 1


def test_no_two_streams_of_random_numbers_are_equal_and_none_ever_changes() -> None:
    numbers = {
        "HELDOUT": 1,
        "FILL": 2,
        "TRAINING": 3,
        "METRICS": 4,
        "SPLIT": 5,
        "UNCERTAINTY": 6,
        "PUBLISHED": 7,
        "TUNING": 11,
    }
    assert {name: int(stream) for name, stream in Stream.__members__.items()} == numbers, "results would change"
    assert len(set(numbers.values())) == len(numbers)
    # numpy ignores zeros at the end, so no stream may be number 0
    draws = {tuple(torch.rand(4, generator=generator(7, stream, k)).tolist()) for stream in Stream for k in (0, 1, 2)}
    assert len(draws) == 3 * len(numbers)
    assert torch.equal(torch.rand(4, generator=generator(7, 1)), torch.rand(4, generator=generator(7, 1, 0)))


def test_a_stream_gives_the_numbers_that_it_always_gave() -> None:
    """Numpy guarantees the output of its seed sequence for all releases."""
    assert generator(5, Stream.TUNING, 3).initial_seed() == 1044810664624981484


def test_every_stream_is_taken_from_the_table() -> None:
    for path in Path(masking.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "generator":
                streams = [ast.unparse(argument) for argument in call.args[1:2]]
                assert all(stream.startswith("Stream.") for stream in streams), f"{path}, line {call.lineno}: {streams}"
