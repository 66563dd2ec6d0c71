"""The TLS certificate of a run, with dask's scheduler and worker."""

from __future__ import annotations

import asyncio
import datetime
import gc
import stat
from pathlib import Path

import pytest
from cryptography import x509
from distributed import Client, Scheduler, Worker

from ssi_pipeline.executors.slurm.certificates import Certificate


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return Certificate.make(tmp_path / "tls")


def test_it_is_valid_on_a_node_whose_clock_is_late_and_for_months(certificate: Certificate) -> None:
    found = x509.load_pem_x509_certificate(certificate.public.read_bytes())
    now = datetime.datetime.now(tz=datetime.UTC)
    assert found.not_valid_before_utc < now - datetime.timedelta(days=1)
    assert found.not_valid_after_utc > now + datetime.timedelta(days=300)


def test_nobody_else_can_read_it_and_nothing_is_left(certificate: Certificate) -> None:
    assert stat.S_IMODE(certificate.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in certificate.folder.iterdir()} == {0o600}
    Certificate.make(certificate.folder)  # in place of one that a killed client left
    certificate.remove()
    assert not certificate.folder.exists()


def test_who_has_it_can_connect_and_who_has_another_cannot(certificate: Certificate, tmp_path: Path) -> None:
    async def work() -> int:
        security = certificate.security()
        address = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "security": security}
        async with Scheduler(port=0, protocol="tls://", **address) as scheduler:
            async with (
                Worker(scheduler.address, nthreads=1, **address),
                Client(scheduler.address, security=security, asynchronous=True) as client,
            ):
                found: int = await client.submit(sum, [1, 2])
            stranger = Certificate.make(tmp_path / "other").security()
            with pytest.raises(OSError, match="TLS certificate does not match"):
                await Client(scheduler.address, security=stranger, asynchronous=True, timeout="2s")
            gc.collect()  # closes that client now, not within a lock of dask in another test
        return found

    assert asyncio.run(work()) == 3
