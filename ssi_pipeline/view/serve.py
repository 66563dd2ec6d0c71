"""Serve a folder on loopback for a viewer in a browser: read only, by byte ranges, at an address nobody can guess."""

from __future__ import annotations

import re
import secrets
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

HOST = "127.0.0.1"

_PIECE = 1 << 20
_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


class _Handler(BaseHTTPRequestHandler):
    """Answers GET, HEAD and the questions of browsers before these (OPTIONS), below ``/TOKEN/``."""

    protocol_version = "HTTP/1.1"  # one connection for many chunks
    # or each chunk waits until the client has confirmed its header, 40 ms
    disable_nagle_algorithm = True
    server_version = "ssi"

    def __init__(self, *arguments: object, folder: Path, token: str, origin: str) -> None:
        self._folder, self._token, self._origin = folder, token, origin
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_OPTIONS(self) -> None:
        """Allow the page of the viewer to read, also from the network into loopback."""
        self.send_response(HTTPStatus.NO_CONTENT)
        self.send_header("Access-Control-Allow-Methods", "GET, HEAD")
        self.send_header("Access-Control-Allow-Headers", "Range")
        self.send_header("Access-Control-Allow-Private-Network", "true")
        self._end(0)

    def do_HEAD(self) -> None:
        """Answer as GET, without the content."""
        self._answer(send=False)

    def do_GET(self) -> None:
        """Send a file, or the part of it that is asked for; 404 for what does not exist, as of a chunk not written."""
        self._answer(send=True)

    def _answer(self, send: bool) -> None:
        file = self._file()
        if file is None:
            self.send_response(HTTPStatus.NOT_FOUND)
            return self._end(0)
        with file.open("rb") as stream:
            size = file.stat().st_size
            part = _part(self.headers.get("Range"), size)
            if part is None:
                self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                self.send_header("Content-Range", f"bytes */{size}")
                return self._end(0)
            start, stop = part
            whole = "Range" not in self.headers
            self.send_response(HTTPStatus.OK if whole else HTTPStatus.PARTIAL_CONTENT)
            if not whole:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
            self.send_header(
                "Content-Type", "application/json" if file.suffix == ".json" else "application/octet-stream"
            )
            self.send_header("Accept-Ranges", "bytes")
            self._end(stop - start)
            if send:
                stream.seek(start)
                while start < stop and (data := stream.read(min(_PIECE, stop - start))):
                    self.wfile.write(data)
                    start += len(data)
        return None

    def _end(self, length: int) -> None:
        self.send_header("Access-Control-Allow-Origin", self._origin)
        self.send_header("Access-Control-Expose-Headers", "Content-Range, Content-Length, Accept-Ranges")
        self.send_header("Cache-Control", "no-cache")  # a run in progress writes chunks
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _file(self) -> Path | None:
        """Return the file of the address, None where there is none or the address leads elsewhere."""
        _, token, *rest = unquote(urlsplit(self.path).path).split("/")
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            return None
        try:
            file = self._folder.joinpath(*rest).resolve()
            inside = file.is_relative_to(self._folder) and file.is_file()
        except (OSError, ValueError):  # names that no file can have
            return None
        return file if inside else None

    def log_message(self, *_: object) -> None:
        """Say nothing: there is a request for each chunk."""


def _part(text: str | None, size: int) -> tuple[int, int] | None:
    """Return start and stop of a range of bytes, all without one, None for one that does not exist."""
    if text is None:
        return 0, size
    found = _RANGE.match(text)
    if found is None or found[1] + found[2] == "":
        return None
    if found[1] == "":  # the last bytes, where a shard has its index
        start, stop = max(0, size - int(found[2])), size
    else:
        start, stop = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
    return (start, stop) if start < stop else None


class _Server(ThreadingHTTPServer):
    """A viewer asks for many chunks at once; Python's own queue holds 5, and each further one waits a second."""

    daemon_threads = True
    request_queue_size = 128


def folder_server(folder: Path, origin: str, port: int = 0) -> tuple[ThreadingHTTPServer, str]:
    """Return a server of a folder and the folder's address; ``serve_forever`` starts it.

    Parameters
    ----------
    folder
        What is served; nothing above it can be reached, also not by links.
    origin
        The page whose scripts may read, e.g. ``https://example.org``.
    port
        Of loopback; 0: any that is free.

    Raises
    ------
    OSError
        The port is in use.
    """
    token = secrets.token_urlsafe(16)
    handler = partial(_Handler, folder=folder.resolve(), token=token, origin=origin)
    server = _Server((HOST, port), handler)
    return server, f"http://{HOST}:{server.server_address[1]}/{token}"
