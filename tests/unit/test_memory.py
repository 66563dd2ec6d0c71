"""Retry with half of the batch when GPU memory is exhausted; the error is simulated without a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssi_pipeline.errors import DeviceMemoryError
from ssi_pipeline.inversion.solution import Solution
from ssi_pipeline.tasks.memory import with_smaller_batch


class Device:
    """Solves what fits."""

    def __init__(self, fits: int) -> None:
        self.fits, self.batches = fits, []

    def solve(self, batch: int) -> Solution:
        self.batches.append(batch)
        if batch > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Solution(np.zeros((1, 2, 2), np.float32), "network")


def test_what_fits_is_solved_as_asked_for() -> None:
    device = Device(8)
    assert with_smaller_batch(device.solve, 8).note == ""
    assert device.batches == [8]


def test_half_a_batch_is_tried_once_and_told() -> None:
    device = Device(4)
    assert "out of device memory with training.batch 8, solved with 4" in with_smaller_batch(device.solve, 8).note
    assert device.batches == [8, 4]


def test_what_does_not_fit_at_all_fails() -> None:
    device = Device(1)
    with pytest.raises(DeviceMemoryError, match=r"lower tiling\.core"):
        with_smaller_batch(device.solve, 8)
    assert device.batches == [8, 4]
