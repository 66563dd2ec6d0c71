"""Disturb the workers of a real `ssi run` from inside, as SSI_INJECT in its environment says.

dask calls ``dask_setup`` in the client (DASK_DISTRIBUTED__CLIENT__PRELOAD), which sends a plugin to every worker:

    {"sleep": 0.5}       each solve takes so many seconds longer, without using a processor
    {"only": 0.2}        each solve takes so many seconds in all, and does nothing else
    {"poison": 7}        the worker that solves tile 7 dies of it
    {"stale": 7}         the first worker that is given tile 7 finds its mount gone (ESTALE)
    {"lost": 7}          the first worker that is given tile 7 can use its GPU no more, as after an illegal address
    {"loses": 7}         the same of every worker that is given tile 7
    {"hang": 7}          the first worker that is given tile 7 never comes back
    {"tell": ["A", "B"]} each worker writes these of its variables (and its node) to the state folder
    {"unfit": "1"}       the workers that see this card cannot compute as the run does; others do, on the processor
    {"worker_losses": 9} workers that a task may lose, in place of the run's own number; also "tile_attempts"
    {"chaos": "20 s"}    workers die at random (distributed.chaos), so long after their first tile began, on average
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed.chaos import KillWorker
from distributed.diagnostics.plugin import WorkerPlugin

from ssi_pipeline.errors import UnfitError


def environment(**what: Any) -> dict[str, str]:
    """Return the variables that make `ssi run` load this."""
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {
        "DASK_DISTRIBUTED__CLIENT__PRELOAD": '["_inject"]',
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "SSI_INJECT": json.dumps(what),
    }


async def dask_setup(client: Any) -> None:
    what = json.loads(os.environ.get("SSI_INJECT", "{}"))
    from ssi_pipeline.run import failure_budget  # not in workers, which this file is sent to

    for name in ("worker_losses", "tile_attempts"):
        if name in what:
            setattr(failure_budget, name.upper(), what[name])
    await client.register_plugin(Injection(what), name="injection")


class Injection(WorkerPlugin):
    def __init__(self, what: dict[str, Any]) -> None:
        self.what = what

    def setup(self, worker: Any) -> None:
        attempt: Any = importlib.import_module("ssi_pipeline.tasks.attempt")
        real, what = attempt.STEPS["solve"], self.what
        if getattr(real.compute, "disturbed", False):
            return

        if "unfit" in what:
            _play_gpus(attempt, what["unfit"])
        chaos = [KillWorker(delay=what["chaos"], mode="sys.exit")] if "chaos" in what else []

        def solve_tile(context: Any, job: Any, data: Any) -> Any:
            if chaos:  # not from its start on: on a slow machine none would ever get to a tile
                worker.loop.add_callback(chaos.pop().setup, worker)
            if "tell" in what:
                names = ["SLURMD_NODENAME", *what["tell"]]
                told = json.dumps({name: os.environ.get(name) for name in names})
                (context.paths.root / f"told-{os.getpid()}.json").write_text(told)
            if what.get("poison") == job.index:
                os._exit(11)
            if what.get("hang") == job.index:
                _once(context.paths.root / "hung", lambda: time.sleep(10**6))
            if what.get("stale") == job.index:
                _once(context.paths.root / "stale", _stale)
            if what.get("lost") == job.index:
                _once(context.paths.root / "lost", lambda: _lose_gpu(attempt))
            if what.get("loses") == job.index:
                _lose_gpu(attempt)
            if attempt.process_is_lost():
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            time.sleep(what.get("sleep", what.get("only", 0.0)))
            return {"method": "nothing"} if "only" in what else real.compute(context, job, data)

        solve_tile.disturbed = True  # type: ignore[attr-defined]
        attempt.STEPS["solve"] = attempt.Steps(solve_tile, *(() if "only" in what else (real.read, real.write)))


def _play_gpus(attempt: Any, broken: str) -> None:
    context: Any = importlib.import_module("ssi_pipeline.tasks.context")

    def require(compute: Any) -> None:
        if os.environ.get("CUDA_VISIBLE_DEVICES") == broken:
            raise UnfitError(f"cannot use the GPU: CUDA error: no device {broken} on computing on {compute}")

    attempt.require = require
    context.choose_device = lambda _: "cpu"


def _lose_gpu(attempt: Any) -> None:
    attempt.process_is_lost = lambda: True


def _once(mark: Path, what: Callable[[], None]) -> None:
    if not mark.exists():
        mark.touch()
        what()


def _stale() -> None:
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
