"""The bundle: everything about runs that an auditor needs, in one file.

    magic      intertwine/bundle/v2 and a newline
    manifest   4 bytes of length, then the canonical bytes of a Manifest
    entries    each: 4 bytes of length, then the entry's canonical bytes, in the order of the log
    blobs      each: 32 bytes of SHA-256, 8 bytes of length, then the bytes, by ascending digest

Lengths are big-endian. The manifest says how long the parts are, so a file has exactly one length; equal
contents are equal bytes. Nothing is compressed and nothing has a path.
"""

import contextlib
import shutil
import stat
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import Field

from intertwine.protocols.cosignature import MAX_COSIGNED_BYTES
from intertwine.protocols.document import Document, Hex32, Name
from intertwine.protocols.encoding import MAX_DOCUMENT_BYTES, decode, sha256
from intertwine.protocols.entries import Entry, ModelEntry, PlanEntry, Publication, ReleaseEntry
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.files import unwritable
from intertwine.protocols.round import InclusionProof

VERSION = "intertwine/bundle/v2"
MAX_BLOB_BYTES = 64 << 20
MAX_EARLIER = 256
MAX_MANIFEST_BYTES = 16 << 20

_MAGIC = VERSION.encode() + b"\n"
_FAMILY = b"intertwine/bundle/"
_LENGTH = 4
_BLOB_HEADER = 32 + 8

Note = Annotated[str, Field(max_length=MAX_COSIGNED_BYTES)]
Count = Annotated[int, Field(ge=0, le=2**40)]


class EarlierCheckpoint(Document):
    """A checkpoint with co-signatures, and the proof that the bundle's log extends it (RFC 6962, 2.1.2)."""

    checkpoint: Note
    consistency: Annotated[list[Hex32], Field(max_length=64)]


class Manifest(Document):
    """What the bundle says of itself. The key counts only if the auditor knows it from elsewhere.

    runs: those whose files are here, by name; entries, blobs: how many, and their parts' lengths in bytes;
    checkpoint: the newest, over all entries, with co-signatures; earlier: others, by size; publications:
    where the runs' models are in the log, with proofs of inclusion that lead to the checkpoint.
    """

    version: Literal["intertwine/bundle/v2"] = "intertwine/bundle/v2"
    origin: Annotated[str, Field(min_length=1, max_length=200)]
    log_key: Hex32
    runs: list[Name]
    entries: Annotated[int, Field(ge=1, le=2**32)]
    entries_bytes: Count
    blobs: Annotated[int, Field(ge=0, le=2**32)]
    blobs_bytes: Count
    checkpoint: Note
    earlier: Annotated[list[EarlierCheckpoint], Field(max_length=MAX_EARLIER)]
    publications: list[InclusionProof]


class Bundle:
    """A bundle on disk, opened for reading; entries and blobs are read when asked for."""

    def __init__(self, path: Path, manifest: Manifest, entries: "array[int]", blobs: dict[str, int]) -> None:
        self.path = path
        self.manifest = manifest
        self._entries = entries  # where each begins
        self._blobs = blobs  # where each one's length stands

    @classmethod
    def open(cls, path: Path) -> "Bundle":
        """Read the manifest and where everything lies.

        InputError if the file is no bundle, of another version, or not as long as its parts together.
        """
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path} is not a file.", "Give the path of a bundle.")
            with path.open("rb") as file:
                return cls._read(path, file, status.st_size)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(f"{path} cannot be read: {reason}.", "Check path and permissions.") from error

    @classmethod
    def _read(cls, path: Path, file: BinaryIO, size: int) -> "Bundle":
        manifest = _manifest(path, file)
        start = file.tell()
        expected = start + manifest.entries_bytes + manifest.blobs_bytes
        if size != expected:
            fault = "is cut off" if size < expected else "goes on after its end"
            raise InputError(
                f"{path} {fault}: it has {size} bytes, its parts {expected}.", "Ask for the bundle again."
            )
        entries = _scan_entries(file, manifest)
        if file.tell() != start + manifest.entries_bytes:
            raise _broken(path, "its entries do not have the length that the manifest says")
        blobs = _scan_blobs(file, manifest)
        if file.tell() != expected:
            raise _broken(path, "its blobs do not have the length that the manifest says")
        return cls(path, manifest, entries, blobs)

    @property
    def checkpoint(self) -> str:
        """The signed note over all entries."""
        return self.manifest.checkpoint

    def entries(self) -> Iterator[bytes]:
        """The canonical bytes of every entry, in order."""
        with self.path.open("rb") as file:
            if self._entries:
                file.seek(self._entries[0])
            for _ in self._entries:
                yield file.read(int.from_bytes(file.read(_LENGTH)))

    def entry(self, index: int) -> bytes:
        """The canonical bytes of one entry."""
        with self.path.open("rb") as file:
            file.seek(self._entries[index])
            return file.read(int.from_bytes(file.read(_LENGTH)))

    def blob_digests(self) -> set[str]:
        """The digests of all blobs."""
        return set(self._blobs)

    def blob(self, digest: str) -> bytes:
        """The bytes with this SHA-256; VerificationError `blob_digest` if missing or altered."""
        position = self._blobs.get(digest)
        if position is None:
            raise VerificationError("blob_digest", f"the bundle lacks blob {digest}.")
        with self.path.open("rb") as file:
            file.seek(position)
            data = file.read(int.from_bytes(file.read(8)))
        if sha256(data) != digest:
            raise VerificationError("blob_digest", f"blob {digest} was altered.")
        return data


