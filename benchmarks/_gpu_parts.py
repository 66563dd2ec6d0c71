"""The parts of the check of a GPU that run in this process. Each returns what it found as a mapping for JSON."""

from __future__ import annotations

import os
import platform
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
from _gpu_scene import Scene, scene
from torch import Tensor

from ssi_pipeline.inversion import solve as solving
from ssi_pipeline.inversion.device_memory import is_out_of_memory
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.network import training
from ssi_pipeline.inversion.network.averaged import averaged, finished
from ssi_pipeline.inversion.network.batches import Batches, Schedule
from ssi_pipeline.inversion.network.precision import float32_means_float32
from ssi_pipeline.inversion.problem import Problem, apply
from ssi_pipeline.inversion.sensor.impulses import window_quartiles
from ssi_pipeline.inversion.tile import TileTensors, make_tile_tensors
from ssi_pipeline.phases import measured
from ssi_pipeline.tasks.gpu_errors import is_broken_gpu
from ssi_pipeline.tasks.memory import with_smaller_batch

Found = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """What to measure on: a device, tiles of side x side pixels, steps of a training."""

    device: str
    side: int
    steps: int

    @property
    def on_gpu(self) -> bool:
        return self.device != "cpu"

    def wait(self) -> None:
        """Wait until the device has done all."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def clock(self) -> float:
        """Return the time at which the device has done all."""
        self.wait()
        return time.perf_counter()

    def seconds(self, work: Callable[[], object], repeats: int = 3) -> float:
        """Return the median wall time of finished work, after one run more."""
        times = []
        for _ in range(repeats + 1):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - started)
        return float(np.median(times[1:]))


def machine(size: Size) -> Found:
    """Return what was measured on."""
    found: Found = {
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": size.device,
    }
    if size.on_gpu:
        card = torch.cuda.get_device_properties(0)
        found |= {"gpu": card.name, "memory": card.total_memory, "multiprocessors": card.multi_processor_count}
        found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return found


def equal(size: Size) -> Found:
    """Solve by every solver on the CPU, and twice on the device: differences, quality, and whether bytes repeat."""
    found, training_ = {}, {"steps": min(size.steps, 60), "select": "network", "precision": "float32", "attempts": 1}
    for solver in ("wiener", "tv", "tv_cg", "richardson_lucy", "ssi"):
        given = scene(min(size.side, 160), solver, training=training_)
        on_cpu, first, again = (_solved(given, device) for device in ("cpu", size.device, size.device))
        off = np.abs(first.estimate - on_cpu.estimate)
        found[solver] = {
            "methods": [on_cpu.method, first.method],
            "psnr": [given.psnr(on_cpu.estimate), given.psnr(first.estimate)],
            "difference of 1023": {"rms": float(np.sqrt(np.mean(off**2))), "most": float(off.max())},
            "bytes repeat": first.estimate.tobytes() == again.estimate.tobytes(),
        }
    return found


def _solved(given: Scene, device: str) -> solving.Solution:
    return solving.solve(given.problem(device), given.measurement, 1)


def waits(size: Size) -> Found:
    """Return whether a step and a mask wait for the device, by torch's own check."""
    return {name: _where_it_waits(size, call) for name, call in (("step", "draw"), ("mask", "_draw_mask"))}


def _where_it_waits(size: Size, call: str) -> str:
    """Run the third step, mask apart, or the only mask, in the mode in which torch refuses to wait."""
    calls, function = [], getattr(Batches, call)

    def watched(batches: Batches) -> Any:
        calls.append(None)
        strict = call == "_draw_mask" or len(calls) == 3
        if size.on_gpu:
            torch.cuda.set_sync_debug_mode("error" if strict else "default")
        result = function(batches)
        if size.on_gpu and call == "_draw_mask":
            torch.cuda.set_sync_debug_mode("default")
        return result

    try:
        with mock.patch.object(Batches, call, watched):
            _train(*_posed(size), steps=4)  # the fourth draw ends the strict step
    except RuntimeError:
        return traceback.format_exc()[-900:]
    finally:
        if size.on_gpu:
            torch.cuda.set_sync_debug_mode("default")
    return "none"


def _posed(size: Size, **training_: Any) -> tuple[Problem, TileTensors]:
    given = scene(size.side, training={"steps": size.steps, **training_})
    problem = given.problem(size.device)
    return problem, make_tile_tensors(problem, given.measurement, 0)


