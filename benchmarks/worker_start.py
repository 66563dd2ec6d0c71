"""How long local workers take to start, and the memory of each that no other has: as copies, and afresh.

python benchmarks/worker_start.py [--workers 8]     prints the table in docs/overhead.md
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from unittest import mock

import psutil

from ssi_pipeline.config import ExecutorConfig
from ssi_pipeline.executors import local
from ssi_pipeline.executors.dask import DaskExecutor
from ssi_pipeline.executors.forks import starting_settings
from ssi_pipeline.own_process import claim_process
from ssi_pipeline.tasks import RunSpec

WAYS: tuple[tuple[str, Callable[[str], dict[str, str]]], ...] = (
    ("afresh", lambda _: starting_settings("cuda")),
    ("copies, the first in a client", lambda _: starting_settings("cpu")),
    ("copies, the next", lambda _: starting_settings("cpu")),
)


def _own_memory() -> int:
    return int(psutil.Process().memory_full_info().uss)


def measure(workers: int, settings: Callable[[str], dict[str, str]]) -> tuple[float, float]:
    """Start that many workers; returns seconds until all are connected, and each one's own memory in MB."""
    section = ExecutorConfig(kind="dask", workers=workers, memory_gib=2, device="cpu")
    began = time.monotonic()
    with mock.patch.object(local, "starting_settings", settings):
        executor: DaskExecutor = local.open_local(RunSpec("nowhere", "0"), section, workers, 2**31)
    with closing(executor):
        executor._client.wait_for_workers(workers)
        seconds = time.monotonic() - began
        own = executor._client.run(_own_memory).values()
    return seconds, statistics.median(own) / 1e6


def table(workers: int) -> list[str]:
    """Return the lines of a table, a row for each way; this process is taken for that of a command."""
    claim_process()
    lines = ["| workers start | workers | seconds | memory of its own, each (MB) |", "|---|---|---|---|"]
    for name, settings in WAYS:
        seconds, own = measure(workers, settings)
        lines.append(f"| {name} | {workers} | {seconds:.2f} | {own:.0f} |")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--short", action="store_true", help="two workers")
    options = parser.parse_args()
    print("\n".join(table(2 if options.short else options.workers)))


if __name__ == "__main__":
    main()
