"""The bundle: everything about a deployment's runs that an auditor needs, as a folder of files.

    manifest.json   version, name and key of the log, number of entries
    log.jsonl       the entries' canonical bytes, one a line, in order
    checkpoint      the signed note over all of them
    blobs/DIGEST    updates, proofs, parameters and ONNX files, each named by its SHA-256

Nothing else may lie in the folder. Sizes are checked before anything is read.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from intertwine.protocols.checkpoint import MAX_CHECKPOINT_BYTES
from intertwine.protocols.document import Document, Hex32
from intertwine.protocols.encoding import MAX_DOCUMENT_BYTES, sha256
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.files import read_bounded, write_atomic

MAX_LOG_BYTES = 1 << 30
MAX_BLOB_BYTES = 64 << 20
_BLOB_NAME = re.compile(r"[0-9a-f]{64}")


class Manifest(Document):
    """What the bundle says of itself. The key counts only if the auditor knows it from elsewhere."""

    version: Literal["intertwine/bundle/v1"] = "intertwine/bundle/v1"
    origin: Annotated[str, Field(min_length=1, max_length=200)]
    log_key: Hex32
    size: Annotated[int, Field(ge=1, le=2**40)]


class Bundle:
    """A bundle on disk, opened for reading; blobs are read when asked for."""

    def __init__(self, path: Path, manifest: Manifest, entries: list[bytes], checkpoint: str) -> None:
        self.path = path
        self.manifest = manifest
        self.entries = entries
        self.checkpoint = checkpoint

    @classmethod
    def open(cls, path: Path) -> "Bundle":
        """Read manifest, log and checkpoint; InputError if the folder is not a bundle of a known version."""
        if not path.is_dir():
            raise InputError(f"{path} is not a folder.", "Give the path of a bundle.")
        _refuse_strangers(path)
        manifest = Manifest.decode(read_bounded(path / "manifest.json", MAX_DOCUMENT_BYTES))
        log = read_bounded(path / "log.jsonl", MAX_LOG_BYTES)
        if not log.endswith(b"\n"):
            raise InputError(f"{path / 'log.jsonl'} is cut off.", "Ask for the bundle again.")
        entries = log[:-1].split(b"\n")
        if len(entries) != manifest.size:
            raise InputError(
                f"{path} holds {len(entries)} log entries, its manifest says {manifest.size}.",
                "Ask for the bundle again.",
            )
        try:
            checkpoint = read_bounded(path / "checkpoint", MAX_CHECKPOINT_BYTES).decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{path / 'checkpoint'} is not text.", "Ask for the bundle again.") from error
        return cls(path, manifest, entries, checkpoint)

    def blob_names(self) -> set[str]:
        """The digests of all blobs in the folder."""
        return {path.name for path in (self.path / "blobs").glob("*")}

    def blob(self, digest: str) -> bytes:
        """The bytes with this SHA-256; VerificationError `blob_digest` if missing or altered."""
        path = self.path / "blobs" / digest
        if not path.is_file():
            raise VerificationError("blob_digest", f"the bundle lacks blob {digest}.")
        data = read_bounded(path, MAX_BLOB_BYTES)
        if sha256(data) != digest:
            raise VerificationError("blob_digest", f"blob {digest} was altered.")
        return data


def write_bundle(
    path: Path, manifest: Manifest, entries: Iterable[bytes], checkpoint: str, blobs: Mapping[str, Path]
) -> None:
    """Write a bundle into the new folder `path`; `blobs` maps each digest to the file that holds its bytes.

    InputError if the folder exists or cannot be written. The manifest is written last: a folder without one
    is not a bundle.
    """
    if path.exists():
        raise InputError(f"{path} already exists.", "Choose another path or remove it.")
    try:
        (path / "blobs").mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{path} cannot be created: {error.strerror}.", "Choose another path.") from error
    for digest, source in sorted(blobs.items()):
        write_atomic(path / "blobs" / digest, read_bounded(source, MAX_BLOB_BYTES))
    write_atomic(path / "log.jsonl", b"".join(entry + b"\n" for entry in entries))
    write_atomic(path / "checkpoint", checkpoint.encode())
    write_atomic(path / "manifest.json", manifest.encode())


def _refuse_strangers(path: Path) -> None:
    expected = {"manifest.json", "log.jsonl", "checkpoint", "blobs"}
    try:
        items = [*path.iterdir(), *(path / "blobs").iterdir()]
    except OSError as error:
        raise InputError(
            f"{path} cannot be listed: {error.strerror}.", "Ask for the bundle again."
        ) from error
    for item in items:
        known = item.name in expected if item.parent == path else bool(_BLOB_NAME.fullmatch(item.name))
        if item.is_symlink() or not known:
            raise InputError(f"{item} does not belong in a bundle.", "Ask for the bundle again.")
