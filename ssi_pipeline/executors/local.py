"""Start dask workers on this machine, or connect to a running scheduler."""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import dask
from distributed import Client, Security

from ssi_pipeline.config import ExecutorConfig
from ssi_pipeline.errors import ConfigError, ExecutorError
from ssi_pipeline.executors.connect import connect
from ssi_pipeline.executors.dask import DaskExecutor
from ssi_pipeline.executors.dask_settings import dashboard_address, scheduler_settings, worker_settings
from ssi_pipeline.executors.forks import prepare_copies, starting_settings
from ssi_pipeline.executors.gpus.cluster import start_card_cluster
from ssi_pipeline.executors.gpus.sharing import own_cards
from ssi_pipeline.executors.gpus.visible import hidden_cards
from ssi_pipeline.executors.local_fleet import LocalFleet
from ssi_pipeline.executors.signals import signals_for_the_client_alone
from ssi_pipeline.executors.watch import TimeLimit
from ssi_pipeline.tasks import RunSpec

_PATIENCE = "10 minutes"
"""Dask closes the nanny of a worker that is missing for this time, also during a slow restart on a busy machine, and
the tasks of the new process are lost. Dask reads the setting whenever a worker leaves. ``LocalFleet`` replaces workers
that have left permanently."""

_START_TIMEOUT = "120s"
_CONNECT_TIMEOUT = "20s"

WARM = "ssi_pipeline.executors.warm"
"""Module that workers import at their start."""


def open_local(
    spec: RunSpec, section: ExecutorConfig, workers: int, memory: int, log: Callable[[str], None] = print
) -> DaskExecutor:
    """Start worker processes on this machine; they accept connections from this machine only.

    Raises
    ------
    ExecutorError
        They cannot be started.
    """
    starting = starting_settings(section.device)
    settings = {**scheduler_settings(section.dashboard), **worker_settings(section.threads), **starting}
    cluster = None
    try:
        with dask.config.set(settings), signals_for_the_client_alone():
            cluster = _start(section, workers, memory)
            client = connect(cluster, _START_TIMEOUT)
        fleet, limit = LocalFleet(cluster, workers, log), TimeLimit(section.tile_limit_s)
        # of workers that are replaced: set after those above, whose end takes back what was set meanwhile
        patient = dask.config.set({"distributed.deploy.lost-worker-timeout": _PATIENCE, **starting})
        closing = partial(patient.__exit__, None, None, None)
        return DaskExecutor(spec, client, cluster, fleet=fleet, limit=limit, closing=closing, log=log)
    except (OSError, RuntimeError, TimeoutError) as error:
        if cluster is not None:
            cluster.close(timeout=10)
        raise ExecutorError(f"cannot start the {workers} local workers: {error}") from error


def _start(section: ExecutorConfig, workers: int, memory: int) -> Any:
    return start_card_cluster(
        workers,
        _environments(section, workers),
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        # dask's protocol executes code: without certificates any user of this machine could run code as this user
        security=Security.temporary(),
        dashboard_address=dashboard_address(section.dashboard),
        memory_limit=memory,
        preload=[*dask.config.get("distributed.worker.preload", default=[]), WARM],
        silence_logs=logging.CRITICAL,
    )


def _environments(section: ExecutorConfig, workers: int) -> list[dict[str, str]]:
    """Return the environment of each worker, which selects its GPU, or none on the CPU."""
    if section.device == "cpu":
        return [{**prepare_copies(WARM), **hidden_cards()}]
    cards = own_cards(section)
    return [cards.environment(number, os.environ) for number in range(workers)]


def open_remote(spec: RunSpec, section: ExecutorConfig, log: Callable[[str], None] = print) -> DaskExecutor:
    """Use the workers of a running scheduler.

    Raises
    ------
    ConfigError
        The connection to another machine is not encrypted, and ``executor.allow_unencrypted`` is not set.
    ExecutorError
        No scheduler answers at the address, or it has no workers.
    """
    address = section.address or ""
    refuse_open_connection(address, section.allow_unencrypted)
    try:
        client = connect(address, _CONNECT_TIMEOUT)
    except ConnectionError as error:
        raise ExecutorError(f"no dask scheduler answers at executor.address {address}: {error}") from error
    try:
        client.wait_for_workers(1, timeout=60)
    except TimeoutError as error:
        client.close()
        raise ExecutorError(f"the dask scheduler at {address} had no workers for 60 s: start some") from error
    return DaskExecutor(spec, client, limit=TimeLimit(section.tile_limit_s), log=log)


def use_client(
    spec: RunSpec, section: ExecutorConfig, client: Client, log: Callable[[str], None] = print
) -> DaskExecutor:
    """Use the workers of a client that belongs to the caller; it stays open."""
    return DaskExecutor(spec, client, limit=TimeLimit(section.tile_limit_s), log=log, owned=False)


def refuse_open_connection(address: str, allowed: bool) -> None:
    """Refuse a scheduler on another machine without TLS: anyone who can connect can run code as its user.

    Raises
    ------
    ConfigError
        The connection is not encrypted, and ``executor.allow_unencrypted`` is not set.
    """
    place = urlsplit(address if "://" in address else f"tcp://{address}")
    if allowed or place.scheme != "tcp" or _is_loopback(place.hostname or ""):
        return
    raise ConfigError(
        f"executor.address {address} is on another machine, without encryption: anyone on the network can run code "
        "there. Start the scheduler with TLS (tls://, with distributed.comm.tls in dask's configuration), or, if the "
        "network is private, set executor.allow_unencrypted: true"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
