"""A witness: it co-signs checkpoints of the logs that it knows, each only if it extends the last one.

What it has co-signed lies on the disk before the co-signature leaves, so neither a crash nor two requests at
once make it sign two histories. Its home:

settings.toml    its name
witness.key      Ed25519 key of its co-signatures (0600)
state.json       for each log, the newest note that it co-signed (0600); an old copy must not come back
fork-*.txt       two notes of one log that contradict each other, if it was ever shown such (0600)
lock             held while it runs
"""

import fcntl
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from intertwine.protocols.checkpoint import MAX_CHECKPOINT_BYTES, Checkpoint, verified_checkpoint
from intertwine.protocols.cosignature import MAX_COSIGNED_BYTES, cosign
from intertwine.protocols.encoding import decode, encode, sha256
from intertwine.protocols.errors import FederationError, InputError, IntertwineError
from intertwine.protocols.files import make_private_directory, read_bounded, write_private
from intertwine.protocols.merkle import verify_consistency
from intertwine.protocols.note import CHECKPOINT_KEY, COSIGNATURE_KEY, SignedNote, VerifierKey, is_key_name
from intertwine.protocols.settings import read_settings, write_settings
from intertwine.protocols.signing import SigningKey
from intertwine.protocols.witnessing import AddCheckpoint, checkpoint_path

MAX_LOGS = 64
_MAX_STATE_BYTES = 2 * MAX_LOGS * MAX_CHECKPOINT_BYTES
_log = logging.getLogger(__name__)


class UnknownLogError(IntertwineError):
    """A checkpoint of a log that this witness does not follow."""


class ConflictError(IntertwineError):
    """A request that does not start where this witness stands. size: of the note that it co-signed last."""

    def __init__(self, size: int, problem: str) -> None:
        super().__init__(problem)
        self.size = size


class WitnessSettings(BaseModel):
    """What `init` decided."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str


@dataclass(frozen=True)
class WitnessHome:
    """Paths of one witness."""

    path: Path

    @classmethod
    def create(cls, path: Path, name: str) -> "WitnessHome":
        """Make a home, or keep the one that is there; InputError if that one has another name."""
        if not is_key_name(name):
            raise InputError(
                f"--name {name[:80]!r} cannot name a key.",
                "Take a host name and a path, like witness.example/w1.",
            )
        home = cls(path)
        make_private_directory(path)
        if home.settings_file.exists() and home.name != name:
            raise InputError(f"{path} is the home of the witness {home.name!r}.", "Choose another folder.")
        if not home.key_file.exists():
            SigningKey.generate().write(home.key_file)
        if not home.settings_file.exists():
            write_settings(home.settings_file, WitnessSettings(name=name))
        return home

    @classmethod
    def open(cls, path: Path) -> "WitnessHome":
        """An existing home; InputError if `init` never finished there."""
        home = cls(path)
        if not home.settings_file.is_file():
            raise InputError(
                f"{path} is not a witness's home.",
                f"Run: intertwine audit witness init --home {path} --name NAME",
            )
        return home

    @property
    def settings_file(self) -> Path:
        """The TOML file."""
        return self.path / "settings.toml"

    @property
    def key_file(self) -> Path:
        """The Ed25519 key's file."""
        return self.path / "witness.key"

    @property
    def state_file(self) -> Path:
        """What was co-signed."""
        return self.path / "state.json"

    @property
    def name(self) -> str:
        """The name of the key."""
        return read_settings(self.settings_file, WitnessSettings).name

    @property
    def key(self) -> SigningKey:
        """The key of the co-signatures."""
        return SigningKey.read(self.key_file)

    @property
    def verifier(self) -> VerifierKey:
        """The key that checks the co-signatures, for policies."""
        return VerifierKey(self.name, COSIGNATURE_KEY, self.key.public)


