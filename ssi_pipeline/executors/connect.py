"""Connect to a dask scheduler, and leave nothing behind where that fails."""

from __future__ import annotations

import gc
from typing import Any

from distributed import Client


def connect(scheduler: Any, timeout: str) -> Client:
    """Return a client of a scheduler, given by its address or as a cluster.

    A client that failed to connect is kept alive by a cycle of references. The garbage collector would close it at any
    moment, also while dask holds the lock for which closing waits: the process would hang (it did). It is closed here.

    Raises
    ------
    ConnectionError
        In dask's words: nobody answers, the address is invalid, or the certificates do not fit or are missing.
    """
    try:
        return Client(scheduler, timeout=timeout)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        why = str(error) or type(error).__name__
    gc.collect()  # the error, with the frames that it refers to, is gone here
    raise ConnectionError(why)
