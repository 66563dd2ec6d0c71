"""Tiles to solve on a pretended GPU, and what is launched there.

python tests/device/device_cases.py 1200 0    counts a step, a mask and a tile of 1200 x 1200 pixels, border 0
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np
from classical_cases import as_measurement, blobs, blur, config_for, gaussian_psf
from pretended import NAME, PretendedGpu

from ssi_pipeline.config import RunConfig
from ssi_pipeline.inversion import solve as solving
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.network import solver as network_solver
from ssi_pipeline.inversion.network import training
from ssi_pipeline.inversion.network.batches import Batches, Schedule
from ssi_pipeline.inversion.network.training import train
from ssi_pipeline.inversion.problem import build_problem
from ssi_pipeline.inversion.tile import make_tile_tensors
from ssi_pipeline.physics.psf import Psf

WEIGHTS = {"tv": 0.005, "tv_cg": 0.005, "richardson_lucy": 4.0}

KNOWN = ChannelCalibration(100.0, 400.0, 0.02, 1.0, 25.0, 100.0, 0.0, weights=WEIGHTS)
"""Photon noise of one unit a count and a little read noise, no limits."""

CLIPPED = dataclasses.replace(KNOWN, clip_low=100.0, clip_high=480.0)
"""The same, by a sensor that clips at both ends."""

FEW = {"steps": 4, "patch": 32, "batch": 2, "attempts": 1}
"""A training of four steps."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One tile with its configuration."""

    measurement: Measurement
    psf: Psf | None
    calibration: ChannelCalibration
    config: RunConfig

    def problem(self, device: str) -> Any:
        return build_problem(self.psf, self.calibration, self.config, device)


def case(
    solver: str, shape: tuple[int, ...], clips: bool = True, blurred: bool = True, border: int = 3, **sections: Any
) -> Case:
    """Return a tile of bright regions, blurred, with photon noise and impulses; pixels at its border are unmeasured."""
    psf, rng = gaussian_psf(len(shape)) if blurred else None, np.random.default_rng(0)
    y = rng.poisson(100 + 400 * blur(blobs(shape), psf)).astype(np.float32)
    y[rng.random(shape) < 0.01] = 900
    calibration = CLIPPED if clips else KNOWN
    if clips:
        y = y.clip(100, 480)
    small = {"width": 4, "levels": 2}
    config = config_for(solver, **{"tiling": {"dimensions": len(shape)}, "network": small, "training": FEW, **sections})
    return Case(as_measurement(y, (0, border, border)), psf, calibration, config)


@contextmanager
def bracketed(gpu: PretendedGpu, owner: Any, name: str) -> Iterator[Counter[str]]:
    """Count what happens within a function, and its calls."""
    function, seen = getattr(owner, name), Counter[str]()

    def run(*args: Any, **kwargs: Any) -> Any:
        before = Counter(gpu.counts.totals())
        result = function(*args, **kwargs)
        after = gpu.counts.totals()
        seen.update({"calls": 1} | {kind: after[kind] - before[kind] for kind in after})
        return result

    with mock.patch.object(owner, name, run):
        yield seen


def a_step(given: Case) -> tuple[Counter[str], Counter[str]]:
    """Train three steps on the pretended GPU; return what happens in the second one, and in the one mask.

    Each patch is flipped along all axes, which chance does not always do: the number of launches is the largest.
    """
    starts: list[Counter[str]] = []
    draw, random = Batches.draw, Batches._random

    def noted(batches: Batches) -> Any:
        starts.append(Counter(gpu.counts.totals()))
        return draw(batches)

    with PretendedGpu() as gpu, bracketed(gpu, Batches, "_draw_mask") as mask:
        problem = given.problem(NAME)
        tile = make_tile_tensors(problem, given.measurement, 0)
        flips = mock.patch.object(
            Batches, "_random", lambda batches, below: 1 if below == 2 else random(batches, below)
        )
        with mock.patch.object(Batches, "draw", noted), flips:
            train(problem, [tile], Schedule(3, given.config.training.batch), 0, 1, None, math.inf)
    step = starts[2].copy()
    step.subtract(starts[1])
    return step, mask


def a_tile(given: Case, seed: int = 0) -> dict[str, Counter[str]]:
    """Solve a tile on the pretended GPU; return what happens in all, and in each of its parts."""
    with PretendedGpu() as gpu, ExitStack() as stack:
        parts = {
            name: stack.enter_context(bracketed(gpu, owner, function))
            for name, owner, function in (
                ("masks", Batches, "_draw_mask"),
                ("validations", training, "validate"),
                ("training", network_solver, "train"),
                ("rivals", solving, "_best_baseline"),
                ("scores", solving, "_with_scores"),
            )
        }
        solving.solve(given.problem(NAME), given.measurement, seed)
        return {"all": Counter(gpu.counts.totals()), **parts}


def main() -> None:
    """Print what a step, a mask and a tile of the default network do."""
    side, border = (int(word) for word in sys.argv[1:])
    inner = side - 2 * border

    def make(inner: int) -> Case:
        training = {"steps": 4, "attempts": 1, "select": "best"}
        return case("ssi", (inner, inner), border=border, network={}, training=training)

    print("a step", dict(a_step(make(128 - 2 * border))[0]))
    for part, found in a_tile(make(inner)).items():
        print(f"a tile of {side} x {side}, 4 steps: {part}", dict(found))


if __name__ == "__main__":
    main()
