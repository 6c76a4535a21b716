"""Requests to servers that need not be trusted: bounded in size and time, repeated if they fail.

Plain HTTP is for this machine alone. No redirect is followed and no proxy is asked.
"""

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from intertwine.protocols.errors import FederationError, InputError
from intertwine.protocols.policy import check_url

_CHUNK = 1 << 16
_PORTS = {"https": 443, "http": 80}


class UnreachableError(FederationError):
    """A server did not answer, not in time, or not as it should, however often it was asked."""


class OversizedError(UnreachableError):
    """A server sent more than was allowed; it was not asked again."""


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds: for a single read, for a whole answer, and before each repetition."""

    read_s: float = 10.0
    answer_s: float = 120.0
    pauses_s: tuple[float, ...] = (0.5, 2.0, 5.0)


class HttpClient:
    """A server at https://HOST[:PORT][/PATH][?QUERY]; http:// for this machine itself.

    InputError if the URL has another form. context: which CAs to trust, the machine's by default.
    """

    def __init__(
        self,
        url: str,
        context: ssl.SSLContext | None = None,
        patience: Patience | None = None,
    ) -> None:
        address, _, query = url.partition("?")
        check_url(address)
        parts = urlsplit(address)
        self._address = (parts.hostname or "", parts.port or _PORTS[parts.scheme])
        self._path, self._query = parts.path.rstrip("/"), f"?{query}" if query else ""
        secure = parts.scheme == "https"
        self._context = (context or ssl.create_default_context()) if secure else None
        self._patience = patience or Patience()
        self.name = f"{parts.scheme}://{parts.netloc}"

    def get(self, path: str, limit: int) -> bytes | None:
        """What lies at `path`, at most `limit` bytes; None if the server says that nothing does (404).

        UnreachableError if all attempts fail or bring anything else; OversizedError if it is longer.
        """
        status, body = self._persistently("GET", path, None, {}, limit, (200, 404))
        return body if status == 200 else None

    def post(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Send `body` to the URL itself; UnreachableError unless some attempt is accepted (2xx)."""
        self._persistently("POST", "", body, headers, 0, range(200, 300))

    def _persistently(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        limit: int,
        good: Collection[int],
    ) -> tuple[int, bytes]:
        reason = ""
        for pause in (0.0, *self._patience.pauses_s):
            time.sleep(pause)
            try:
                status, answer = self._ask(method, path, body, headers, limit)
                if status in good:
                    return status, answer
                reason = f"it answers with status {status}"
            except (OSError, http.client.HTTPException, ValueError) as error:
                reason = _reason(error)
        raise UnreachableError(
            f"{self.name} cannot be reached: {reason}.", "Check the address, the network and the server."
        )

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], limit: int
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self._address)
        with closing(connection), self._connected(connection):
            target = f"{self._path}{path}{self._query}"
            connection.request(method, target or "/", body, {"Connection": "close", **headers})
            response = connection.getresponse()
            # What goes with an error, or answers a POST, is nothing that anybody asked for.
            wanted = method == "GET" and response.status == http.client.OK
            return response.status, self._read(response, limit) if wanted else b""

    def _read(self, response: http.client.HTTPResponse, limit: int) -> bytes:
        """The body; OversizedError if it is longer than `limit`, HTTPException if it is cut off."""
        data = bytearray()
        while (response.length or 0) + len(data) <= limit and (chunk := response.read(_CHUNK)):
            data += chunk
        if (response.length or 0) + len(data) > limit:
            raise OversizedError(
                f"{self.name} sends more than the {limit} bytes allowed.", "Ask its operator."
            )
        if response.length:
            raise http.client.IncompleteRead(bytes(data), response.length)
        return bytes(data)

    @contextmanager
    def _connected(self, connection: http.client.HTTPConnection) -> Iterator[None]:
        """Connect, and cut the connection when all of it takes too long, however much keeps coming."""
        begin = time.monotonic()
        bare = socket.create_connection(self._address, self._patience.read_s)
        connection.sock = bare
        with bare.dup() as again:  # TLS takes the socket itself over
            timer = threading.Timer(self._patience.answer_s, _cut, (again,))
            timer.daemon = True
            timer.start()
            try:
                if self._context is not None:
                    host = self._address[0]
                    connection.sock = self._context.wrap_socket(bare, server_hostname=host)
                yield
            finally:
                timer.cancel()
                timer.join()
                if time.monotonic() - begin >= self._patience.answer_s:
                    raise TimeoutError  # whatever was read, and whatever went wrong, was cut off


def trusting(authority: Path | None, also: bool = False) -> ssl.SSLContext | None:
    """A TLS context that trusts the CA in this file, alone or with the machine's; None without a file.

    InputError if the file holds no certificate.
    """
    if authority is None:
        return None
    try:
        if not also:
            return ssl.create_default_context(cafile=str(authority))
        context = ssl.create_default_context()
        context.load_verify_locations(cafile=str(authority))
    except OSError as error:  # ssl.SSLError is one
        raise InputError(
            f"--ca: {authority} does not hold a CA's certificate.",
            "Give the deployment's CA in PEM form: `ca.crt` in the coordinator's home.",
        ) from error
    return context


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may have ended by itself
        connection.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it takes too long"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused ({error.verify_message})"
    if isinstance(error, http.client.HTTPException):
        return f"what it says is not HTTP, or cut off ({type(error).__name__})"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error)
