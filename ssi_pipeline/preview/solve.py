"""Solve chosen tiles with the run's settings in a temporary folder; the run itself is not touched."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ssi_pipeline.errors import SsiError
from ssi_pipeline.geometry import Tile
from ssi_pipeline.inversion.measurement import Measurement, to_tensor, to_volume
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.inversion.solve import SolveOptions, solve
from ssi_pipeline.preview.choose import Chosen
from ssi_pipeline.preview.variants import Variant
from ssi_pipeline.run.channels import noise_found, ready_channels_here
from ssi_pipeline.run.create import create_stores, save_inputs
from ssi_pipeline.run.prepare import prepare
from ssi_pipeline.storage.state.records import Job
from ssi_pipeline.tasks import Context, RunSpec
from ssi_pipeline.tasks.execute import execute
from ssi_pipeline.tasks.pixels import read_pixels
from ssi_pipeline.tasks.seeds import seed_for

Plane = NDArray[np.float32]

_ITERATIONS = (5, 10, 20, 40)
"""Candidate iteration numbers of Richardson-Lucy, the baseline; the one with the lowest held-out loss is shown."""


@dataclass(frozen=True, slots=True)
class Solved:
    """Result of one tile and variant: the middle plane of its core (y x), in the input's units.

    ``residual``: input minus the blurred estimate, without the model of clipping, so that clipped pixels are
    visible; NaN where the PSF reaches beyond the tile. ``quality``: as in the ledger.
    ``iterations``: of Richardson-Lucy.
    """

    variant: str
    chosen: Chosen
    before: Plane
    after: Plane
    richardson_lucy: Plane
    residual: Plane
    iterations: int
    quality: dict[str, Any]
    seconds: float


def solve_variant(variant: Variant, tiles: Sequence[Chosen], log: Callable[[str], None]) -> list[Solved]:
    """Solve the tiles in this process.

    Raises
    ------
    SsiError
        The calibration of a channel or a tile fails.
    """
    with tempfile.TemporaryDirectory(prefix="ssi-preview-") as folder:
        prepared = prepare(variant.config.with_output(Path(folder, "preview.zarr")))
        context = save_inputs(prepared)
        create_stores(context)
        spec = RunSpec(str(context.paths.root), prepared.document.fingerprint)
        of = f"{variant.name}: " if variant.name else ""
        log(f"{of}{_work(context, tiles)}")
        ready_channels_here(context, spec)
        for text in noise_found(context):
            log(of + text)
        found = []
        for chosen in tiles:
            found.append(_solve(context, spec, variant.name, chosen))
            log(f"{of}tile {chosen.index} ({chosen.why}): {found[-1].quality['method']}, {found[-1].seconds:.1f} s")
    return found


def _work(context: Context, tiles: Sequence[Chosen]) -> str:
    """Return what is going to be computed: the first line, as a tile may take minutes."""
    domains = [context.plan.tile(chosen.index).domain for chosen in tiles]
    largest = max(domains, key=lambda box: box.size)
    size = " x ".join(str(n) for n in largest.shape)
    return f"calibrating, then tiles, one after the other: {len(tiles)}, of up to {size} voxels each (z y x, with halo)"


def _solve(context: Context, spec: RunSpec, variant: str, chosen: Chosen) -> Solved:
    record = execute(spec, [Job("solve", chosen.index)])[0]
    if record.error is not None:
        raise SsiError(f"preview: tile {chosen.index} failed: {record.error}")
    tile = context.plan.tile(chosen.index)
    measurement = _measurement(context, tile)
    estimate = _estimate(context, tile)
    iterations, rival = _richardson_lucy(context, tile)
    valid = measurement.y[tile.valid.relative_to(tile.domain.start).slices]
    residual = _residual(valid, context.problem(tile.c).at(measurement.place), estimate)
    core = tile.core.relative_to(tile.valid.start).slices
    middle = (tile.core.stop[0] - tile.core.start[0]) // 2

    def plane(values: NDArray[np.float32]) -> Plane:
        """Return the middle plane (y x) of the core from values (z y x) on the valid box."""
        cut: Plane = values[core][middle]
        return cut

    rival = rival[tile.valid.relative_to(tile.domain.start).slices]
    return Solved(
        variant=variant,
        chosen=chosen,
        before=plane(valid),
        after=plane(estimate),
        richardson_lucy=plane(rival),
        residual=plane(residual),
        iterations=iterations,
        quality=record.quality,
        seconds=record.seconds,
    )


def _measurement(context: Context, tile: Tile) -> Measurement:
    measurement = read_pixels(context, tile.t, tile.c, tile.domain).measurement(tile.domain)
    return replace(measurement, place=context.place(tile.core))


def _estimate(context: Context, tile: Tile) -> NDArray[np.float32]:
    """Read the estimate on the tile's valid box (z y x)."""
    if context.plan.direct:
        return np.asarray(context.sink.read(0, tile.t, tile.c, tile.valid), np.float32)
    return np.asarray(context.scratch.read(tile, tile.valid)[0])


def _residual(y: NDArray[np.float32], problem: Problem, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return y minus the blurred x; NaN within the PSF's radius of the edges, beyond which there is no estimate."""
    forward, estimate = problem.forward, to_tensor(x, problem.axes, problem.device)
    blurred = torch.full_like(estimate, torch.nan)
    if all(n > 2 * r for n, r in zip(estimate.shape, forward.radius, strict=True)):
        forward.crop(blurred).copy_(forward.level(estimate))
    return y - to_volume(blurred)


def _richardson_lucy(context: Context, tile: Tile) -> tuple[int, NDArray[np.float32]]:
    """Return the best number of iterations and its estimate on the tile's domain."""
    problem, seed = context.problem(tile.c), seed_for(context.document.config.seed, "solve", tile.index)
    measurement = _measurement(context, tile)
    best: tuple[float, int, NDArray[np.float32]] | None = None
    for count in _ITERATIONS:
        found = solve(problem, measurement, seed, SolveOptions("richardson_lucy", weight=count, scored=False))
        loss = found.heldout_after if found.heldout_after is not None else np.inf
        if best is None or loss < best[0]:
            best = loss, count, found.estimate
    assert best is not None
    return best[1], best[2]
