"""Real servers of Azure's and Google's protocols, in processes of their own, where somebody has installed them."""

from __future__ import annotations

import atexit
import base64
import contextlib
import functools
import hmac
import http.client
import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate

import pytest
from s3_server import BUCKET, free_port, start_server

ACCOUNT = "ssitests"
KEY = base64.b64encode(b"the secret of the tests of Azure").decode()


def azurite() -> list[str]:
    """Return Azurite's command for blobs: SSI_AZURITE, or the one of the PATH; empty without one."""
    return shlex.split(os.environ.get("SSI_AZURITE") or shutil.which("azurite-blob") or "")


needs_azurite = pytest.mark.skipif(
    not azurite(), reason="needs Azurite: npm install azurite, and SSI_AZURITE=node_modules/.bin/azurite-blob"
)


@dataclass(frozen=True)
class Cloud:
    """A server with an empty bucket (container). ``root``: its URL; ``environment``: credentials."""

    root: str
    endpoint: str
    environment: dict[str, str]


@functools.cache
def _azure() -> Cloud:
    port = free_port()
    command = [*azurite(), "--blobPort", str(port), "--inMemoryPersistence", "--silent", "--skipApiVersionCheck"]
    server = start_server(command, port, {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"})
    atexit.register(server.kill)
    _make_container(port)
    credentials = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": KEY}
    return Cloud(f"az://{BUCKET}", f"http://127.0.0.1:{port}/{ACCOUNT}", credentials)


def _make_container(port: int) -> None:
    """Make the container; obstore cannot. Signed as Azure's "Authorize with Shared Key" says."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
    path = f"/{ACCOUNT}/{BUCKET}"
    signed = ["PUT", *[""] * 11, *(f"{name}:{value}" for name, value in headers.items())]
    text = "\n".join([*signed, f"/{ACCOUNT}{path}", "restype:container"])
    signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), "sha256")).decode()
    headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("PUT", f"{path}?restype=container", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()


@contextlib.contextmanager
def azure_server() -> Iterator[Cloud]:
    """Yield the server of this process; the environment has its credentials."""
    before, server = dict(os.environ), _azure()
    os.environ.update(server.environment)
    try:
        yield server
    finally:
        os.environ.clear()
        os.environ.update(before)
