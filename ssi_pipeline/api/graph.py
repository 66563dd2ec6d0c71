"""Deconvolve a dask array lazily: a graph over the tiles and blocks of the plan, for any scheduler.

The image's boxes are tasks of the caller's graph. One task a channel calibrates; its result, with the plan and the
PSFs, is one object that all tiles depend on, so that each worker gets it once.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.delayed import Delayed, delayed
from dask.highlevelgraph import HighLevelGraph
from numpy.typing import NDArray

from ssi_pipeline.api.in_memory import (
    Metrics,
    metrics_dtype,
    prepared_channel,
    settled,
    solved_tile,
    tile_table,
    written_block,
)
from ssi_pipeline.geometry import Box, TilePlan
from ssi_pipeline.storage.inputs.array_source import ArraySource, DescribedSource
from ssi_pipeline.storage.inputs.axes import AxisMap
from ssi_pipeline.tasks.array_context import ArrayContext, Channel
from ssi_pipeline.tasks.neighbours import tile_boxes
from ssi_pipeline.tasks.samples import sampled_boxes
from ssi_pipeline.tasks.training_tiles import training_boxes
from ssi_pipeline.tasks.write_block import layer_dtypes

_FURTHER = 96
"""Boxes that a calibration gets beside its 32 samples, for images that are fill almost everywhere. A run reads up to
1000; a task of a graph has to state what it reads before anything is known of the pixels."""

Place = tuple[int, int, Box]


def lazy_layers(image: Any, context: ArrayContext, source: ArraySource) -> tuple[list[Any], Any]:
    """Return the layers of a dask array with the axes of the image, and the metrics (t c z y x), all lazy."""
    plan, axes = context.plan, source.axes
    config, models = context.document.config, [channel.model for channel in context.channels]
    token = tokenize(image, context.document.basis, str(config.executor), str(config.quality), models)
    opened = _opened(image, context, axes, token)
    tiles = [_tile(image, context, opened, axes, index, token) for index in range(plan.n_tiles)]
    blocks = [
        _task(
            _block, f"ssi-blend-{token}-{index}", opened, index, *(_part(tiles[i], 0) for i in plan.block(index).tiles)
        )
        for index in range(plan.n_blocks)
    ]
    layers = [
        _array(f"ssi-layer{number}-{token}", blocks, number, plan, axes, dtype)
        for number, dtype in enumerate(layer_dtypes(context))
    ]
    found = (_part(task, 1) for task in (*tiles, *blocks))
    table = _task(_table, f"ssi-metrics-{token}", opened, *found)
    return layers, da.from_delayed(table, plan.tile_grid, metrics_dtype())


def _opened(image: Any, context: ArrayContext, axes: AxisMap, token: str) -> Delayed:
    """Return the run with its device and its channels, all of which depend on the same settled device."""
    ready, channels = _channels(image, context, axes, token)
    return _task(_with_channels, f"ssi-open-{token}", ready, *channels)


def fitted_channels(image: Any, context: ArrayContext, axes: AxisMap) -> list[Channel]:
    """Calibrate the channels of a dask array and train their networks, on whichever client is current."""
    _, channels = _channels(image, context, axes, uuid.uuid4().hex)
    found: list[Channel] = delayed(channels).compute()
    return found


def _channels(image: Any, context: ArrayContext, axes: AxisMap, token: str) -> tuple[Delayed, list[Delayed]]:
    """Return the run with its device, and its channels, which depend on it."""
    start = delayed(context, name=f"ssi-plan-{token}", traverse=False)
    ready = _task(settled, f"ssi-settle-{token}", start)
    channels = []
    for c in range(context.plan.shape[1]):
        places = _calibration_places(context, c)
        boxes = [_box(image, axes, place) for place in places]
        channels.append(_task(_channel, f"ssi-calibrate-{token}-{c}", ready, c, places, *boxes))
    return ready, channels


def _task(function: Callable[..., Any], key: str, *arguments: Any) -> Delayed:
    """Return a task with a key of its own: what it depends on is in the token of the key.

    Other tasks are arguments of their own: dask copies and optimises the graphs of those in a list, for each list.
    """
    found: Delayed = delayed(function, pure=True)(*arguments, dask_key_name=key)
    return found


def _part(task: Any, index: int) -> Delayed:
    """Return a part of the tuple that a task returns."""
    found: Delayed = task[index]
    return found


def _calibration_places(context: ArrayContext, c: int) -> list[Place]:
    boxes = sampled_boxes(context, c, _FURTHER)
    given = context.channels and context.channels[c].model is not None
    if context.starts_from_model and not given:
        boxes += training_boxes(context, c, context.document.config.training.shared_tiles, _FURTHER)
    return [(t, c, box) for t, box in dict.fromkeys(boxes)]


def _tile(image: Any, context: ArrayContext, opened: Delayed, axes: AxisMap, index: int, token: str) -> Delayed:
    tile = context.plan.tile(index)
    places = [(t, tile.c, box) for t, box in tile_boxes(context, tile.t, tile.domain)]
    boxes = [_box(image, axes, place) for place in places]
    return _task(_solve, f"ssi-solve-{token}-{index}", opened, index, places, *boxes)


def _box(image: Any, axes: AxisMap, place: Place) -> Delayed:
    """Return a box of the image as one array; not optimised alone, or each box would compute its chunks anew."""
    t, c, box = place
    found: Delayed = image[axes.box(t, c, box).slices].rechunk(-1).to_delayed(optimize_graph=False).item()
    return found


def _array(name: str, blocks: Sequence[Delayed], layer: int, plan: TilePlan, axes: AxisMap, dtype: str) -> Any:
    """Return one layer as a dask array with the axes of the image, a chunk for each block."""
    order = ["tczyx".index(axis) for axis in axes.names]
    steps = (1, 1, *plan.shard)
    chunks = [_lengths(plan.shape[i], steps[i]) for i in order]
    parts: dict[tuple[Any, ...], Delayed] = {}
    for index, position in enumerate(itertools.product(*map(range, plan.block_grid))):
        parts[(name, *(position[i] for i in order))] = _task(_layer, f"{name}-{index}", blocks[index], layer, axes)
    graph = HighLevelGraph.from_collections(
        name, {key: part.key for key, part in parts.items()}, dependencies=cast(Any, list(parts.values()))
    )
    return da.Array(graph, name, chunks, dtype=np.dtype(dtype))


def _lengths(extent: int, step: int) -> tuple[int, ...]:
    return tuple(min(step, extent - start) for start in range(0, extent, step))


def _source(context: ArrayContext, places: Sequence[Place], boxes: Sequence[NDArray[Any]]) -> DescribedSource:
    described = context.image
    assert isinstance(described, DescribedSource)
    held = [(*place, np.asarray(values)) for place, values in zip(places, boxes, strict=True)]
    return replace(described, boxes=tuple(held))


def _channel(context: ArrayContext, c: int, places: Sequence[Place], *boxes: NDArray[Any]) -> Channel:
    return prepared_channel(context.on(_source(context, places, boxes)), c)


def _with_channels(context: ArrayContext, *channels: Channel) -> ArrayContext:
    return replace(context, channels=channels)


def _solve(
    context: ArrayContext, index: int, places: Sequence[Place], *boxes: NDArray[Any]
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Return layers and metrics as a tuple, of which dask can tell the size."""
    found = solved_tile(context.on(_source(context, places, boxes)), index)
    return found.layers, found.quality


def _block(context: ArrayContext, index: int, *tiles: NDArray[np.float32]) -> tuple[list[NDArray[Any]], dict[str, Any]]:
    return written_block(context, context.plan.block(index), tiles)


def _layer(block: tuple[list[NDArray[Any]], dict[str, Any]], layer: int, axes: AxisMap) -> NDArray[Any]:
    return axes.from_zyx(block[0][layer])


def _table(context: ArrayContext, *parts: dict[str, Any]) -> Metrics:
    tiles = context.plan.n_tiles
    return tile_table(context, parts[:tiles], parts[tiles:])
