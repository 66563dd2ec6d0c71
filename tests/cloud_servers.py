"""Real servers of Azure's and Google's protocols, in processes of their own, where somebody has installed them."""

from __future__ import annotations

import atexit
import base64
import contextlib
import functools
import hmac
import http.client
import json
import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from typing import Literal
from urllib.parse import quote

import pytest
from s3_server import BUCKET, free_port, start_server

ACCOUNT = "ssitests"
TOKEN = "the-token-of-the-tests"
KEY = base64.b64encode(b"the secret of the tests of Azure").decode()


def azurite() -> list[str]:
    """Return Azurite's command for blobs: SSI_AZURITE, or the one of the PATH; empty without one."""
    return shlex.split(os.environ.get("SSI_AZURITE") or shutil.which("azurite-blob") or "")


def fake_gcs() -> list[str]:
    """Return the command of fake-gcs-server: SSI_FAKE_GCS, or the one of the PATH; empty without one."""
    return shlex.split(os.environ.get("SSI_FAKE_GCS") or shutil.which("fake-gcs-server") or "")


needs_azurite = pytest.mark.skipif(
    not azurite(), reason="needs Azurite: npm install azurite, and SSI_AZURITE=node_modules/.bin/azurite-blob"
)

needs_fake_gcs = pytest.mark.skipif(not fake_gcs(), reason="needs fake-gcs-server: SSI_FAKE_GCS is its command")


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


@functools.cache
def _google() -> Cloud:
    port = free_port()
    where = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", f"127.0.0.1:{port}"]
    server = start_server([*fake_gcs(), "-backend", "memory", *where], port, {})
    atexit.register(server.kill)
    _post(port, "/storage/v1/b?project=tests", json.dumps({"name": BUCKET}).encode())
    return Cloud(f"gs://{BUCKET}", f"http://127.0.0.1:{port}", {"GOOGLE_BEARER_TOKEN": TOKEN})


def upload_to_google(cloud: Cloud, key: str, content: bytes) -> None:
    """Write an object by the JSON interface: the server refuses writes by the other one, which obstore uses."""
    name = quote(key, safe="")
    _post(
        int(cloud.endpoint.rpartition(":")[2]), f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}", content
    )


def _post(port: int, path: str, content: bytes) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("POST", path, content)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()


@contextlib.contextmanager
def cloud_server(kind: Literal["azure", "google"]) -> Iterator[Cloud]:
    """Yield the server of this process; the environment has its credentials."""
    before, server = dict(os.environ), {"azure": _azure, "google": _google}[kind]()
    os.environ.update(server.environment)
    try:
        yield server
    finally:
        os.environ.clear()
        os.environ.update(before)
