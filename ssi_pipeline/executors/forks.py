"""Start worker processes as copies of one process that has imported what every tile needs.

The imports take 2 s of CPU time and 150 MB for each process. As copies, workers start in a fraction of a second and
share that memory, and a slow file system is asked for the libraries once.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import dask
from distributed.utils import get_mp_context

_METHOD = "distributed.worker.multiprocessing-method"

_REMOVED = "SSI_REMOVED_VARIABLES"
"""Variable of a worker: names of those that its client no longer has, separated by spaces."""

_known: set[str] = set()
"""Names of all variables that the process to be copied may have: it keeps those of the first run in this client."""


def starting_settings(device: Literal["auto", "cpu", "cuda"]) -> dict[str, Any]:
    """Return dask's configuration of how worker processes start: as copies on the CPU, afresh with a GPU.

    The driver of a GPU does not survive a copy. The system libraries of macOS do not either.
    """
    return {_METHOD: "forkserver" if device == "cpu" and sys.platform == "linux" else "spawn"}


def prepare_copies(module: str) -> dict[str, str]:
    """Choose the module that the process to be copied imports, and return the variables of the next workers.

    They get those of this process, whatever the copied process has; none if they start afresh. The process that is
    copied starts with the first worker and stays until this process ends: later modules have no effect.
    """
    if dask.config.get(_METHOD) != "forkserver":
        return {}
    get_mp_context()  # sets dask's own list, once
    multiprocessing.set_forkserver_preload(["distributed", module])
    own = {name: str(value) for name, value in dask.config.get("distributed.nanny.pre-spawn-environ").items()}
    environ = {**os.environ, **own}
    gone = sorted(_known - set(environ))
    _known.update(environ)
    return {**environ, **({_REMOVED: " ".join(gone)} if gone else {})}


def remove_variables(environ: MutableMapping[str, str]) -> None:
    """Remove the variables that the client no longer has; called in a worker."""
    for name in environ.pop(_REMOVED, "").split():
        environ.pop(name, None)
