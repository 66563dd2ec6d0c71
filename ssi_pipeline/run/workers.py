"""Start the workers of a call as configured, and settle the device of the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from ssi_pipeline.config import ExecutorConfig
from ssi_pipeline.executors.gpus.sharing import describe_idle, own_cards
from ssi_pipeline.run import failure_budget
from ssi_pipeline.run.failure_budget import FailureBudget
from ssi_pipeline.run.hints import hints_of
from ssi_pipeline.run.scheduling import Scheduler
from ssi_pipeline.run.session import RunSession
from ssi_pipeline.run.settle import decide, device_of, save_compute, settle
from ssi_pipeline.run.unfit import UnfitWorkers
from ssi_pipeline.storage.state.versions import installed_versions
from ssi_pipeline.tasks import RunSpec

_ROUNDS = 10
"""Failures per worker, without a finished task in between, that stop a run with many workers."""


@contextmanager
def workers(session: RunSession) -> Iterator[Scheduler]:
    """Start the workers; settle device and precision of the run if not known yet."""
    context, display, config = session.context, session.display, session.context.document.config
    device = device_of(context)
    section = config.executor if device is None else config.executor.resolved(device)
    document = context.document
    compute = document.compute or decide(config, device, [])
    versions = document.version_sets.index(installed_versions())
    spec = RunSpec(str(context.paths.root), document.fingerprint, compute, versions)
    with closing(session.opener(section, spec, display.line)) as executor:
        what = str(compute) if compute else "a GPU"
        unfit = UnfitWorkers(executor, what, section.workers or 1, display.line)
        if compute is None:
            compute = settle(config, device, executor, unfit, session.is_asked_to_stop)
            executor.use(compute)
        session.context = save_compute(context, compute)
        display.line(f"{_describe_workers(section, executor.slots)}; computing on {compute}")
        if idle := describe_idle(config.executor, compute.device):
            display.line(idle)
        first_start = document.compute is None and session.own_workers
        if first_start:
            for hint in hints_of(config, compute.device):
                display.line(hint)
        # all workers fail at once while a file system or a partition is away
        in_a_row = max(failure_budget.INFRASTRUCTURE_FAILURES, _ROUNDS * (section.workers or 1))
        lost = session.state.lost_processes
        budget = FailureBudget(failure_budget.WORKER_LOSSES, in_a_row, executor.avoid, display.line, lost)
        yield Scheduler(session, executor, budget, unfit, failure_budget.TILE_ATTEMPTS)


def _describe_workers(section: ExecutorConfig, slots: int) -> str:
    if section.kind == "slurm":
        return f"up to {section.workers} workers in SLURM jobs, added as jobs start"
    cards = own_cards(section).names if section.kind == "dask" else ()
    shared = f" sharing GPU {', '.join(cards)}" if cards else ""
    return f"{slots} worker(s), {section.kind} executor{shared}"
