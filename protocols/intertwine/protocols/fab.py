"""What both ends of the Flower transport agree on: the one app bundle and the form of its messages.

Flower sends an app bundle (FAB) from the coordinator to every node, and a stock node runs the code in it.
Ours is a manifest alone: it names modules of the installed package and holds no Python file, so there is
exactly one, and an agent refuses every other by its hash before anything is unpacked. The agent answers
requests itself; the `clientapp` entry exists because the format asks for one, and loading it fails.

A message carries one opaque payload: a ConfigRecord called `RECORD` with the bytes under `FIELD`.
"""

import functools
import hashlib
import io
import zipfile

from intertwine.protocols.encoding import MAX_DOCUMENT_BYTES
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.plan import MAX_DIMENSION

RECORD = "intertwine"
FIELD = "payload"
PAYLOAD_LIMIT = MAX_DOCUMENT_BYTES + 8 * MAX_DIMENSION + (1 << 10)
"""Most bytes of one request or reply, 2 MiB: a document, parameters of 8 bytes each, and the frame of both.

A release has less: a document of 1/8 MiB, an update of 4 bytes a coordinate, and a proof of up to 1 MiB.
"""

REQUEST_TYPE = "query.request"
"""Flower message type of a request to a participant."""
AWAKE_TYPE = "query.awake"
"""Flower message type of an empty request that is answered at once; see `intertwine.server.fleet`."""

RUN_KEYS = ("home", "run")
"""Keys of the run configuration: the coordinator's folder and the name of the run."""

_MANIFEST = """\
[project]
name = "intertwine"
version = "1.0.0"
description = "Manifest of the intertwine federation; all code is in the installed package."
license = "Apache-2.0"

[tool.flwr.app]
publisher = "intertwine"

[tool.flwr.app.components]
serverapp = "intertwine.server.flower_app:app"
clientapp = "intertwine.client.executor:app"

[tool.flwr.app.config]
home = ""
run = ""
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_REGULAR_FILE_0644 = 0o100644 << 16


@functools.cache
def manifest_fab() -> bytes:
    """The bundle's bytes, the same on every machine: stored, not compressed, with fixed dates and modes."""
    manifest = _MANIFEST.encode()
    digest = hashlib.sha256(manifest).hexdigest()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _add(archive, "pyproject.toml", manifest)
        _add(archive, ".info/CONTENT", f"pyproject.toml,{digest},{len(manifest) * 8}".encode())
    return buffer.getvalue()


@functools.cache
def fab_sha256() -> str:
    """SHA-256 of `manifest_fab()` in hexadecimal: the one bundle that an agent accepts."""
    return hashlib.sha256(manifest_fab()).hexdigest()


def check_fab(content: bytes) -> None:
    """Refuse every bundle but ours; VerificationError `fab`. Nothing in `content` is unpacked or parsed."""
    if hashlib.sha256(content).hexdigest() != fab_sha256():
        raise VerificationError(
            "fab",
            "the coordinator's app bundle is not the manifest of this release and may carry code.",
            "Ask the coordinator which release of intertwine it runs, and install the same.",
        )


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system = 3  # Unix, so that the bytes do not depend on who builds them
    info.external_attr = _REGULAR_FILE_0644
    archive.writestr(info, content)
