"""f in overlapping pieces is f of the whole, and no piece is larger than the memory allows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ssi_pipeline.config import NetworkConfig
from ssi_pipeline.errors import DeviceMemoryError
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.network.inverse import Inverse
from ssi_pipeline.inversion.network.pieces import evaluate
from ssi_pipeline.tasks.memory import with_smaller_batch


class SmallMemory(Inverse):
    """f on a device whose memory ends at a number of voxels."""

    most = 10**9

    def forward(self, channels: Tensor) -> Tensor:
        voxels = channels.numel() // channels.shape[1]
        self.seen = [*getattr(self, "seen", []), voxels]
        if voxels > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return super().forward(channels)


def inverse(axes: int, levels: int) -> SmallMemory:
    """f with random parameters: its head is no longer zero."""
    found = SmallMemory(NetworkConfig(width=2, levels=levels), axes, generator(1))
    with torch.no_grad():
        found.network.head.weight.normal_(generator=generator(2))
    return found.eval()


@pytest.mark.parametrize(
    ("shape", "levels", "most"),
    [((1, 2, 64, 200), 2, 5000), ((3, 2, 40, 96), 2, 3000), ((1, 2, 256, 48), 3, 9000), ((1, 2, 8, 48, 40), 2, 9000)],
    ids=str,
)
@torch.no_grad()
def test_pieces_give_what_the_whole_gives(shape: tuple[int, ...], levels: int, most: int) -> None:
    f = inverse(len(shape) - 2, levels)
    images = torch.randn(shape, generator=generator(3))
    whole = evaluate(f, images)
    assert f.seen == [shape[0] * images[0, 0].numel()]
    f.most, f.seen = most, []
    torch.testing.assert_close(evaluate(f, images), whole, rtol=0, atol=2e-6 * float(whole.abs().max()))
    assert len([voxels for voxels in f.seen if voxels <= most]) >= 2


@torch.no_grad()
def test_what_does_not_fit_in_pieces_either_is_an_error_of_memory() -> None:
    f = inverse(2, 2)
    f.most = 100
    with pytest.raises(torch.OutOfMemoryError):
        evaluate(f, torch.zeros(1, 2, 64, 64))


@torch.no_grad()
def test_another_error_is_not_tried_in_pieces() -> None:
    f = inverse(2, 2)
    with pytest.raises(RuntimeError, match="must match the size"):
        evaluate(f, torch.zeros(1, 5, 64, 64)[:, :1].expand(1, 1, 64, 64).repeat(1, 5, 1, 1))
    assert len(f.seen) == 1


def test_too_little_memory_for_half_the_batch_says_what_to_do() -> None:
    def solve(batch: int) -> None:
        raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {batch} GiB\nmore")

    with pytest.raises(
        DeviceMemoryError, match=r"training.batch 2: lower tiling.core .* \(CUDA out of memory.*2 GiB\)"
    ):
        with_smaller_batch(solve, 4)  # type: ignore[arg-type]
