"""Describe the plan of a run for `ssi plan`: tiling, cost, and an estimate of the time."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import SsiError
from ssi_pipeline.executors.gpus.memory import free_for_worker
from ssi_pipeline.executors.gpus.sharing import known_device
from ssi_pipeline.executors.machine import worker_memory
from ssi_pipeline.run.checks.output_checks import check_output
from ssi_pipeline.run.hints import hints_of
from ssi_pipeline.run.prepare import Prepared, prepare
from ssi_pipeline.run.psf_rows import psf_rows
from ssi_pipeline.run.settle import describe_compute
from ssi_pipeline.storage.outputs.scales import describe_voxel_size
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.ledger import read_heads
from ssi_pipeline.storage.state.parts import ledger_paths
from ssi_pipeline.words import duration, size_of


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """Wall time of all tiles with its 95 % interval, from ``tiles`` measured ones; seconds.

    ``notes``: what the calibration of a pilot found.
    """

    seconds: float
    low: float
    high: float
    tiles: int
    source: str
    notes: tuple[str, ...] = ()


def estimate_time(
    seconds: Sequence[float] | NDArray[np.float64], n_tiles: int, workers: int, source: str
) -> TimeEstimate | None:
    """Extrapolate tile times: mean +- t-quantile x standard error, times the tiles of one worker."""
    if not len(seconds):
        return None
    from scipy.special import stdtrit  # the t-quantile; scipy.stats takes half a second to import

    values = np.asarray(seconds)
    rounds = n_tiles / min(workers, n_tiles)
    mean = float(values.mean())
    if len(values) < 2:
        return TimeEstimate(mean * rounds, 0.5 * mean * rounds, 2 * mean * rounds, 1, source)
    error = float(values.std(ddof=1)) / math.sqrt(len(values)) * float(stdtrit(len(values) - 1, 0.975))
    return TimeEstimate(mean * rounds, max(0.0, mean - error) * rounds, (mean + error) * rounds, len(values), source)


def time_from_ledger(prepared: Prepared) -> TimeEstimate | None:
    """Estimate the time of the whole run from the tiles that are done."""
    paths = StatePaths(prepared.document.config.state_path)
    heads = chain.from_iterable(map(read_heads, ledger_paths(paths)))
    done = np.fromiter((h.seconds for h in heads if h.kind == "solve" and h.status == "done"), np.float64)
    return estimate_time(done, prepared.document.plan.n_tiles, prepared.workers, "tiles done")


def time_from_pilot(config: RunConfig, count: int) -> TimeEstimate | None:
    """Solve ``count`` tiles, spread over the volume, in this process and in a temporary folder.

    Raises
    ------
    SsiError
        A tile fails.
    """
    # imported here: a plan without a pilot solves nothing, and has to be quick
    from ssi_pipeline.inversion.sensor.correlation import correlation_words
    from ssi_pipeline.results.unmeasured import describe_fill
    from ssi_pipeline.run.channels import noise_found, ready_channels_here
    from ssi_pipeline.run.create import create_stores, save_inputs
    from ssi_pipeline.storage.state.records import Job
    from ssi_pipeline.tasks import RunSpec
    from ssi_pipeline.tasks.execute import execute

    with tempfile.TemporaryDirectory(prefix="ssi-pilot-") as folder:
        prepared = prepare(config.with_output(Path(folder, "pilot.zarr")))
        context = save_inputs(prepared)
        create_stores(context)
        spec = RunSpec(str(context.paths.root), prepared.document.fingerprint)
        ready_channels_here(context, spec)
        notes = tuple(describe_fill([context.fill(c) for c in range(context.plan.shape[1])]))
        n_tiles = prepared.document.plan.n_tiles
        chosen = np.unique(np.linspace(0, n_tiles - 1, min(count, n_tiles)).round().astype(int))
        seconds = []
        for index in chosen:
            record = execute(spec, [Job("solve", int(index))])[0]
            if record.error is not None:
                raise SsiError(f"pilot: tile {index} failed: {record.error}")
            seconds.append(record.seconds)
        notes += tuple(noise_found(context)) or (correlation_words(None),)
    time = estimate_time(seconds, n_tiles, prepared.workers, "pilot, one worker at a time")
    return None if time is None else replace(time, notes=notes)


def checked_plan(config: RunConfig, pilot: int | None, show: Callable[[Prepared, TimeEstimate | None], None]) -> None:
    """Plan a run without starting it, as ``ssi plan``; ``pilot``: number of tiles solved to measure the time.

    Raises
    ------
    SsiError
        The run could not start. Where only the disk is too small, ``show`` has been called.
    """
    prepared = prepare(config)
    check_output(prepared, new=False, ignore_disk=True)
    show(prepared, time_from_pilot(config, pilot) if pilot else time_from_ledger(prepared))
    check_output(prepared, new=False, ignore_disk=False)


def describe_plan(prepared: Prepared, time: TimeEstimate | None) -> list[tuple[str, str]]:
    """Return the rows of the plan, name and value."""
    document, cost = prepared.document, prepared.cost
    plan, config = document.plan, document.config
    limit = worker_memory(config.executor)
    rows = [
        ("input", f"{config.input.path}: {document.volume.describe()}, {size_of(document.volume.nbytes)}"),
        *([] if config.input.mask is None else [("mask", str(config.input.mask))]),
        ("voxel size", describe_voxel_size(document.volume.voxel_size_um, document.volume.axes)),
        ("output", f"{config.output.path}: OME-Zarr {config.output.ome_zarr}, {', '.join(_arrays(prepared))}"),
        ("region", "x".join(str(n) for n in plan.shape) + " (t c z y x)"),
        *psf_rows(config, prepared.psfs, document.volume.voxel_size_um),
        ("tiles", f"{plan.n_tiles} = {_times(plan.tile_grid)} (t c z y x), cores of {_times(plan.core)} (z y x)"),
        ("blocks", f"{plan.n_blocks}, shards of {_times(plan.shard)}, chunks of {_times(plan.chunk)}"),
        ("halo, blend", f"{_times(plan.halo)}, {_times(plan.blend)}"),
        ("read", f"{size_of(cost.bytes_read)}, {cost.read_amplification:.2f} times the region"),
        (
            "written",
            f"up to {size_of(cost.bytes_written)} plus {size_of(cost.bytes_pyramid)} of pyramid (uncompressed)",
        ),
        ("scratch", _scratch(prepared)),
        ("memory", f"about {size_of(cost.bytes_worker_memory)} per worker, of {size_of(limit)}"),
        *_device_memory(prepared),
        ("workers", f"{prepared.workers} ({config.executor.kind})"),
        ("device", describe_compute(config)),
    ]
    if config.training.retrain:
        most = max(1, plan.n_tiles // 10)
        rows.append(("retraining", f"at most {most} of the tiles, at 3 times their time (not in the estimate below)"))
    # last but one, so that it is visible: notes on parts of the input that are left out must not be missed
    hints = hints_of(config, known_device(config.executor))
    notes = [("note", note) for note in (*document.notes, *(() if time is None else time.notes), *hints)]
    return [*rows, *notes, ("time", describe_time(time, prepared.workers))]


def describe_time(time: TimeEstimate | None, workers: int) -> str:
    """Return the estimated time with its interval, or how to measure it."""
    if time is None:
        return "unknown until the first tiles are done; measure it with `ssi plan --pilot 4`"
    span = f"{duration(time.low)} to {duration(time.high)}"
    source = f"from {time.tiles} tiles: {time.source}"
    return f"{duration(time.seconds)} on {workers} worker(s), 95 % interval {span} ({source})"


def _arrays(prepared: Prepared) -> list[str]:
    return [prepared.context.dtype] + (["and float32 uncertainty"] if prepared.context.uncertain else [])


def _scratch(prepared: Prepared) -> str:
    cost = prepared.cost
    if prepared.document.plan.direct:
        return "none (tiles are written directly)"
    return f"{size_of(cost.bytes_scratch_written)} in all, up to {size_of(cost.bytes_scratch_peak)} at a time"


def _device_memory(prepared: Prepared) -> list[tuple[str, str]]:
    needed, config = prepared.cost.bytes_device_memory, prepared.document.config
    if needed is None:
        return []
    free = free_for_worker(config, prepared.workers)
    known = "free memory not known here" if free is None else f"of {size_of(free)} free for each"
    return [("GPU memory", f"about {size_of(needed)} per worker, {known}")]


def _times(sizes: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in sizes)
