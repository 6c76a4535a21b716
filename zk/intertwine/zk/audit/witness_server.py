"""A witness over HTTP: POST /add-checkpoint, GET /checkpoint/DIGEST, GET /healthz.

A connection carries one request, of bounded size and time, and few are served at once. No stack trace ever
leaves. TLS is the business of a proxy in front of it.
"""

import io
import logging
import socket
import socketserver
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from intertwine.protocols.errors import InputError, IntertwineError, VerificationError
from intertwine.protocols.witnessing import MAX_REQUEST_BYTES
from intertwine.zk.audit.witness import ConflictError, UnknownLogError, Witness

REQUEST_S = 10.0
"""Seconds that a peer has for sending all of its request, and again for taking the answer."""
MAX_CONNECTIONS = 32
_MAX_HEADER_BYTES = 16 << 10
_TEXT = "text/plain; charset=utf-8"
_log = logging.getLogger(__name__)


class WitnessServer(ThreadingHTTPServer):
    """Serves one witness; beyond 32 connections at once, further ones are closed unread."""

    request_queue_size = 2 * MAX_CONNECTIONS

    def __init__(self, witness: Witness, host: str, port: int) -> None:
        """port: 0 for any free one. InputError if the port cannot be had."""
        self.witness = witness
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise InputError(
                f"Port {port} on {host} cannot be used: {error.strerror or error}.", "Choose another --port."
            ) from error

    @property
    def url(self) -> str:
        """Where the witness answers on this machine."""
        host, port = self.socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def server_bind(self) -> None:
        """As the base class, without asking a name server what this machine is called."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "witness", self.socket.getsockname()[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, if there is room."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection, then make room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that went away is no event; the base class would print a stack trace."""
        expected = isinstance(sys.exception(), OSError)
        level = logging.DEBUG if expected else logging.ERROR
        _log.log(level, "a connection from %s ended early", client_address, exc_info=True)


class _Inbox(io.RawIOBase):
    """What a connection may send: so many bytes, in so much time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._left = _MAX_HEADER_BYTES + MAX_REQUEST_BYTES
        self._end = time.monotonic() + REQUEST_S

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what has come; 0 at the end or beyond the bound; TimeoutError once the time is over."""
        if (remaining := self._end - time.monotonic()) <= 0:
            raise TimeoutError
        self._connection.settimeout(remaining)
        count = self._connection.recv_into(memoryview(buffer)[: self._left]) if self._left else 0
        self._left -= count
        return count


class _Handler(BaseHTTPRequestHandler):
    server: WitnessServer
    server_version, sys_version = "intertwine-witness", ""
    error_message_format, error_content_type = "%(message)s\n", _TEXT

    def setup(self) -> None:
        """Bound what the peer may send."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Inbox(self.connection))

    def do_POST(self) -> None:
        """Take a checkpoint."""
        if self.path != "/add-checkpoint":
            self._answer(HTTPStatus.NOT_FOUND, "There is nothing here; POST to /add-checkpoint.")
            return
        declared = self.headers.get("Content-Length", "")
        if not (declared.isascii() and declared.isdigit()):
            self._answer(HTTPStatus.LENGTH_REQUIRED, "The request does not declare its length.")
        elif len(declared) > 6 or int(declared) > MAX_REQUEST_BYTES:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"More than {MAX_REQUEST_BYTES} bytes.")
        else:
            body = self.rfile.read(int(declared))
            self._add(body)

    def do_GET(self) -> None:
        """Show what was co-signed."""
        note = self.server.witness.latest(self.path)
        if self.path == "/healthz":
            self._answer(HTTPStatus.OK, "ok")
        elif note is not None:
            self._send(HTTPStatus.OK, note, _TEXT)
        else:
            self._answer(HTTPStatus.NOT_FOUND, "No checkpoint of this log was co-signed here.")

    def do_HEAD(self) -> None:
        """As GET, without the body."""
        self.do_GET()

    def _add(self, body: bytes) -> None:
        try:
            line = self.server.witness.add_checkpoint(body, int(time.time()))
        except ConflictError as error:
            self._send(HTTPStatus.CONFLICT, f"{error.size}\n", "text/x.tlog.size")
        except IntertwineError as error:
            self._answer(_status(error), str(error))
        except Exception:
            _log.exception("unexpected error in the witness")
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, "The witness failed to answer.")
        else:
            self._send(HTTPStatus.OK, line, _TEXT)

    def _answer(self, status: HTTPStatus, message: str) -> None:
        self._send(status, f"{message}\n", _TEXT)

    def _send(self, status: HTTPStatus, text: str, media_type: str) -> None:
        data = text.encode()
        self.connection.settimeout(REQUEST_S)
        self.send_response(status)
        for name, value in (
            ("Content-Type", media_type),
            ("Content-Length", str(len(data))),
            ("Cache-Control", "no-cache"),
            ("Connection", "close"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests go to the log, without control characters."""
        text = "".join(c if c.isprintable() else "?" for c in format % args)
        _log.info("%s %s", self.client_address[0], text)


def _status(error: IntertwineError) -> HTTPStatus:
    """As C2SP tlog-witness assigns them."""
    if isinstance(error, UnknownLogError):
        return HTTPStatus.NOT_FOUND
    if isinstance(error, VerificationError):
        consistent = error.check != "log_consistency"
        return HTTPStatus.FORBIDDEN if consistent else HTTPStatus.UNPROCESSABLE_ENTITY
    return HTTPStatus.BAD_REQUEST if isinstance(error, InputError) else HTTPStatus.SERVICE_UNAVAILABLE
