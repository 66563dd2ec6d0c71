"""One thread per numerical library, so that tests do not compete for cores; no waiting for the disk; the long form."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator

import pytest
from cloud_servers import Cloud, cloud_server
from google_gate import google_gate
from hypothesis import settings
from s3_server import S3, s3_server

from ssi_pipeline.own_process import claim_process

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read when torch and numpy's BLAS are first imported

claim_process()  # local workers start as those of the command do

# under nohup, SIGHUP would be ignored in all that the tests start too; a handler goes on ignoring it here alone
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


def _fsync(descriptor: int) -> None:
    """Check the descriptor as ``os.fsync`` does, and do not wait for the disk: no test cuts the power.

    A small run makes 300 calls, 5 ms each: half of the time of many modules. The long form, the processes that tests
    start, and tests/integration/test_sync.py wait.
    """
    os.fstat(descriptor)


if not os.environ.get("SSI_LONG"):
    _fsync.__wrapped__ = os.fsync  # type: ignore[attr-defined]  # for inspect.unwrap
    os.fsync = _fsync  # type: ignore[assignment]

# derandomised: the same examples on every machine; no deadline: shared machines pause
settings.register_profile("bounded", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("wide", max_examples=2000, deadline=None)  # pytest --hypothesis-profile=wide
settings.load_profile("bounded")


_ORDER = (("slurm", "netfs"), ("contract", "integration", "validators"), ("test_solve", "test_sensor_estimate"))
"""Folders and modules in their order: the first wait for SLURM and for file systems more than they compute,
the others take minutes each. Last, one of them would run alone, and a processor would be idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest modules first; skip the long form, which repeats a mechanism, unless SSI_LONG is set."""
    items.sort(key=lambda item: [not {item.path.parent.name, item.path.stem} & set(first) for first in _ORDER])
    if os.environ.get("SSI_LONG"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="belongs to the long form: SSI_LONG=1 make test"))


def pytest_collection_finish() -> None:
    """Leave modules and tests, a million objects, out of later garbage collections."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def s3() -> Iterator[S3]:
    """A real S3 server with a bucket, the same for all tests of a process, without faults and requests of others."""
    with s3_server() as found:
        yield found


@pytest.fixture
def google() -> Iterator[Cloud]:
    """The S3 server behind a gate that takes the requests of Google's protocol."""
    with google_gate() as found:
        yield found


@pytest.fixture
def azure() -> Iterator[Cloud]:
    """A server of Azure's protocol with a container, the same for all tests of a process."""
    with cloud_server("azure") as found:
        yield found
