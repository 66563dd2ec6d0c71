"""Convert errors of a run that has started to StoppedError, which has an exit status of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ssi_pipeline.errors import SsiError, StoppedError
from ssi_pipeline.redact import redact


def as_stopped(error: SsiError | OSError) -> StoppedError:
    """Return the StoppedError for an error of a started run."""
    return StoppedError(redact(f"stopped: {error}; finished tiles are kept"), error)


@contextmanager
def stopping() -> Iterator[None]:
    """Convert errors raised by the body to StoppedError."""
    try:
        yield
    except StoppedError:
        raise
    except (SsiError, OSError) as error:
        raise as_stopped(error) from error
