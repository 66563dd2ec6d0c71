"""Compute the least time of the phases that the network dominates, from the rates of the machine."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from ssi_pipeline.bench.rates import Rates
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.network.batches import training_patch
from ssi_pipeline.inversion.network.training import VALIDATE_EVERY, build_inverse
from ssi_pipeline.inversion.problem import Problem, apply
from ssi_pipeline.needs import patch_needs

_BACKWARD = 3
"""A step is as expensive as three evaluations: forward, gradients of the features, gradients of the kernels."""

_ESTIMATES = 2
"""Estimates of a tile: of its image, and of the image without its held-out pixels."""

_SIDE = 32
"""Side of the image on which the operations of one evaluation are counted."""


@dataclass(frozen=True, slots=True)
class Floor:
    """Least seconds of a phase.

    ``arithmetic``: of its convolutions, at the measured rate of one; ``gflop`` of them. ``bandwidth``: of writing and
    reading its features once, at the rate of a copy. Whichever is longer bounds it.
    """

    gflop: float
    arithmetic: float
    bandwidth: float


def floors(problem: Problem, domain: Ints, steps: int, at_best: Rates) -> dict[str, Floor]:
    """Return the floors of training and estimate of a tile; nothing where no network was applied.

    Parameters
    ----------
    problem
        Inverse problem of the channel.
    domain
        Shape of the tile, (z) y x, pixels.
    steps
        Steps of the training.
    at_best
        Rates of the machine.
    """
    if not steps:
        return {}
    config, pixels = problem.config, math.prod(domain)
    inverse = build_inverse(problem, generator(0))
    channels = torch.zeros(2 + len(config.network.neighbours), *(_SIDE,) * problem.axes, device=problem.device)
    with FlopCounterMode(display=False) as flops:
        apply(inverse, channels)
    per_pixel = 1e-9 * flops.get_total_flops() / _SIDE**problem.axes
    traffic = 2e-9 * patch_needs(config, (0,) * 3).bytes_per_voxel
    patches = config.training.batch * math.prod(training_patch(problem, domain))
    evaluations = steps // VALIDATE_EVERY + 1
    symmetries = 1 if config.training.scope == "shared" else 2 ** len(problem.forward.symmetries)
    seen = {"train": _BACKWARD * steps * patches + evaluations * pixels, "estimate": _ESTIMATES * symmetries * pixels}
    return {
        name: Floor(
            gflop=count * per_pixel,
            arithmetic=count * per_pixel / at_best.convolution_gflops,
            bandwidth=count * traffic / at_best.copy_gb_per_s,
        )
        for name, count in seen.items()
    }
