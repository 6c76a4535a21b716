"""Reading a log that its coordinator serves: checkpoint, entries and blobs, as in `protocols/spec/log.md`.

Nothing that comes back is checked here, except that a blob has its digest and that sizes are bounded.
"""

from collections.abc import Iterator

from intertwine.protocols.bundle import MAX_BLOB_BYTES
from intertwine.protocols.cosignature import MAX_COSIGNED_BYTES
from intertwine.protocols.encoding import sha256
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.witnessing import checkpoint_path
from intertwine.zk.audit.http_client import HttpClient, OversizedError, UnreachableError

BATCH = 256
"""Entries that are served together; a full batch never changes."""
MAX_BATCH_BYTES = 64 << 20


class LogClient:
    """One log behind one URL."""

    def __init__(self, server: HttpClient) -> None:
        self._server = server

    def checkpoint(self) -> str | None:
        """The newest signed note; None if the server says that there is none, or none yet."""
        return _text(self._server, "/v1/log/checkpoint")

    def entries(self, start: int, end: int) -> Iterator[list[bytes]]:
        """What is served as the entries start … end-1, batch by batch, in order.

        UnreachableError if the server has fewer of them, or sends something else.
        """
        while start < end:
            batch, width = start // BATCH, min(BATCH, end - start // BATCH * BATCH)
            path = f"/v1/log/entries/{batch}" + (f"/{width}" if width < BATCH else "")
            body = self._server.get(path, MAX_BATCH_BYTES)
            lines = (body or b"").removesuffix(b"\n").split(b"\n")
            if len(lines) != width:
                found = "no entries" if body is None else f"{len(lines)} entries instead of {width}"
                raise UnreachableError(
                    f"{self._server.name} serves {found} at {path}.", "Try again, or ask the coordinator."
                )
            yield lines[start - batch * BATCH :]
            start = batch * BATCH + width

    def blob(self, digest: str, limit: int = MAX_BLOB_BYTES) -> bytes:
        """The bytes with this SHA-256, at most `limit`.

        VerificationError `blob_digest` if the server says that it lacks them, or sends others or more.
        """
        try:
            data = self._server.get(f"/v1/log/blobs/{digest}", limit)
        except OversizedError as error:
            raise VerificationError("blob_digest", f"blob {digest} has more than {limit} bytes.") from error
        if data is None:
            raise VerificationError("blob_digest", f"the log's server lacks blob {digest}.")
        if sha256(data) != digest:
            raise VerificationError("blob_digest", f"the log's server sends other bytes as blob {digest}.")
        return data


def last_cosigned(witness: HttpClient, origin: str) -> str | None:
    """The note that a witness co-signed last for the log `origin`, None if it knows none."""
    return _text(witness, checkpoint_path(origin))


def _text(server: HttpClient, path: str) -> str | None:
    data = server.get(path, MAX_COSIGNED_BYTES)
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError as error:
        raise UnreachableError(
            f"{server.name} sends something that is no checkpoint.", "Check the address."
        ) from error
