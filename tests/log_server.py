"""A coordinator's log, a witness and a webhook over HTTP on this machine, which can misbehave."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.recording import Recording

BATCH = 256

# What a tampering server does instead of answering: writes whatever it likes to the connection.
Misbehave = Callable[[Any], None]


@dataclass
class LogServer:
    """What is served: entries under a note, blobs, and `pages` by path.

    broken: what to do for a path that contains the key. posts: bodies and headers that were received;
    refusals: how many posts are answered with 503 before one is taken.
    """

    entries: list[bytes] = field(default_factory=list)
    note: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    pages: dict[str, bytes] = field(default_factory=dict)
    broken: dict[str, Misbehave] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    posts: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)
    refusals: int = 0
    url: str = ""

    def show(self, recording: Recording, size: int | None = None) -> None:
        """Serve the first entries of a recording, by default all."""
        size = len(recording.entries) if size is None else size
        self.entries = [entry.encode() for entry in recording.entries[:size]]
        self.note = recording.checkpoint(size)
        self.blobs = recording.blobs

    def answer(self, path: str) -> bytes | None:
        """What lies at a path."""
        if path in self.pages:
            return self.pages[path]
        match path.removeprefix("/v1/log/").split("/"):
            case ["checkpoint"]:
                return self.note.encode() or None
            case ["blobs", digest]:
                return self.blobs.get(digest)
            case ["entries", batch, *rest]:
                start, width = BATCH * int(batch), int(rest[0]) if rest else BATCH
                some = self.entries[start : start + width]
                return b"".join(entry + b"\n" for entry in some) if len(some) == width else None
        return None


@contextmanager
def serving(server: LogServer) -> Iterator[LogServer]:
    """Serve on a free port; `server.url` says where."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests.append(self.path)
            for part, misbehave in server.broken.items():
                if part in self.path:
                    misbehave(self)
                    return
            body = server.answer(self.path)
            self._send(200 if body is not None else 404, body or b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.posts.append((body, dict(self.headers)))
            server.refusals -= 1
            self._send(503 if server.refusals >= 0 else 204, b"")

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the client went away, as it should

    with Quiet(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
