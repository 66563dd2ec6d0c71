"""Documents of ``--json``, with stable keys (docs/command-line.md): ``format`` rises if one changes its meaning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssi_pipeline.config.url import Url

if TYPE_CHECKING:
    from ssi_pipeline.preview.compare import Preview
    from ssi_pipeline.results.status import RunStatus
    from ssi_pipeline.run.checks.input_check import Comparison
    from ssi_pipeline.run.checks.verify import Verification
    from ssi_pipeline.run.planning import TimeEstimate
    from ssi_pipeline.run.prepare import Prepared

FORMAT = 1


def plan_document(prepared: Prepared, time: TimeEstimate | None) -> dict[str, Any]:
    """Return the document of ``ssi plan``."""
    from ssi_pipeline.executors.gpus.memory import free_for_worker
    from ssi_pipeline.executors.machine import worker_memory
    from ssi_pipeline.run.settle import describe_compute

    document, cost = prepared.document, prepared.cost
    plan, config, volume = document.plan, document.config, document.volume
    return plain(
        {
            "format": FORMAT,
            "input": {
                "path": config.input.path,
                "axes": volume.axes,
                "shape": volume.shape,
                "dtype": volume.dtype,
                "bytes": volume.nbytes,
                "voxel_size_um": volume.voxel_size_um,
            },
            "output": {
                "path": config.output.path,
                "ome_zarr": config.output.ome_zarr,
                "dtype": prepared.context.dtype,
                "uncertainty": prepared.context.uncertain,
            },
            "solver": config.solver,
            "region": plan.shape,
            "dimensions": plan.dimensions,
            "tiles": plan.n_tiles,
            "tile_grid": plan.tile_grid,
            "core": plan.core,
            "halo": plan.halo,
            "blend": plan.blend,
            "blocks": plan.n_blocks,
            "shard": plan.shard,
            "chunk": plan.chunk,
            "bytes": {
                "read": cost.bytes_read,
                "written": cost.bytes_written,
                "pyramid": cost.bytes_pyramid,
                "scratch_written": cost.bytes_scratch_written,
                "scratch_peak": cost.bytes_scratch_peak,
                "worker_memory": cost.bytes_worker_memory,
                "worker_memory_limit": worker_memory(config.executor),
                "device_memory": cost.bytes_device_memory,
                "device_memory_limit": free_for_worker(config, prepared.workers),
            },
            "executor": config.executor.kind,
            "workers": prepared.workers,
            "device": describe_compute(config),
            "seconds": None
            if time is None
            else {"estimate": time.seconds, "low": time.low, "high": time.high, "tiles": time.tiles},
            "notes": [*document.notes, *(() if time is None else time.notes)],
        }
    )


def status_document(status: RunStatus) -> dict[str, Any]:
    """Return the document of ``ssi status``."""
    from ssi_pipeline.results.following import following_document

    live, seen = status.live, status.following
    return plain(
        {
            "format": FORMAT,
            "tiles": {
                "total": status.tiles,
                "done": status.tiles_done,
                "running": status.tiles_running,
                "failed": status.tiles_failed,
                "pending": status.tiles_pending,
                "flagged": status.flagged,
            },
            "blocks": {"total": status.blocks, "done": status.blocks_done},
            "running": status.running,
            "complete": status.image_complete and status.finished,
            "output_missing": status.lost,
            "stage": None if live is None else live.stage,
            "seconds_left": None if live is None else live.left_s,
            "seconds_per_tile": status.mean_tile_seconds,
            "seconds_since_last": status.seconds_since_last,
            "tiles_per_second": status.rate,
            "solved_by": status.methods,
            "workers": {name: worker.tiles for name, worker in status.workers.items()},
            "clients": status.clients,
            "alarms": status.alarms,
            "channel_alarms": status.channels,
            "causes": [{"text": cause.text, "tasks": cause.count, "first": cause.first} for cause in status.causes],
            "damaged": status.unreadable,
            "following": None if seen is None else following_document(seen, status.frames_written),
        }
    )


def verify_document(result: Verification, source: Comparison | None) -> dict[str, Any]:
    """Return the document of ``ssi verify``; ``source``: the comparison of the input, if asked for."""
    bad = len(result.problems)
    return plain(
        {
            "format": FORMAT,
            "blocks": {
                "total": result.blocks,
                "good": result.blocks - result.missing - bad - result.unread,
                "pending": result.missing,
                "bad": bad,
                "unread": result.unread,
            },
            "good": result.good,
            "problems": result.problems,
            "damage": result.damage,
            "recorded": result.recorded,
            "input": None
            if source is None
            else {
                "compared": source.compared,
                "changed": source.tiles,
                "unreadable": source.unreadable,
                "unrecorded": source.unrecorded,
                "changes": source.changed,
            },
        }
    )


def preview_document(found: Preview, folder: Path) -> dict[str, Any]:
    """Return the document of ``ssi preview``."""
    tiles = [
        {
            "variant": row.variant,
            "tile": row.chosen.index,
            "why": row.chosen.why,
            "method": row.quality["method"],
            "seconds": row.seconds,
            "richardson_lucy_iterations": row.iterations,
            "quality": {name: value for name, value in row.quality.items() if name not in ("trace", "method")},
        }
        for row in found.rows
    ]
    plan = plan_document(found.prepared, found.time)
    return plain({"format": FORMAT, "folder": folder, "tiles": tiles, "comparison": found.comparison, "plan": plan})


def plain(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document as JSON knows it: paths as text, tuples as lists, numbers that are not finite as null."""
    return {str(key): _value(inner) for key, inner in document.items()}


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, list | tuple):
        return [_value(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path | Url) else value
