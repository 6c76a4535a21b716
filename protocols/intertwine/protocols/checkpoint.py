"""Signed checkpoints of the log: the C2SP tlog-checkpoint body in a C2SP signed note.

ORIGIN
SIZE
BASE64(ROOT)

— ORIGIN BASE64(KEY_ID ‖ SIGNATURE)
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Self

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.merkle import HASH_BYTES
from intertwine.protocols.note import CHECKPOINT_KEY, NoteSignature, SignedNote, VerifierKey
from intertwine.protocols.signing import SigningKey, verify_raw

MAX_CHECKPOINT_BYTES = 4096
_MAX_SIZE = 2**63 - 1


@dataclass(frozen=True)
class Checkpoint:
    """A size and root of the log named `origin`."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, body: str) -> Self:
        """Read the three lines; InputError unless they are in canonical form."""
        try:
            origin, size, root, rest = body.split("\n")
            found = cls(origin, int(size), base64.b64decode(root, validate=True))
        except (ValueError, binascii.Error) as error:
            raise _malformed() from error
        if rest or not 0 <= found.size <= _MAX_SIZE or len(found.root) != HASH_BYTES or found.body() != body:
            raise _malformed()
        return found

    def body(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def log_verifier(public: str) -> VerifierKey:
    """The key of the log that this public key (64 hexadecimal digits) signs, with the log's name."""
    return VerifierKey(f"intertwine/{public[:16]}", CHECKPOINT_KEY, public)


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> str:
    """The signed note."""
    verifier = VerifierKey(checkpoint.origin, CHECKPOINT_KEY, key.public)
    signature = key.sign_raw(checkpoint.body().encode())
    line = NoteSignature(checkpoint.origin, verifier.identifier, signature)
    return SignedNote(checkpoint.body(), (line,)).encode()


def open_checkpoint(note: str, origin: str, public: str) -> Checkpoint:
    """Check a note that the log alone has signed against the log's name and key.

    VerificationError `checkpoint_signature` if it is malformed, of another log, or wrongly signed.
    """
    try:
        signed = SignedNote.parse(note, MAX_CHECKPOINT_BYTES)
    except InputError as error:
        raise _refused("it is not a signed note") from error
    if len(signed.signatures) != 1:
        raise _refused("it has more than the log's own signature")
    return verified_checkpoint(signed, VerifierKey(origin, CHECKPOINT_KEY, public))


def verified_checkpoint(signed: SignedNote, log: VerifierKey) -> Checkpoint:
    """The checkpoint of a note, whoever else has signed it.

    VerificationError `checkpoint_signature` if it is malformed, of another log, or wrongly signed by that.
    """
    try:
        checkpoint, signature = Checkpoint.parse(signed.text), signed.by(log)
    except InputError as error:
        raise _refused("it is not in canonical form") from error
    if checkpoint.origin != log.name or signature is None:
        raise _refused(f"it is not of the log {log.name!r} under the expected key")
    try:
        verify_raw(log.public, signed.text.encode(), signature)
    except VerificationError as error:
        raise _refused("its signature is wrong") from error
    return checkpoint


def _malformed() -> InputError:
    return InputError("This is not a checkpoint.", "It has three lines: origin, size and root.")


def _refused(reason: str) -> VerificationError:
    return VerificationError("checkpoint_signature", f"the checkpoint is refused: {reason}.")
