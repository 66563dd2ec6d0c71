"""Rows and lines of `ssi status --watch`, as plain text."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ssi_pipeline.results.following import following_rows
from ssi_pipeline.results.status import RunStatus, describe_client, describe_tiles, retry_command
from ssi_pipeline.words import duration, per_time

_ACTIVE_SECONDS = 600.0
_ACTIVE_TILES = 3.0
"""A worker counts as active if it finished a task in this time: ten minutes, or the time of three tiles."""

_MOST_HOSTS = 8
_MOST_FAILURES = 3


@dataclass(frozen=True, slots=True)
class Host:
    """Active worker processes of one machine, and the number of tiles that they solved."""

    name: str
    workers: int
    tiles: int
    seconds_ago: float


def view_rows(status: RunStatus, config: str, now: float) -> list[tuple[str, str]]:
    """Return the rows of one update, name and text; ``now``: seconds since 1970."""
    rows = [
        *_time_points(status),
        ("tiles", f"{describe_tiles(status)}, of {status.tiles}"),
        ("blocks", f"{status.blocks_done} of {status.blocks} written"),
        ("rate", describe_rate(status)),
        ("client", _client(status)),
    ]
    hosts = recent_hosts(status, now)
    if hosts:
        rows.append(("workers", f"{sum(host.workers for host in hosts)} active, on {len(hosts)} host(s)"))
        rows.extend(("", _host(host)) for host in hosts[:_MOST_HOSTS])
        if len(hosts) > _MOST_HOSTS:
            rows.append(("", f"and {len(hosts) - _MOST_HOSTS} more hosts"))
    if status.failures:
        rows.extend((f"{key} failed", error) for key, error in reversed(status.failures[-_MOST_FAILURES:]))
        rows.append(("next step", retry_command(config)))
    return rows


def plain_line(status: RunStatus, now: float) -> str:
    """Return one update as a line, for a log."""
    hosts = recent_hosts(status, now)
    parts = [
        f"tiles: {describe_tiles(status)}",
        f"blocks: {status.blocks_done} of {status.blocks}",
        *(f"{name}: {text}" for name, text in _time_points(status)[:1]),
        describe_rate(status),
        f"{sum(host.workers for host in hosts)} worker(s) active",
        f"client {_client(status)}",
    ]
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))} {'; '.join(parts)}"


def _time_points(status: RunStatus) -> list[tuple[str, str]]:
    seen = status.following
    return [] if seen is None else following_rows(seen, status.frames_written, status.running)


def describe_rate(status: RunStatus) -> str:
    """Return the current rate, and the remaining time at that rate."""
    if not status.rate:
        return "no tile solved recently"
    left = status.tiles_pending + status.tiles_running
    ends = f", {duration(left / status.rate)} left" if left and status.running else ""
    return f"{per_time(status.rate)}{ends}"


def recent_hosts(status: RunStatus, now: float) -> list[Host]:
    """Return the machines with active workers, the last active first."""
    active = max(_ACTIVE_SECONDS, _ACTIVE_TILES * (status.mean_tile_seconds or 0.0))
    found: dict[str, Host] = {}
    for name, worker in status.workers.items():
        if now - worker.last > active:
            continue
        machine = name.rpartition(":")[0] or name
        host = found.get(machine, Host(machine, 0, 0, now - worker.last))
        ago = max(0.0, min(host.seconds_ago, now - worker.last))
        found[machine] = Host(machine, host.workers + 1, host.tiles + worker.tiles, ago)
    return sorted(found.values(), key=lambda host: (host.seconds_ago, host.name))


def bar_cells(counts: Sequence[int], width: int) -> list[int]:
    """Divide ``width`` cells among counts; every count above zero gets at least one, so a single failure is visible."""
    total = sum(counts)
    if not total:
        return [0 for _ in counts]
    cells = [max(1, count * width // total) if count else 0 for count in counts]
    for _ in range(abs(width - sum(cells))):  # rounding errors go to the largest part
        cells[_largest(cells)] += 1 if sum(cells) < width else -1
    return cells


def _largest(values: Iterable[int]) -> int:
    return max(enumerate(values), key=lambda item: item[1])[0]


def _client(status: RunStatus) -> str:
    stage = f" ({status.live.stage})" if status.live else ""
    return f"{describe_client(status)}{stage}"


def _host(host: Host) -> str:
    return f"{host.name}: {host.workers} worker(s), {host.tiles} tiles, last {duration(host.seconds_ago)} ago"
