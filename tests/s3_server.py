"""A real S3 server (moto) in a process of its own, and a gate before it that counts requests and injects faults."""

from __future__ import annotations

import atexit
import contextlib
import functools
import http.client
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

import pytest

BUCKET = "tests"
KEYS = {"AWS_ACCESS_KEY_ID": "TESTKEYID", "AWS_SECRET_ACCESS_KEY": "the-secret-of-the-tests", "AWS_REGION": "us-east-1"}

needs_s3 = pytest.mark.skipif(
    importlib.util.find_spec("moto") is None or importlib.util.find_spec("obstore") is None,
    reason="needs moto and obstore: pip install '.[dev]'",
)

Fault = Callable[[str, str, int], int | float | None]
"""From method, path and the number of the request to an HTTP status, a delay in seconds, or nothing."""


class PatientServer(ThreadingHTTPServer):
    """Python's own queue holds 5 connections: each further one would wait a second for its next try."""

    request_queue_size = 128


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


@dataclass(eq=False)
class S3:
    """Server and gate. ``endpoint``: of the gate. ``requests``: method and path of each since ``forget``."""

    port: int
    process: subprocess.Popen[bytes] = field(init=False)
    fault: Fault = lambda method, path, n: None
    requests: list[tuple[str, str]] = field(default_factory=list)
    gate: PatientServer | None = None

    @property
    def endpoint(self) -> str:
        assert self.gate is not None
        return f"http://127.0.0.1:{self.gate.server_port}"

    def forget(self) -> None:
        self.requests.clear()
        self.fault = lambda method, path, n: None

    def start(self) -> None:
        """Start the server, with an empty bucket; also after it was killed."""
        self.process = start_moto(self.port)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("PUT", f"/{BUCKET}")
        assert connection.getresponse().status == 200


class Gate(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each content waits until the client has confirmed its header, 40 ms
    lock, one_at_a_time = Lock(), Lock()
    s3: S3

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.lock:
            self.s3.requests.append((self.command, self.path))
            number = len(self.s3.requests)
        fault = self.s3.fault(self.command, self.path, number)
        if isinstance(fault, float):
            time.sleep(fault)
        elif fault is not None:
            self._answer(fault, [], b"<Error><Code>Injected</Code></Error>")
            return
        # moto looks and then writes; S3 does both in one step
        conditional = self.command == "PUT" and ("If-Match" in self.headers or "If-None-Match" in self.headers)
        with self.one_at_a_time if conditional else contextlib.nullcontext():
            self._forward(body)

    def _forward(self, body: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.s3.port, timeout=60)
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            found = connection.getresponse()
            answer = found.status, found.getheaders(), found.read()
        except (OSError, http.client.HTTPException):  # the server is down
            answer = 503, [], b""
        finally:
            connection.close()
        self._answer(*answer)

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = next((v for n, v in headers if n.lower() == "content-length"), str(len(body)))
        self.send_header("Content-Length", length)
        with contextlib.suppress(ConnectionError):  # the client was killed
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass

    def log_message(self, *_: object) -> None:
        return


def start_server(command: list[str], port: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a server, without the credentials that a test sets, and wait until its port answers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AZURE_", "GOOGLE_"))}
    process = subprocess.Popen(command, env=kept | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return process
        assert process.poll() is None, f"{command} ended"
        time.sleep(0.1)
    raise AssertionError(f"{command} does not answer")


def start_moto(port: int) -> subprocess.Popen[bytes]:
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    return start_server([sys.executable, "-c", code], port, {})


@functools.cache
def _running() -> S3:
    """Start server and gate, once in a process of tests: the server takes seconds to import."""
    server = S3(free_port())
    server.start()
    gate = type("Gate", (Gate,), {"s3": server})
    server.gate = PatientServer(("127.0.0.1", 0), gate)
    Thread(target=server.gate.serve_forever, daemon=True).start()
    atexit.register(lambda: server.process.send_signal(signal.SIGKILL))
    return server


@contextlib.contextmanager
def s3_server() -> Iterator[S3]:
    """Yield the server of this process, without faults; the environment has its credentials."""
    before = dict(os.environ)
    server = _running()
    os.environ.update(KEYS)
    server.forget()
    try:
        yield server
    finally:
        os.environ.clear()
        os.environ.update(before)
