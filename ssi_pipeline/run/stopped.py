"""What ends a run that had begun, in words and with an exit status of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ssi_pipeline.errors import SsiError, StoppedError
from ssi_pipeline.redact import redact


def as_stopped(error: SsiError | OSError) -> StoppedError:
    """Return what is said of an error in the middle of a run: whatever it is, what is done stays recorded."""
    return StoppedError(redact(f"stopped: {error}; what is done is recorded"), error)


@contextmanager
def stopping() -> Iterator[None]:
    """Turn whatever goes wrong inside, for a run that has begun, into a StoppedError."""
    try:
        yield
    except StoppedError:
        raise
    except (SsiError, OSError) as error:
        raise as_stopped(error) from error
