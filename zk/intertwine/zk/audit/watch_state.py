"""What a watch remembers in its folder, so that a restart neither forgets nor downloads again.

    memory.json   the last checkpoint that was accepted, and when servers last answered
    entries       the entries under it, one a line
    verified      proofs that were found valid (`DigestFile`)
    sent          alerts that the webhook has taken (`DigestFile`)
    lock          held while a watch runs

All are private to their owner. Entries are only a cache: they count if they hash to the checkpoint's root.
"""

import fcntl
import os
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import Field

from intertwine.protocols.checkpoint import Checkpoint
from intertwine.protocols.cosignature import MAX_COSIGNED_BYTES
from intertwine.protocols.document import Document, Hex32, Timestamp
from intertwine.protocols.encoding import MAX_DOCUMENT_BYTES
from intertwine.protocols.errors import InputError
from intertwine.protocols.files import make_private_directory, read_bounded, unwritable, write_private
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.zk.audit.digest_file import DigestFile

EMPTY_ROOT = Tree().root(0)


class Memory(Document):
    """The last checkpoint accepted (size 0: none yet), and when servers last answered as they should.

    note: as it was served, with co-signatures. answered: seconds since 1970, by witness; "" is the log.
    """

    version: Literal["intertwine/watch/v1"] = "intertwine/watch/v1"
    origin: Annotated[str, Field(max_length=200)]
    size: Annotated[int, Field(ge=0, le=2**40)] = 0
    root: Hex32 = EMPTY_ROOT.hex()
    note: Annotated[str, Field(max_length=MAX_COSIGNED_BYTES)] = ""
    answered: dict[str, Timestamp] = Field(default_factory=dict)


class WatchState:
    """One watch's folder; it is locked until `close`."""

    def __init__(self, folder: Path, origin: str) -> None:
        """InputError if the folder cannot be used, is another log's, or another watch uses it."""
        make_private_directory(folder)
        self._path = folder
        self._lock = _locked(folder / "lock")
        try:
            self._open(origin)
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Let another watch use the folder."""
        self._entries.close()
        self._lock.close()

    def _open(self, origin: str) -> None:
        folder = self._path
        self.memory = Memory(origin=origin)
        if (folder / "memory.json").exists():
            self.memory = Memory.decode(read_bounded(folder / "memory.json", MAX_DOCUMENT_BYTES))
        if self.memory.origin != origin:
            raise InputError(
                f"{folder} remembers the log {self.memory.origin!r}, not {origin!r}.",
                "Choose another --state.",
            )
        self.verified = DigestFile(folder / "verified")
        self.sent = DigestFile(folder / "sent")
        self._entries = _opened(folder / "entries")
        self._begins = array("Q", [0])  # where each entry begins, and the next one will
        self.tree = Tree()
        self._load()

    def entry(self, index: int) -> bytes:
        """The bytes of an entry; IndexError if it is not here."""
        begin, end = self._begins[index], self._begins[index + 1]
        self._entries.seek(begin)
        return self._entries.read(end - begin)[:-1]

    def append(self, entries: Iterable[bytes]) -> None:
        """Take entries that come next; they count once `confirm` is called."""
        data = bytearray()
        for entry in entries:
            data += entry + b"\n"
            self._begins.append(self._begins[-1] + len(entry) + 1)
            self.tree.append(leaf_hash(entry))
        try:
            self._entries.seek(self._begins[-1] - len(data))
            self._entries.write(data)
            self._entries.flush()
        except OSError as error:
            raise unwritable(self._path / "entries", error) from error

    def confirm(self, checkpoint: Checkpoint, note: str) -> None:
        """Remember a checkpoint over exactly the entries that are here."""
        try:
            self._entries.flush()
            os.fsync(self._entries.fileno())
        except OSError as error:
            raise unwritable(self._path / "entries", error) from error
        self._remember({"size": checkpoint.size, "root": checkpoint.root.hex(), "note": note})

    def discard(self) -> None:
        """Drop the entries that are not under the remembered checkpoint."""
        self._load()

    def answered(self, name: str, time: int) -> None:
        """Remember when a server answered."""
        self._remember({"answered": {**self.memory.answered, name: time}})

    def _remember(self, changes: Mapping[str, object]) -> None:
        memory = self.memory.model_copy(update=changes)
        write_private(self._path / "memory.json", memory.encode())
        self.memory = memory

    def _load(self) -> None:
        """Read the entries under the remembered checkpoint; none, if they are not those."""
        self._entries.flush()
        self._entries.seek(0)
        self._begins, self.tree = array("Q", [0]), Tree()
        while len(self.tree) < self.memory.size:
            line = self._entries.readline(MAX_DOCUMENT_BYTES + 1)
            if not line.endswith(b"\n"):
                break
            self._begins.append(self._begins[-1] + len(line))
            self.tree.append(leaf_hash(line[:-1]))
        if self.tree.root(len(self.tree)).hex() != self.memory.root:
            self._begins, self.tree = array("Q", [0]), Tree()
        self._entries.truncate(self._begins[-1])


def _opened(path: Path) -> BinaryIO:
    """A private file, made if it is not there."""
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    except OSError as error:
        raise unwritable(path, error) from error


def _locked(path: Path) -> BinaryIO:
    file = _opened(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise InputError(
            f"Another watch uses {path.parent}.", "End it first, or choose another --state."
        ) from error
    return file
