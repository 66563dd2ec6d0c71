"""Tiles to solve on a pretended GPU, and what is launched there.

python tests/device/device_cases.py 1200 0    counts a step, a mask and a tile of 1200 x 1200 pixels, border 0
"""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from ssi_pipeline.inversion.network.batches import Batches
from ssi_pipeline.inversion.problem import build_problem
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


def counted(given: Case, seed: int = 0) -> dict[str, Counter[str]]:
    """Solve a tile on the pretended GPU; return what happened in all, in steps, masks and validations."""
    with PretendedGpu() as gpu:
        with (
            bracketed(gpu, Batches, "_draw_mask") as masks,
            bracketed(gpu, training, "validate") as validations,
            bracketed(gpu, network_solver, "train") as trainings,
        ):
            problem = given.problem(NAME)
            found = solving.solve(problem, given.measurement, seed)
        total = Counter(gpu.counts.totals())
    return {
        "tile": total,
        "mask": masks,
        "validation": validations,
        "training": trainings,
        "steps": Counter(calls=found.steps),
    }


def a_step(make: Callable[[int], Case], few: int = 4, more: int = 8) -> Counter[str]:
    """Return what a step does, masks and validations apart, times ``more`` - ``few``."""
    counts = []
    for steps in (few, more):
        found = counted(make(steps))
        counts.append(found["training"].copy())
        for part in ("mask", "validation"):
            counts[-1].subtract(found[part])
    counts[1].subtract(counts[0])
    return counts[1]


def main() -> None:
    """Print what a step, a mask, a validation and a tile of the default network launch."""
    side, border = (int(word) for word in sys.argv[1:])

    def make(steps: int, side: int = 128, border: int = 0, **sections: Any) -> Case:
        training = {"steps": steps, "attempts": 1, "select": "best"}
        inner = side - 2 * border
        return case("ssi", (inner, inner), border=border, **{"network": {}, "training": training, **sections})

    step = a_step(lambda steps: make(steps, quality={"extended": False}))
    found = counted(make(4, side, border))
    print(f"a step: { ({kind: count / 4 for kind, count in step.items()}) }")
    for part in ("mask", "validation"):
        calls = found[part].pop("calls")
        print(f"a {part}: { ({kind: count / calls for kind, count in found[part].items()}) }")
    print(f"a tile of {side} x {side} with 4 steps: {dict(found['tile'])}, of which training {dict(found['training'])}")


if __name__ == "__main__":
    main()
