"""Sums over boxes, by additions and by pooling."""

from __future__ import annotations

import pytest
import torch

from ssi_pipeline.inversion.window_sums import sums_by_addition, sums_by_pooling, window_sums


@pytest.mark.parametrize("sides", [(5, 5), (3, 3, 3), (1, 9), (27, 27), (2, 7, 12), (1, 1, 1), (6, 30, 31)])
def test_sums_are_those_of_each_box(sides: tuple[int, ...]) -> None:
    image = torch.rand((6, 30, 31), generator=torch.Generator().manual_seed(1))
    expected = image.double()
    for axis, side in zip(range(-len(sides), 0), sides, strict=True):
        expected = expected.unfold(axis + 3, side, 1).sum(-1)
    for sums in (window_sums, sums_by_addition, sums_by_pooling):
        torch.testing.assert_close(sums(image, sides).double(), expected, rtol=1e-5, atol=0)


def test_whole_numbers_are_summed_exactly() -> None:
    """What is known is counted: none, or at least one."""
    mask = (torch.rand((64, 64), generator=torch.Generator().manual_seed(2)) > 0.5).float()
    for sums in (sums_by_addition, sums_by_pooling):
        found = sums(mask, (9, 9))
        assert torch.equal(found, found.round())
