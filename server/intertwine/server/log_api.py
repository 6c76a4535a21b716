"""The log over HTTP, for whoever asks: checkpoint, entries in batches, and the blobs that entries name.

Everything here is in bundles as well, so no token is needed. What can never change is marked immutable.
"""

from typing import Annotated, TypeAlias

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import FileResponse

from intertwine.protocols.encoding import sha256
from intertwine.protocols.errors import IntertwineError
from intertwine.protocols.policy import Policy
from intertwine.server.cosigning import shown_checkpoint
from intertwine.server.store import Store

BATCH = 256
"""Entries of a full batch."""
_IMMUTABLE = "public, max-age=31536000, immutable"

Batch: TypeAlias = Annotated[int, Path(ge=0, le=2**40)]
Width: TypeAlias = Annotated[int, Path(ge=1, le=BATCH - 1)]
Digest: TypeAlias = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
Known: TypeAlias = Annotated[str, Header(alias="If-None-Match", max_length=1000)]


class NotFoundError(IntertwineError):
    """Something that is not there, or not yet."""


def log_router(store: Store, policy: Policy | None) -> APIRouter:
    """The paths below /v1/log, each for GET and HEAD."""
    router = APIRouter(prefix="/v1/log")

    @router.head("/checkpoint", include_in_schema=False)
    @router.get("/checkpoint")
    def checkpoint() -> Response:
        """The newest signed checkpoint, with co-signatures; no entry that it covers is missing below."""
        note = shown_checkpoint(store, policy)
        if note is None:
            raise NotFoundError("No checkpoint has been co-signed yet.", "Try again in a few seconds.")
        return Response(note, media_type="text/plain", headers={"Cache-Control": "no-cache"})

    @router.head("/entries/{batch}", include_in_schema=False)
    @router.get("/entries/{batch}")
    def entries(batch: Batch, known: Known = "") -> Response:
        """The 256 entries of a full batch: canonical bytes, one entry a line."""
        return _batch(store, batch, BATCH, known)

    @router.head("/entries/{batch}/{width}", include_in_schema=False)
    @router.get("/entries/{batch}/{width}")
    def part(batch: Batch, width: Width, known: Known = "") -> Response:
        """The first entries of a batch."""
        return _batch(store, batch, width, known)

    @router.head("/blobs/{digest}", include_in_schema=False)
    @router.get("/blobs/{digest}")
    def blob(digest: Digest, request: Request, known: Known = "") -> Response:
        """A blob that an entry names."""
        path = store.blob_path(digest)
        if not store.names(digest) or not path.is_file():
            raise NotFoundError("No entry names this blob.", "Take digests from entries.")
        headers = _headers(digest)
        if headers["ETag"] in known:
            return Response(status_code=304, headers=headers)
        return FileResponse(path, headers=headers, media_type="application/octet-stream")

    return router


def _batch(store: Store, batch: int, width: int, known: str) -> Response:
    start = batch * BATCH
    found = store.entries(start, start + width)
    if len(found) < width:
        raise NotFoundError(f"The log has fewer than {start + width} entries.", "Ask for fewer.")
    data = b"".join(entry + b"\n" for entry in found)
    headers = _headers(sha256(data))
    if headers["ETag"] in known:
        return Response(status_code=304, headers=headers)
    return Response(data, headers=headers, media_type="application/x-ndjson")


def _headers(digest: str) -> dict[str, str]:
    return {"Cache-Control": _IMMUTABLE, "ETag": f'"{digest}"'}