class Witness:
    """One running witness; safe to call from several threads."""

    def __init__(self, home: WitnessHome, logs: Sequence[VerifierKey]) -> None:
        """InputError if another process runs from this home, or if its state cannot be read."""
        self._home, self._name, self._key = home, home.name, home.key
        self._logs = _by_name(logs)
        self._lock = _lock(home.path / "lock")
        self._turn, self._closed = threading.Lock(), False
        self._notes = self._read_state()

    def close(self) -> None:
        """Sign nothing more, and let another process run from this home."""
        with self._turn:
            self._closed = True
            os.close(self._lock)

    def add_checkpoint(self, body: bytes, time: int) -> str:
        """The co-signature line on the checkpoint of a request. time: seconds since 1970, which goes into it.

        InputError if the request is malformed; UnknownLogError; VerificationError `checkpoint_signature` or
        `log_consistency`; ConflictError if it does not start at the size that was co-signed last, or has
        another root for that size; FederationError if the state cannot be kept, or after `close`. Whatever is
        raised, nothing was signed.
        """
        request = AddCheckpoint.parse(body)
        signed = SignedNote.parse(request.note, MAX_COSIGNED_BYTES)
        origin = Checkpoint.parse(signed.text).origin
        if origin not in self._logs:
            raise UnknownLogError(f"The log {origin[:80]!r} is not one that this witness follows.")
        checkpoint = verified_checkpoint(signed, self._logs[origin])
        if request.old > checkpoint.size:
            raise InputError(f"The old size {request.old} is beyond the checkpoint's, {checkpoint.size}.")
        own = tuple(line for line in signed.signatures if line.is_by(self._logs[origin]))
        note = SignedNote(signed.text, own).encode()
        with self._turn:
            if self._closed:
                raise FederationError("The witness is ending.", "Ask again once it has been started.")
            self._check_follows(request, checkpoint, note)
            line = cosign(note, self._name, self._key, time)
            self._keep(origin, note + line)
        return line

    def latest(self, path: str) -> str | None:
        """The newest note co-signed of the log whose `checkpoint_path` this is, None if there is none."""
        notes = self._notes
        return next((note for origin, note in notes.items() if checkpoint_path(origin) == path), None)

    def _check_follows(self, request: AddCheckpoint, checkpoint: Checkpoint, note: str) -> None:
        kept = self._notes.get(checkpoint.origin)
        last = Checkpoint.parse(SignedNote.parse(kept, MAX_COSIGNED_BYTES).text) if kept else None
        size, root = (last.size, last.root) if last else (0, b"")
        if kept and checkpoint.size == size and checkpoint.root != root:
            self._keep_evidence(checkpoint.origin, kept, note)
            raise ConflictError(size, f"The log shows another history of size {size} than before.")
        if request.old != size:
            raise ConflictError(size, f"The last checkpoint co-signed has size {size}, not {request.old}.")
        verify_consistency(size, root, checkpoint.size, checkpoint.root, request.proof)

    def _keep(self, origin: str, note: str) -> None:
        """Write the state, then remember it; whoever reads sees the old notes or the new ones."""
        notes = {**self._notes, origin: note}
        try:
            write_private(self._home.state_file, encode(notes))
        except (InputError, OSError) as error:
            raise FederationError(f"The witness cannot keep its state: {error}") from error
        self._notes = notes

    def _keep_evidence(self, origin: str, first: str, second: str) -> None:
        """Keep the first fork that a log was caught at: two notes that its key has signed."""
        path = self._home.path / f"fork-{sha256(origin.encode())[:16]}.txt"
        _log.error("FORK: the log %s has signed two histories; see %s", origin, path)
        try:
            if not path.exists():
                write_private(path, f"{first}\n{second}".encode())
        except InputError as error:
            _log.error("the two notes cannot be kept: %s\n%s\n%s", error, first, second)

    def _read_state(self) -> dict[str, str]:
        """The notes as they were kept; InputError if the file was changed by anybody else."""
        if not self._home.state_file.exists():
            return {}
        remedy = "Do not delete it: without it this key may sign two histories. Start over with a new home."
        try:
            notes = decode(read_bounded(self._home.state_file, _MAX_STATE_BYTES), _MAX_STATE_BYTES)
            if not isinstance(notes, dict):
                raise InputError("it is not an object.")
            for origin, note in notes.items():
                if origin != Checkpoint.parse(SignedNote.parse(str(note), MAX_COSIGNED_BYTES).text).origin:
                    raise InputError(f"{origin!r} has another log's note.")
        except InputError as error:
            raise InputError(f"{self._home.state_file} is damaged: {error.problem}", remedy) from error
        return notes


def _by_name(logs: Sequence[VerifierKey]) -> dict[str, VerifierKey]:
    if not 1 <= len(logs) <= MAX_LOGS:
        raise InputError(f"--log is given {len(logs)} times.", f"Name from 1 to {MAX_LOGS} logs.")
    for log in logs:
        if log.kind != CHECKPOINT_KEY:
            raise InputError(f"--log: the key of {log.name!r} is not a log's.", "Copy the log's own key.")
    names = {log.name: log for log in logs}
    if len(names) != len(set(logs)):
        raise InputError("--log: two different keys have one name.", "Name each log once.")
    return names


def _lock(path: Path) -> int:
    """An open file that only one process can hold; InputError if another one does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise InputError(
            f"A witness is running from {path.parent} already.", "Stop it first, or use another home."
        ) from error
    return descriptor
