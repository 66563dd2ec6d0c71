"""Run the pipeline on a simulated tile, and measure its phases."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
import zarr
from numpy.typing import NDArray
from scipy import ndimage

from ssi_pipeline.bench.counting import Operations
from ssi_pipeline.bench.floor import Floor, floors
from ssi_pipeline.bench.rates import Machine, Rates, clock, machine, rates
from ssi_pipeline.config import RunConfig, load_config
from ssi_pipeline.errors import ConfigError, ExecutorError
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.phases import PHASES, Found, Meters, measured
from ssi_pipeline.run import run
from ssi_pipeline.run.prepare import prepare
from ssi_pipeline.run.session import Caller
from ssi_pipeline.storage.state.ledger import read_records
from ssi_pipeline.storage.state.records import TaskRecord
from ssi_pipeline.tasks.device import choose_device

_SILENT = Caller(verbosity=-1)

_SMALL, _FEW, _MORE = 96, 4, 12
"""Side of the tile whose operations are counted, and steps of its two trainings: the difference is that of steps."""

OTHER = "other"
"""What no phase contains: start, plan, ledger, metrics of the run."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase.

    ``cpu_seconds``: of all threads of this process; fewer than ``seconds`` where the machine is busy with other work.
    ``operations``: on a tile of 96 x 96 pixels with 12 steps. ``bytes``: read, or stored.
    """

    name: str
    seconds: float
    cpu_seconds: float
    mpx_per_second: float
    operations: int | None = None
    bytes: int | None = None
    floor: Floor | None = None


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured.

    ``shape``: of the image; ``domain``: with the halo around it, as it is solved. ``steps``: of the training;
    ``operations_of_a_step``: its share of a mask included.
    """

    machine: Machine
    rates: Rates
    shape: tuple[int, int]
    domain: Ints
    method: str
    steps: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    operations_of_a_step: float | None
    phases: tuple[Phase, ...]


def measure(size: int, changes: Sequence[str], say: Callable[[str], None]) -> Speed:
    """Solve a simulated tile of ``size`` x ``size`` pixels in this process, and measure.

    Parameters
    ----------
    size
        Sides of the image, which is one tile, in pixels.
    changes
        ``key=value``, as in a configuration.
    say
        Receives what is done at the moment.

    Raises
    ------
    ConfigError
        A change is invalid, or moves the work to other processes.
    ExecutorError
        The tile failed.
    """
    with tempfile.TemporaryDirectory(prefix="ssi-bench-") as folder:
        say(f"counting the operations of a tile of {_SMALL} x {_SMALL} pixels")
        few, more = (_counted(Path(folder, str(steps)), changes, steps) for steps in (_FEW, _MORE))
        say(f"solving a tile of {size} x {size} pixels")
        config = _configuration(Path(folder, "measured"), size, changes)
        device = choose_device(config.executor.device)
        meters: Meters = {"seconds": clock(device), "cpu": time.process_time}
        started = {name: read() for name, read in meters.items()}
        with measured(meters) as found:
            tile = _solved(config)
        spent = {name: read() - started[name] for name, read in meters.items()}
        say("measuring what the machine could do")
        at_best = rates(device)
        context, steps = prepare(config).context, tile.quality["steps"]
        problem = context.problem(0)
        domain = context.plan.tile(0).domain.shape[-problem.axes :]
        bounds = floors(problem, domain, steps, at_best)
        stored = sum(file.stat().st_size for file in config.output.folder.rglob("*") if file.is_file())
        return Speed(
            machine=machine(tile.device),
            rates=at_best,
            shape=(size, size),
            domain=domain,
            method=tile.method,
            steps=steps,
            seconds=spent["seconds"],
            cpu_seconds=spent["cpu"],
            peak_bytes=tile.peak_bytes,
            operations_of_a_step=_per_step(few, more),
            phases=tuple(_phases(found | {OTHER: _rest(spent, found)}, more, size**2, stored, bounds)),
        )


def _rest(spent: dict[str, float], found: Found) -> dict[str, float]:
    """Return what no phase contains."""
    return {name: whole - sum(phase[name] for phase in found.values()) for name, whole in spent.items()}


def _phases(found: Found, counted: Found, pixels: int, stored: int, bounds: dict[str, Floor]) -> Iterator[Phase]:
    sizes = {"read": pixels * np.dtype(np.uint16).itemsize, "write": stored}
    for name in (*PHASES, OTHER):
        if name in found:
            seconds = found[name]["seconds"]
            yield Phase(
                name=name,
                seconds=seconds,
                cpu_seconds=found[name]["cpu"],
                mpx_per_second=1e-6 * pixels / seconds,
                operations=int(counted[name]["operations"]) if name in counted else None,
                bytes=sizes.get(name),
                floor=bounds.get(name),
            )


def _per_step(few: Found, more: Found) -> float | None:
    if "train" not in few:
        return None
    return (more["train"]["operations"] - few["train"]["operations"]) / (_MORE - _FEW)


def _counted(folder: Path, changes: Sequence[str], steps: int) -> Found:
    """Return the operations of each phase of a small tile with few steps of training."""
    config = _configuration(folder, _SMALL, [*changes, f"training.steps={steps}", "training.attempts=1"])
    with Operations() as operations:
        meters: Meters = {"operations": lambda: float(operations.count)}
        with measured(meters) as found:
            _solved(config)
    return found


def _solved(config: RunConfig) -> TaskRecord:
    """Run a configuration of one tile; return the record of its tile."""
    run(config, log=lambda _: None, caller=_SILENT)
    (tile,) = (record for record in read_records(config.state_path / "ledger.jsonl") if record.kind == "solve")
    if tile.status != "done":
        raise ExecutorError(f"the tile could not be solved: {tile.error}")
    return tile


def _configuration(folder: Path, size: int, changes: Sequence[str]) -> RunConfig:
    """Write a simulated image and its configuration; return it.

    Raises
    ------
    ConfigError
        A change is invalid, or moves the work to other processes.
    """
    folder.mkdir()
    zarr.create_array(folder / "in.zarr", data=_image(size))
    document: dict[str, Any] = {
        "input": {"path": "in.zarr", "axes": "zyx"},
        "output": {"path": "out.zarr"},
        "psf": {"kind": "gaussian", "fwhm_px": {"y": 3, "x": 3}},
        "tiling": {"core": {"y": size, "x": size}},
        "executor": {"kind": "serial"},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(document))
    config = load_config(path, changes)
    if config.executor.kind != "serial" or prepare(config).document.plan.n_tiles != 1:
        raise ConfigError("ssi bench solves one tile in this process: leave executor.kind, input and tiling alone")
    return config


def _image(size: int) -> NDArray[np.uint16]:
    """Return bright regions with sharp edges, blurred, with photon noise, impulses, and a sensor that saturates."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.standard_normal((size, size)), 4)
    level = ndimage.gaussian_filter(np.where(smooth > smooth.std(), 900.0, 0.0), 1.3) + 100
    counts = rng.poisson(level).clip(0, 1023)
    counts[rng.random(counts.shape) < 0.001] = 1023
    return np.asarray(counts[None], dtype=np.uint16)
