"""Solve one tile: read, invert, compute metrics, write."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import TrainingError
from ssi_pipeline.geometry import Box, Tile
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.methods import UNMEASURED
from ssi_pipeline.phases import phase
from ssi_pipeline.storage.mount import make_folders
from ssi_pipeline.storage.outputs.sink import representable
from ssi_pipeline.storage.state.records import Job, TaskRecord
from ssi_pipeline.storage.system_errors import writing
from ssi_pipeline.tasks.context import Context
from ssi_pipeline.tasks.memory import with_smaller_batch
from ssi_pipeline.tasks.neighbours import with_neighbours
from ssi_pipeline.tasks.pixels import Pixels, read_pixels
from ssi_pipeline.tasks.retraining import RETRAINED, better_of_two
from ssi_pipeline.tasks.seeds import seed_for
from ssi_pipeline.tasks.write_block import as_written, write_block

if TYPE_CHECKING:
    from ssi_pipeline.inversion.network.checkpoint import Model
    from ssi_pipeline.inversion.solve import Solution

_TRACE_POINTS = 16
"""Points of a training curve kept in the ledger: enough for a plot, small for a million tiles."""

_MOST_FILLED = 0.5
"""Share of a core that may be fill where flux and resolution of the rest are measured."""

_FEWEST_SATURATED = 8
"""In photon counts two to four pixels often share the highest value, which would raise an alarm in small tiles."""


@dataclasses.dataclass(frozen=True, slots=True)
class SolvedTile:
    """Layers (layer z y x, float32) of a tile on its valid box, its metrics, and its network where one was trained."""

    layers: NDArray[np.float32]
    quality: dict[str, Any]
    model: Model | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class TileData:
    """What is read of a tile: its pixels, and the measurement on its domain; None where nothing was measured."""

    pixels: Pixels
    measurement: Measurement | None


def read_tile(context: Context, job: Job) -> TileData:
    """Read a tile, with its neighbouring planes and frames if configured."""
    tile = context.plan.tile(job.index)
    with phase("read"):
        pixels = read_pixels(context, tile.t, tile.c, tile.domain)
        if pixels.on(tile.valid).unmeasured.all():
            return TileData(pixels, None)
        measurement = dataclasses.replace(pixels.measurement(tile.domain), place=context.place(tile.core))
        return TileData(pixels, with_neighbours(context, tile.t, tile.c, tile.domain, measurement))


def solve_tile(context: Context, job: Job, data: TileData) -> SolvedTile:
    """Solve one tile that was read; nothing is written."""
    tile, pixels, measurement = context.plan.tile(job.index), data.pixels, data.measurement
    if measurement is None:
        quality: dict[str, Any] = {"method": UNMEASURED, "nonfinite": int(pixels.nonfinite.sum()), "fill_share": 1.0}
        layers = np.zeros((context.layers, *tile.valid.shape), np.float32)
        return SolvedTile(_written_back(context, tile, pixels, layers), quality)
    solution, chosen = _solve(context, tile, measurement, job.retrain)
    with phase("judge"):
        quality = _quality(context, tile, measurement, solution, pixels) | ({RETRAINED: chosen} if chosen else {})
    unseen = not measurement.observed.any()
    layers = _layers(context, tile, solution, context.calibration(tile.c).scale if unseen else 0.0)
    return SolvedTile(_written_back(context, tile, pixels, layers), quality, solution.model)


def write_tile(context: Context, job: Job, found: SolvedTile) -> tuple[dict[str, Any], list[TaskRecord]]:
    """Store the estimate of a tile, and its network if configured.

    Returns the tile's metrics and, in plans without blending, the records of the blocks written directly.
    """
    tile, training = context.plan.tile(job.index), context.document.config.training
    if training.keep_models and found.model is not None and training.scope != "shared":
        path = context.paths.tile_model(tile.index)
        context.mounts.check("solve")
        make_folders(path.parent, context.paths.root)
        with writing(path):
            found.model.save(path)
    with phase("write"):
        return found.quality, _store(context, tile, found.layers)


def _store(context: Context, tile: Tile, layers: NDArray[np.float32]) -> list[TaskRecord]:
    """Write the layers of a tile (layer z y x) on its valid box; return the records of blocks written directly."""
    if not context.plan.direct:
        context.scratch.write(tile, layers)
        return []
    blocks = [context.plan.block(index) for index in context.plan.blocks_of(tile)]
    parts = [(block, layers[(slice(None), *block.write.relative_to(tile.valid.start).slices)]) for block in blocks]
    return [
        TaskRecord(
            "stitch", block.index, "done", quality=write_block(context, block, as_written(context, list(values)))
        )
        for block, values in parts
    ]


def _written_back(context: Context, tile: Tile, pixels: Pixels, layers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the layers with fill and masked pixels as in the input, or at the background level where not finite.

    Their uncertainty is the channel's range: nothing is known there.
    """
    here = pixels.on(tile.valid)
    if here.unmeasured.any():
        raw = here.raw
        if (here.unmeasured & here.nonfinite).any():
            raw = np.where(here.nonfinite, np.float32(context.calibration(tile.c).offset), raw)
        layers[0][here.unmeasured] = raw[here.unmeasured]
        if context.uncertain:
            layers[1][here.unmeasured] = context.calibration(tile.c).scale
    return layers