def run_of(entry: Entry) -> str | None:
    """The run that an entry names files of, which only a bundle of that run holds; None for other entries."""
    match entry:
        case PlanEntry():
            return entry.plan.body.run
        case ReleaseEntry():
            return entry.release.body.slot.round.run
        case ModelEntry() | Publication():
            return entry.round.run
    return None


def is_bundle(path: Path) -> bool:
    """Whether the file begins as a bundle of some version does; InputError if it cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path} is not a file.", "Give the path of a bundle.")
        with path.open("rb") as file:
            return file.read(len(_FAMILY)) == _FAMILY
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path} cannot be read: {reason}.", "Check path and permissions.") from error


def write_bundle(
    path: Path,
    *,
    origin: str,
    log_key: str,
    runs: Sequence[str],
    entries: Iterable[bytes],
    checkpoint: str,
    blobs: Mapping[str, Path],
    earlier: Sequence[EarlierCheckpoint] = (),
    publications: Sequence[InclusionProof] = (),
) -> Manifest:
    """Write a bundle to the new file `path`; `blobs` maps each digest to the file that holds its bytes.

    InputError if the file exists or cannot be written, or if a blob is too large; nothing is left then.
    """
    if path.exists():
        raise InputError(f"{path} already exists.", "Choose another path or remove it.")
    try:
        with tempfile.TemporaryFile(dir=path.parent) as spool:
            count = 0
            for entry in entries:
                spool.write(len(entry).to_bytes(_LENGTH) + entry)
                count += 1
            entries_bytes = spool.tell()
            _spool_blobs(spool, blobs)
            manifest = Manifest(
                origin=origin,
                log_key=log_key,
                runs=sorted(runs),
                entries=count,
                entries_bytes=entries_bytes,
                blobs=len(blobs),
                blobs_bytes=spool.tell() - entries_bytes,
                checkpoint=checkpoint,
                earlier=list(earlier),
                publications=list(publications),
            )
            _write_behind(path, manifest.encode(), spool)
    except OSError as error:
        raise unwritable(path, error) from error
    return manifest


def _spool_blobs(spool: BinaryIO, blobs: Mapping[str, Path]) -> None:
    for digest, source in sorted(blobs.items()):
        size = source.stat().st_size
        if size > MAX_BLOB_BYTES:
            raise InputError(f"{source} has more than {MAX_BLOB_BYTES} bytes.", "It cannot go into a bundle.")
        spool.write(bytes.fromhex(digest) + size.to_bytes(8))
        with source.open("rb") as file:
            shutil.copyfileobj(file, spool)


def _write_behind(path: Path, manifest: bytes, spool: BinaryIO) -> None:
    """Write magic, manifest and what is spooled, under another name until all is there."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(_MAGIC + len(manifest).to_bytes(_LENGTH) + manifest)
            spool.seek(0)
            shutil.copyfileobj(spool, file)
            file.flush()
            Path(file.name).chmod(0o644)
            Path(file.name).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(file.name).unlink()
            raise


def _manifest(path: Path, file: BinaryIO) -> Manifest:
    magic = file.read(len(_MAGIC))
    if magic != _MAGIC:
        if magic.startswith(_FAMILY):
            raise InputError(f"{path} is a bundle of another version.", "Use the release that wrote it.")
        raise InputError(f"{path} is not a bundle.", "Give the path of a bundle.")
    length = int.from_bytes(file.read(_LENGTH))
    if length > MAX_MANIFEST_BYTES:
        raise _broken(path, f"its manifest claims {length} bytes, more than the {MAX_MANIFEST_BYTES} allowed")
    return Manifest.parse(decode(file.read(length), MAX_MANIFEST_BYTES))


def _scan_entries(file: BinaryIO, manifest: Manifest) -> "array[int]":
    """Where each entry begins; as many as the manifest says."""
    begins = array("Q")
    for _ in range(manifest.entries):
        position = file.tell()
        length = int.from_bytes(_exactly(file, _LENGTH))
        if not 0 < length <= MAX_DOCUMENT_BYTES:  # empty ones would cost time and memory, but no room
            raise _broken(Path(file.name), f"entry {len(begins)} claims {length} bytes")
        begins.append(position)
        file.seek(length, 1)
    return begins


def _scan_blobs(file: BinaryIO, manifest: Manifest) -> dict[str, int]:
    """By digest, where each blob's length stands."""
    positions: dict[str, int] = {}
    last = b""
    for _ in range(manifest.blobs):
        header = _exactly(file, _BLOB_HEADER)
        digest, length = header[:32], int.from_bytes(header[32:])
        if length > MAX_BLOB_BYTES:
            raise _broken(Path(file.name), f"blob {digest.hex()} claims {length} bytes")
        if digest <= last:
            raise _broken(Path(file.name), "its blobs are not in order")
        positions[digest.hex()] = file.tell() - 8
        last = digest
        file.seek(length, 1)
    return positions


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise _broken(Path(file.name), "it ends in the middle of a part")
    return data


def _broken(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is not a proper bundle: {reason}.", "Ask for the bundle again.")
