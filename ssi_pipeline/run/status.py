"""Where a run stands, from its ledger and the client's last words; imports neither torch nor dask."""

from __future__ import annotations

import itertools
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ssi_pipeline.config import RunConfig
from ssi_pipeline.run.prepare import task_counts
from ssi_pipeline.run.progress import Snapshot, duration, per_time, read_snapshot
from ssi_pipeline.run.verify import open_context
from ssi_pipeline.storage.ledger import DONE, FAILED, read_records, read_states
from ssi_pipeline.storage.lock import look_at_lock
from ssi_pipeline.storage.parts import ledger_paths, working_parts

_MOST_FAILURES = 20
_MOST_CLIENTS = 4


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Counts of tiles and blocks; ``live`` is there while a client works; failures with their cause; who works."""

    tiles: int
    tiles_done: int
    tiles_failed: int
    blocks: int
    blocks_done: int
    mean_tile_seconds: float | None
    last_finished: float | None
    live: Snapshot | None
    running: bool
    failures: tuple[tuple[str, str], ...]
    methods: dict[str, int]
    clients: tuple[str, ...] = ()

    @property
    def seconds_since_last(self) -> float | None:
        """Time since a task last finished."""
        return None if self.last_finished is None else time.time() - self.last_finished


def read_status(config: RunConfig) -> RunStatus:
    """Return where the run of a configuration stands."""
    context = open_context(config)
    ledgers = ledger_paths(context.paths)
    state = read_states(ledgers, task_counts(context))
    seconds, last, failures, methods = _tiles_of(ledgers)
    client = look_at_lock(context.paths.lock)
    parts = working_parts(context.paths)
    running = client is not None or bool(parts)
    return RunStatus(
        tiles=context.plan.n_tiles,
        tiles_done=state.count("solve", DONE),
        tiles_failed=state.count("solve", FAILED),
        blocks=context.plan.n_blocks,
        blocks_done=state.count("stitch", DONE),
        mean_tile_seconds=seconds,
        last_finished=last,
        live=read_snapshot(context.paths.progress) if client is not None else None,
        running=running,
        failures=failures,
        methods=methods,
        clients=tuple([str(client)] if client is not None else [str(held) for _, held in parts]),
    )


def _tiles_of(ledgers: list[Path]) -> tuple[float | None, float | None, tuple[tuple[str, str], ...], dict[str, int]]:
    """Mean seconds, last finish, failures by key, tiles by method; of a task done twice the last record counts."""
    total, count, last = 0.0, 0, None
    failures: dict[str, str] = {}
    methods: dict[int, str] = {}
    for record in itertools.chain.from_iterable(map(read_records, ledgers)):
        last = max(last or 0.0, record.finished) or None
        if record.status == "failed":
            failures[record.key] = record.error or "unknown"
        else:
            failures.pop(record.key, None)
        if record.kind == "solve":
            methods.pop(record.index, None)
        if record.kind == "solve" and record.status == "done":
            total, count = total + record.seconds, count + 1
            methods[record.index] = sys.intern(str(record.quality.get("method", "?")))
    shown = tuple(itertools.islice(failures.items(), _MOST_FAILURES))
    return (total / count if count else None), last, shown, dict(Counter(methods.values()))


def describe_status(status: RunStatus) -> list[tuple[str, str]]:
    """Return the rows that `ssi status` prints."""
    running = status.live.running if status.live else 0
    running = min(running, status.tiles - status.tiles_done - status.tiles_failed)
    todo = status.tiles - status.tiles_done - status.tiles_failed - running
    rows = [
        ("tiles", f"{status.tiles_done} done, {running} under way, {status.tiles_failed} failed, {todo} to do"),
        ("blocks", f"{status.blocks_done} of {status.blocks} written"),
    ]
    if status.methods:
        rows.append(("solved by", ", ".join(f"{name} {count}" for name, count in sorted(status.methods.items()))))
    if status.mean_tile_seconds is not None:
        rows.append(("time a tile", f"{status.mean_tile_seconds:.1f} s"))
    if status.live is not None and status.live.rate:
        left = "" if status.live.left_s is None else f", {duration(status.live.left_s)} left"
        rows.append(("rate", f"{per_time(status.live.rate)} ({status.live.stage}){left}"))
    rows.append(("client", _client(status)))
    rows.extend((f"{key} failed", error) for key, error in status.failures)
    return rows


def _client(status: RunStatus) -> str:
    if status.running:
        shown = "; ".join(status.clients[:_MOST_CLIENTS])
        more = len(status.clients) - _MOST_CLIENTS
        return f"running ({shown}{f'; and {more} more' if more > 0 else ''})"
    if status.blocks_done == status.blocks:
        return "not running; all blocks are written"
    since = "" if status.seconds_since_last is None else f" since {duration(status.seconds_since_last)}"
    return f"not running{since}; `ssi run` resumes"
