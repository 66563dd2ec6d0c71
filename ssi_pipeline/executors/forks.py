"""Start worker processes as copies of one process that has imported what every tile needs.

The imports take 2 s of CPU time and 150 MB for each process. As copies, workers start in a fraction of a second and
share that memory, and a slow file system is asked for the libraries once. The process that is copied stays, with the
threads, signals and limits of its start, until this one ends: not in a program of others.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any, Literal

import dask
from distributed.utils import get_mp_context

from ssi_pipeline.own_process import is_own_process

_METHOD = "distributed.worker.multiprocessing-method"

_REMOVED = "SSI_REMOVED_VARIABLES"
"""Variable of a worker: names of those that its client no longer has, separated by spaces."""

_known: set[str] = set()
"""Names of all variables that the process to be copied may have: it keeps those of the first run in this client."""


def starting_settings(device: Literal["auto", "cpu", "cuda"]) -> dict[str, Any]:
    """Return dask's configuration of how worker processes start: as copies for commands on the CPU, else afresh.

    The driver of a GPU does not survive a copy, nor do the system libraries of macOS.
    """
    copies = device == "cpu" and sys.platform == "linux" and is_own_process()
    return {_METHOD: "forkserver" if copies else "spawn"}


def prepare_copies(module: str) -> dict[str, str]:
    """Start the process to be copied, which imports a module, and return the variables of the next workers.

    They get those of this process, whatever the copied process has; none if they start afresh. Once it runs, the
    module has no effect.
    """
    if dask.config.get(_METHOD) != "forkserver":
        return {}
    get_mp_context()  # sets dask's own list, once
    multiprocessing.set_forkserver_preload(["distributed", module])
    own = {name: str(value) for name, value in dask.config.get("distributed.nanny.pre-spawn-environ").items()}
    # python -c would import from the working directory first, and not from what was added to the path
    path = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with _variables({**own, **path}):
        forkserver.ensure_running()
    _known.update(path)
    environ = {**os.environ, **own}
    gone = sorted(_known - set(environ))
    _known.update(environ)
    return {**environ, **({_REMOVED: " ".join(gone)} if gone else {})}


def remove_variables(environ: MutableMapping[str, str]) -> None:
    """Remove the variables that the client no longer has; called in a worker."""
    for name in environ.pop(_REMOVED, "").split():
        environ.pop(name, None)


@contextmanager
def _variables(changed: dict[str, str]) -> Iterator[None]:
    """Set variables of this process while the body runs."""
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