def _train(problem: Problem, tile: TileTensors, steps: int) -> training.Trained:
    """Train without validations but at start and end, and without an end before."""
    with mock.patch.object(training, "VALIDATE_EVERY", steps + 1), float32_means_float32(problem.device):
        return training.train(problem, [tile], Schedule(steps, problem.config.training.batch), 0, 1, None, 0.0)


def step(size: Size) -> Found:
    """Return milliseconds a step, its share of masks included, and kernels where there is a GPU."""
    found: Found = {}
    few, more = max(2, size.steps // 10), max(6, size.steps // 2)
    for precision in ("float32", "bfloat16"):
        posed = _posed(size, precision=precision)
        short, long = (size.seconds(lambda n=n, posed=posed: _train(*posed, n), 1) for n in (few, more))
        found[precision] = {"ms": 1e3 * (long - short) / (more - few)}
        if size.on_gpu:
            found[precision] |= _kernels(posed, few, more)
    tile = _posed(size)[1]
    found["quartiles ms"] = 1e3 * size.seconds(lambda: window_quartiles(tile.y))
    return found


def _kernels(posed: tuple[Problem, TileTensors], few: int, more: int) -> Found:
    from torch.profiler import ProfilerActivity, profile

    counts, busy = [], []
    for steps in (few, more):
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            _train(*posed, steps)
        kernels = [e for e in seen.events() if e.device_type == torch.autograd.DeviceType.CUDA]
        counts.append(len(kernels))
        busy.append(sum(e.device_time_total for e in kernels) / 1e3)
    steps = more - few
    return {"kernels": (counts[1] - counts[0]) / steps, "busy ms": (busy[1] - busy[0]) / steps}


def tile(size: Size) -> Found:
    """Return the seconds of a whole tile and of its stages; the first time with all that is loaded once."""
    given, rows = scene(size.side, training={"steps": size.steps}), []
    for _ in range(2):
        started = time.perf_counter()
        with measured({"seconds": size.clock}) as stages:
            solved = _solved(given, size.device)
        row: Found = {"seconds": time.perf_counter() - started, "stages": stages, "method": solved.method}
        row |= {"steps": solved.steps, "psnr": given.psnr(solved.estimate)}
        if size.on_gpu:
            row["device bytes"] = torch.cuda.max_memory_allocated()
        rows.append(row)
    return {"first": rows[0], "second": rows[1]}


def application(size: Size) -> Found:
    """Return the megapixels a second of f: one evaluation, and the average over symmetries with its bound."""
    problem, given = _posed(size)
    inverse, pixels = training.build_inverse(problem, generator(0)), given.y.numel() / 1e6

    def whole() -> Tensor:
        estimate = averaged(problem, given.channels, inverse)
        return finished(problem, given.channels[0], given.observed, estimate)

    with float32_means_float32(problem.device):
        return {
            "one evaluation Mpx/s": pixels / size.seconds(lambda: apply(inverse, given.channels)),
            "averaged Mpx/s": pixels / size.seconds(whole),
            "linear part Mpx/s": pixels / size.seconds(lambda: problem.linear(given.y)),
        }


def memory(size: Size) -> Found:
    """Return what a GPU with too little memory raises, and whether it is known as such."""
    if not size.on_gpu:
        return {"left out": "needs a GPU"}
    given, found = scene(512, training={"steps": 20, "attempts": 1}), {}

    def solve(batch: int) -> solving.Solution:
        options = solving.SolveOptions(batch=batch)
        return solving.solve(given.problem(size.device), given.measurement, 0, options)

    many = {
        "a tile": lambda: with_smaller_batch(solve, 8).note or "fits",
        "an FFT": lambda: torch.fft.rfftn(torch.zeros(2**14, 2**14, device=size.device)).shape,
        "a convolution": lambda: torch.nn.Conv2d(8, 64, 3).to(size.device)(
            torch.zeros(64, 8, 512, 512).to(size.device)
        ),
    }
    for name, work in many.items():
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(0.01)
        try:
            found[name] = str(work())[:200]
        except RuntimeError as problem:
            known = "memory" if is_out_of_memory(problem) else "broken" if is_broken_gpu(problem) else "unknown"
            found[name] = {"raised": f"{type(problem).__name__}: {problem}"[:300], "taken for": known}
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
    return found