def _solve(context: Context, tile: Tile, measurement: Measurement, retrain: bool) -> tuple[Solution, int]:
    """Return the solution of a tile, and the number of the training that was kept; 0 without retraining."""
    # these import torch: only in workers that solve tiles
    from ssi_pipeline.inversion.solve import SolveOptions, solve, without_network

    config, start = context.document.config, context.start_model(tile.c)
    options = SolveOptions(start=start, scored_region=tile.valid.relative_to(tile.domain.start).slices)
    if start is None and context.starts_from_model:
        options = dataclasses.replace(options, solver=without_network(context.problem(tile.c)))
    seed = seed_for(config.seed, "solve", tile.index)

    def solved(step_factor: int = 1, training_seed: int | None = None) -> Solution:
        """Solve, with a smaller batch if out of memory."""

        def attempt(batch: int) -> Solution:
            asked = dataclasses.replace(options, step_factor=step_factor, training_seed=training_seed, batch=batch)
            return solve(context.problem(tile.c), measurement, seed, asked)

        return with_smaller_batch(attempt, config.training.batch)

    return better_of_two(solved, seed_for(config.seed, "retrain", tile.index)) if retrain else (solved(), 0)


def _layers(context: Context, tile: Tile, solution: Solution, otherwise: float) -> NDArray[np.float32]:
    """Return the layers of a tile (layer z y x) on its valid box: the estimate and, if configured, its uncertainty.

    ``otherwise``: the uncertainty if nothing was inverted.

    Raises
    ------
    TrainingError
        There are non-finite values.
    """
    layers = [solution.estimate]
    if context.uncertain:
        known = solution.uncertainty
        layers.append(np.full_like(solution.estimate, otherwise) if known is None else known)
    inside = tile.valid.relative_to(tile.domain.start).slices
    kept = np.stack([layer[inside] for layer in layers])
    if not np.isfinite(kept).all():
        raise TrainingError(f"the estimate ({solution.method}) has NaN or infinite values")
    return kept


def _quality(
    context: Context, tile: Tile, measurement: Measurement, solution: Solution, pixels: Pixels
) -> dict[str, Any]:
    def core(values: NDArray[Any]) -> NDArray[Any]:
        """Return the core of values on the tile's domain, z y x."""
        box: Box = tile.core.relative_to(tile.domain.start)
        return np.asarray(values[box.slices])

    whole = core(solution.estimate), core(measurement.y)
    measured = ~pixels.on(tile.core).unmeasured
    fill_share = 1 - float(measured.mean())
    x, y = (values[measured] if fill_share else values for values in whole)
    # between and around filled areas both are interpolated
    resolutions = context.document.config.quality.extended and fill_share <= _MOST_FILLED
    low, high = representable(context.dtype)
    flux = float(y.sum(dtype=np.float64))
    light = flux - float(y.min()) * y.size if y.size else 0.0
    return {
        "method": solution.method,
        "heldout_before": solution.heldout_before,
        "heldout_after": solution.heldout_after,
        "heldout_wiener": solution.heldout_wiener,
        "steps": solution.steps,
        "trainings": solution.attempts,
        # light crosses the edge of fill: in a small remainder the ratio tells nothing
        "flux_ratio": float(x.sum(dtype=np.float64)) / flux if flux and fill_share <= _MOST_FILLED else None,
        # values within half a unit are rounded, not clipped
        "clipped_share": float(np.mean((x < np.float64(low - 0.5)) | (x > np.float64(high + 0.5)))) if x.size else 0.0,
        "clipped_light": float(np.maximum(x - np.float64(high), 0).sum()) / light if light else None,
        "saturated_share": _saturated_share(y),
        "nonfinite": int(pixels.nonfinite.sum()),
        **_short({"fill_share": fill_share} | solution.scores | (_resolutions(context, *whole) if resolutions else {})),
        "trace": _thin(solution.trace),
        "note": solution.note,
    }


def _saturated_share(y: NDArray[np.float32]) -> float:
    """Return the share of voxels with the highest value; 0 if they are few enough to be chance, or there are none."""
    if not y.size:
        return 0.0
    count = int(np.count_nonzero(y == y.max()))
    return count / y.size if count >= _FEWEST_SATURATED else 0.0


def _resolutions(context: Context, x: NDArray[Any], y: NDArray[Any]) -> dict[str, float]:
    """Return the resolution of measurement and estimate by both measures, in um if the voxel size is known."""
    # importing scipy.fft takes half a second, which a client without work does not need
    from ssi_pipeline.quality.decorrelation import decorrelation_resolution
    from ssi_pipeline.quality.resolution import ring_correlation_resolution

    voxel = context.document.volume.voxel_size_um
    pixel = math.sqrt(voxel[1] * voxel[2]) if voxel is not None and voxel[1] > 0 and voxel[2] > 0 else 1.0
    measures = {"frc": ring_correlation_resolution, "decorrelation": decorrelation_resolution}
    images = {"before": y, "after": x}
    found = {f"{m}_{when}": measure(image) for m, measure in measures.items() for when, image in images.items()}
    return {name: pixel * value for name, value in found.items() if math.isfinite(value)}


def _short(scores: dict[str, float]) -> dict[str, float]:
    """Round values to five significant digits, to keep the ledger small."""
    return {name: float(f"{value:.5g}") for name, value in scores.items()}


def _thin(trace: list[tuple[int, float, float]]) -> list[list[float]]:
    """Keep a few points, including the first and the last, rounded for a plot."""
    if len(trace) > _TRACE_POINTS:
        chosen = np.linspace(0, len(trace) - 1, _TRACE_POINTS).round().astype(int)
        trace = [trace[i] for i in chosen]
    return [[step, float(f"{loss:.5g}"), float(f"{heldout:.5g}")] for step, loss, heldout in trace]
