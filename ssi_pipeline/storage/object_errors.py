"""Errors of obstore as errors of this package, which say what to do and are told apart by the run."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ssi_pipeline.config.url import Url
from ssi_pipeline.errors import StoreError
from ssi_pipeline.redact import redact

_MOST_TEXT = 300


class StoreDenied(StoreError, PermissionError):
    """The store refuses a request: credentials are missing, wrong or expired."""


@contextmanager
def translated(place: Url) -> Iterator[None]:
    """Translate errors of requests; missing objects, and conditions that are not met, stay what they are.

    Raises
    ------
    StoreDenied, StoreError
        The request was refused; or not answered, also when repeated.
    """
    from obstore.exceptions import (
        AlreadyExistsError,
        BaseError,
        PermissionDeniedError,
        PreconditionError,
        UnauthenticatedError,
    )

    try:
        yield
    except (AlreadyExistsError, PreconditionError):
        raise
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise _denied(place, error) from error
    except BaseError as error:
        raise _unreachable(place, error) from error


def _denied(place: Url, error: Exception) -> StoreDenied:
    problem = StoreDenied(
        f"{place}: access denied ({_short(error)}); check the credentials in the environment, whether they have "
        "expired, and, for public data, storage.anonymous: true. Where a bucket may not be listed, missing objects are "
        "reported in this way, too"
    )
    problem.errno = errno.EACCES
    return problem


def _unreachable(place: Url, error: Exception) -> StoreError:
    problem = StoreError(
        f"{place}: the store does not answer as expected ({_short(error)}); check the network, the name of the bucket, "
        "the variables of its kind of store, storage.endpoint and storage.region"
    )
    problem.errno = errno.ETIMEDOUT
    return problem


def lost(place: Url) -> StoreError:
    """Return the error of an image whose metadata are not there any more: the store has said so, waiting is no use."""
    problem = StoreError(
        f"{place} has no zarr metadata any more: the bucket was emptied, or the server lost its data; restore it, and "
        "run again"
    )
    problem.errno = errno.EPERM  # stops the run, as a store that denies does
    return problem


def _short(error: Exception) -> str:
    """Return the first part of a message: what follows "Debug source" repeats it."""
    return redact(" ".join(str(error).partition("Debug source")[0].split()))[:_MOST_TEXT]
