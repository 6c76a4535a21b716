"""Signed checkpoints of the log: the C2SP tlog-checkpoint body in a C2SP signed note.

ORIGIN
SIZE
BASE64(ROOT)

— ORIGIN BASE64(KEY_ID ‖ SIGNATURE)
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass

from intertwine.protocols.errors import VerificationError
from intertwine.protocols.signing import SigningKey, verify_raw

MAX_CHECKPOINT_BYTES = 4096
_ED25519 = b"\x01"


@dataclass(frozen=True)
class Checkpoint:
    """A size and root of the log named `origin`."""

    origin: str
    size: int
    root: bytes

    def body(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> str:
    """The signed note."""
    return _note(
        checkpoint, _key_id(checkpoint.origin, key.public) + key.sign_raw(checkpoint.body().encode())
    )


def open_checkpoint(note: str, origin: str, public: str) -> Checkpoint:
    """Check a signed note against the log's name and key.

    VerificationError `checkpoint_signature` if it is malformed, of another log, or wrongly signed.
    """
    if len(note.encode()) > MAX_CHECKPOINT_BYTES:
        raise _refused("it is too long")
    body, _, signatures = note.partition("\n\n")
    try:
        name, size_text, root_text = body.split("\n")
        checkpoint = Checkpoint(name, int(size_text), base64.b64decode(root_text, validate=True))
        prefix, signer, encoded = signatures.rstrip("\n").split(" ")
        signature = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error) as error:
        raise _refused("it is not a signed note") from error
    if (
        prefix != "—"
        or len(checkpoint.root) != 32
        or checkpoint.size < 0
        or _note(checkpoint, signature) != note
    ):
        raise _refused("it is not in canonical form")
    if name != origin or signer != origin or signature[:4] != _key_id(origin, public):
        raise _refused(f"it is not of the log {origin!r} under the expected key")
    try:
        verify_raw(public, checkpoint.body().encode(), signature[4:])
    except VerificationError as error:
        raise _refused("its signature is wrong") from error
    return checkpoint


def _note(checkpoint: Checkpoint, signature: bytes) -> str:
    return f"{checkpoint.body()}\n— {checkpoint.origin} {base64.b64encode(signature).decode()}\n"


def _key_id(name: str, public: str) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + bytes.fromhex(public)).digest()[:4]


def _refused(reason: str) -> VerificationError:
    return VerificationError("checkpoint_signature", f"the checkpoint is refused: {reason}.")
