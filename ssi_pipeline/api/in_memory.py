"""Deconvolve an image in memory with the tasks of a run, in this process."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.api.progress import Stages
from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import ConfigError, SsiError, UnfitError
from ssi_pipeline.executors.gpus.sharing import known_device, refuse_missing_gpu
from ssi_pipeline.geometry import Block
from ssi_pipeline.phases import following_trainings
from ssi_pipeline.results.finish import METRICS, TileMetrics
from ssi_pipeline.run.prepare import Prepared, prepare_source
from ssi_pipeline.run.settle import decide
from ssi_pipeline.storage.inputs.array_source import ArraySource
from ssi_pipeline.storage.state.records import Job, TaskRecord
from ssi_pipeline.tasks.ability import ability, require
from ssi_pipeline.tasks.array_context import ArrayContext, Channel, calibrated, trained
from ssi_pipeline.tasks.device import use_threads
from ssi_pipeline.tasks.solve_tile import SolvedTile, read_tile, solve_tile
from ssi_pipeline.tasks.write_block import as_written, blend_layers, layer_dtypes

Metrics = NDArray[np.void]
"""A field for each metric, on the grid of tiles (t c z y x)."""

FIELDS = tuple(name for name in METRICS if name not in ("status", "attempts", "peak_bytes", "retrained"))


def open_array(
    config: RunConfig, source: ArraySource, psfs: Sequence[Any], channels: Sequence[Channel] = ()
) -> ArrayContext:
    """Check and plan; return the context of a run on an image in memory.

    ``channels``: with given networks, one for each channel.
    """
    if config.executor.device == "cuda":
        refuse_missing_gpu(config)
    prepared: Prepared = prepare_source(config, source, dict, earlier=False, given=psfs)
    if channels and len(channels) != len(prepared.psfs):
        raise ConfigError(f"the networks are for {len(channels)} channel(s), but the image has {len(prepared.psfs)}")
    for channel, psf in zip(channels, prepared.psfs, strict=False):
        if channel.model is not None:
            from ssi_pipeline.run.start_models import check_model  # imports torch

            check_model(channel.model, config, psf)
    context = prepared.context
    return ArrayContext(context.document, context.paths, source, prepared.psfs, tuple(channels))


def settled(context: ArrayContext) -> ArrayContext:
    """Return the run with its device and precision, which are those of this process.

    Raises
    ------
    UnfitError
        A GPU is requested, and this process has none.
    """
    config, own = context.document.config, [ability()]
    compute = decide(config, known_device(config.executor), own)
    if compute is None:
        raise UnfitError(own[0].problem)
    return replace(context, document=context.document.settled(compute))


def prepared_channel(context: ArrayContext, c: int) -> Channel:
    """Calibrate a channel and train its network, if tiles share one."""
    use_threads(context.document.config.executor.threads)
    given = context.channels[c].model if context.channels else None
    found = replace(calibrated(context, c), model=given)
    alone = replace(context, channels=(found,) * len(context.psfs))
    if given is not None:
        from ssi_pipeline.run.start_models import refuse_other_scale  # imports torch

        refuse_other_scale(given, alone.calibration(c), c)
        return found
    return trained(alone, c) if context.starts_from_model else found


def prepared_channels(context: ArrayContext, stages: Stages) -> list[Channel]:
    """Calibrate all channels and train their networks."""
    trains = context.starts_from_model and not context.channels
    title, total = "training shared networks" if trains else "calibrating channels", context.plan.shape[1]
    channels = []
    for c in range(total):
        stages.note(title, c, total)
        with following_trainings(stages.training):
            channels.append(prepared_channel(context, c))
    stages.note(title, total, total)
    return channels


def solved_tile(context: ArrayContext, index: int) -> SolvedTile:
    """Solve one tile; its metrics include its time."""
    document = context.document
    use_threads(document.config.executor.threads)
    if document.compute is not None and document.config.method.computes:
        require(document.compute)
    started, job = time.perf_counter(), Job("solve", index)
    try:
        found = solve_tile(context, job, read_tile(context, job))
    except SsiError as error:
        error.add_note(f"in tile {index} of {context.plan.n_tiles}")
        raise
    return replace(found, quality=found.quality | {"seconds": time.perf_counter() - started}, model=None)


def written_block(
    context: ArrayContext, block: Block, tiles: Sequence[NDArray[np.float32]]
) -> tuple[list[NDArray[Any]], dict[str, Any]]:
    """Blend the tiles of a block; return its layers (z y x) in the dtypes of the output, and its seams.

    ``tiles``: the layers of each on its valid box.
    """
    parts = []
    for index, layers in zip(block.tiles, tiles, strict=True):
        tile = context.plan.tile(index)
        inside = tile.valid.intersect(block.write).relative_to(tile.valid.start)
        parts.append((tile, layers[(slice(None), *inside.slices)]))
    blended, seams = blend_layers(context, block, parts)
    return as_written(context, blended), seams


def solve_array(context: ArrayContext, stages: Stages) -> tuple[list[NDArray[Any]], Metrics]:
    """Solve all tiles of an image in this process; return the layers (t c z y x) and the metrics.

    ``stages``: receives the channels and tiles that are done, and the steps of the training of a single tile.
    """
    steps = solving(context, stages)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: tuple[list[NDArray[Any]], Metrics] = end.value
            return found


def solving(
    context: ArrayContext, stages: Stages | None = None
) -> Generator[tuple[int, int], None, tuple[list[NDArray[Any]], Metrics]]:
    """Do what ``solve_array`` does, and yield the number of tiles solved, and of all, after each."""
    stages = stages or Stages()
    with threads_kept():
        context = settled(context)
        context = replace(context, channels=tuple(prepared_channels(context, stages)))
        layers = [np.empty(context.plan.shape, dtype) for dtype in layer_dtypes(context)]
        qualities: dict[int, dict[str, Any]] = {}
        seams = []
        stages.note("tiles", 0, context.plan.n_tiles)
        for step in _blocks(context, qualities, stages):
            if step is None:
                stages.note("tiles", len(qualities), context.plan.n_tiles)
                yield len(qualities), context.plan.n_tiles
                continue
            block, written, of_block = step
            for whole, values in zip(layers, written, strict=True):
                whole[block.t, block.c][block.write.slices] = values
            seams.append(of_block)
    return layers, tile_table(context, [qualities[i] for i in range(context.plan.n_tiles)], seams)


def _blocks(
    context: ArrayContext, qualities: dict[int, dict[str, Any]], stages: Stages
) -> Iterator[tuple[Block, list[NDArray[Any]], dict[str, Any]] | None]:
    """Yield all blocks with their layers and seams, and None after each tile, which is kept until its last block."""
    plan = context.plan
    left = Counter(index for b in range(plan.n_blocks) for index in plan.block(b).tiles)
    held: dict[int, NDArray[np.float32]] = {}
    for b in range(plan.n_blocks):
        block = plan.block(b)
        for index in block.tiles:
            if index not in held:
                with following_trainings(stages.training) if plan.n_tiles == 1 else nullcontext():
                    found = solved_tile(context, index)
                held[index], qualities[index] = found.layers, found.quality
                yield None
        yield block, *written_block(context, block, [held[index] for index in block.tiles])
        left.subtract(block.tiles)
        for index in block.tiles:
            if not left[index]:
                del held[index]


@contextmanager
def threads_kept() -> Iterator[None]:
    """Restore torch's number of threads, which belongs to the caller."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tile_table(context: ArrayContext, qualities: Iterable[dict[str, Any]], seams: Iterable[dict[str, Any]]) -> Metrics:
    """Return the metrics of all tiles as a run writes them; ``qualities``, ``seams``: of all tiles and blocks."""
    found = TileMetrics(context.plan)
    for index, quality in enumerate(qualities):
        found.note(TaskRecord("solve", index, "done", seconds=quality["seconds"], quality=quality))
    for index, of_block in enumerate(seams):
        found.note(TaskRecord("stitch", index, "done", quality=of_block))
    grid = found.on_grid([context.calibration(c).scale for c in range(len(context.channels))])
    table = np.zeros(context.plan.tile_grid, metrics_dtype())
    for name in FIELDS:
        table[name] = grid[name]
    return table


def metrics_dtype() -> np.dtype[np.void]:
    """Return the dtype of ``Metrics``."""
    return np.dtype([(name, np.float32) for name in FIELDS])
