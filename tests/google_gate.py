"""Google's requests before the S3 server: obstore's client of ``gs://`` writes here, with conditions.

The two protocols differ in what is used of them by the conditions alone: Google numbers the generations of an object
(``x-goog-generation``) and writes if the number is that of ``x-goog-if-generation-match``, where 0 is no object
(https://cloud.google.com/storage/docs/xml-api/reference-headers). So the gate numbers, compares and refuses; it is no
server of Google's, and what it promises is what their documentation says.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
from collections.abc import Iterator
from itertools import count
from threading import Lock, Thread

from cloud_servers import TOKEN, Cloud
from s3_server import BUCKET, S3, Gate, PatientServer, s3_server

SIGNED = "AWS4-HMAC-SHA256 Credential=TESTKEYID/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
"""Authorization of a request to moto, which asks who it is and does not check the signature."""


NUMBER = "x-amz-meta-generation"
"""Metadata of an object in which the server keeps its number, so that content and number are of one moment."""


class _GoogleGate(Gate):
    numbers, changes = count(1), Lock()

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.headers.replace_header("Authorization", SIGNED)  # it was a token
        if self.command != "PUT":
            self._forward(body)
            return
        with self.changes:
            wanted = self.headers.get("x-goog-if-generation-match")
            if wanted is not None and wanted != self._generation():
                self._answer(412, [], b"<Error><Code>PreconditionFailed</Code></Error>")
                return
            self.headers[NUMBER] = str(next(self.numbers))
            self._forward(body)

    def _generation(self) -> str:
        """Return the number of the object's generation; 0 without an object."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.s3.port, timeout=60)) as connection:
            connection.request("HEAD", self.path, headers={"Authorization": SIGNED})
            return connection.getresponse().headers.get(NUMBER, "0")

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        told = [(name, value) for name, value in headers if name != NUMBER]
        number = self.headers.get(NUMBER) or dict(headers).get(NUMBER)
        super()._answer(status, [*told, *([("x-goog-generation", number)] if number else [])], body)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass


@functools.cache
def _gate(s3: S3) -> PatientServer:
    gate = PatientServer(("127.0.0.1", 0), type("GoogleGateOf", (_GoogleGate,), {"s3": s3}))
    Thread(target=gate.serve_forever, daemon=True).start()
    return gate


@contextlib.contextmanager
def google_gate() -> Iterator[Cloud]:
    """Yield the gate of this process; the environment has a token."""
    with s3_server() as s3:
        os.environ["GOOGLE_BEARER_TOKEN"] = TOKEN
        yield Cloud(f"gs://{BUCKET}", f"http://127.0.0.1:{_gate(s3).server_port}", {"GOOGLE_BEARER_TOKEN": TOKEN})
