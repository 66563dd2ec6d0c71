"""Adam's steps are those of torch's optimiser, and a training imports no compiler."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from builders import TINY, beads, complete, make_run

from ssi_pipeline.inversion.network.adam import Adam


def test_its_steps_equal_those_of_torch_to_the_bit() -> None:
    rng = torch.Generator().manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(3, 5, generator=rng)) for _ in range(4)]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    adam, torchs = Adam(ours, (0.9, 0.99)), torch.optim.Adam(theirs, betas=(0.9, 0.99))
    for step in range(20):
        for index, (p, q) in enumerate(zip(ours, theirs, strict=True)):
            absent = index == 1 and step % 3 == 0  # its first step is a later one
            p.grad = None if absent else torch.randn(3, 5, generator=rng)
            q.grad = p.grad
        adam.step(0.1 / (step + 1))
        torchs.param_groups[0]["lr"] = 0.1 / (step + 1)
        torchs.step()
    assert all(torch.equal(p, q) for p, q in zip(ours, theirs, strict=True))
    assert not torch.equal(ours[0], torch.randn(3, 5, generator=torch.Generator().manual_seed(0)))


def test_training_does_not_import_the_compiler_of_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs each worker a second; an import of what is None raises."""
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)
    complete(make_run(tmp_path, beads((1, 32, 32)), solver="ssi", **TINY))
