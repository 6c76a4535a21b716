"""What a log asks a witness (C2SP tlog-witness): to co-sign a checkpoint that extends the last one.

old SIZE
BASE64(HASH), a line for each hash of the consistency proof

the signed note
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Self

from intertwine.protocols.encoding import sha256
from intertwine.protocols.errors import InputError
from intertwine.protocols.merkle import HASH_BYTES

MAX_REQUEST_BYTES = 64 << 10
MAX_PROOF_HASHES = 63


@dataclass(frozen=True)
class AddCheckpoint:
    """The body of a request. old: the size that the witness co-signed last; proof: from it to the note's."""

    old: int
    proof: tuple[bytes, ...]
    note: str

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a request of at most 64 KiB; InputError unless it is in canonical form."""
        if len(body) > MAX_REQUEST_BYTES:
            raise _malformed(f"it has more than {MAX_REQUEST_BYTES} bytes")
        try:
            head, separator, note = body.decode().partition("\n\n")
            old, *lines = head.split("\n")
            proof = tuple(base64.b64decode(line, validate=True) for line in lines)
        except (ValueError, binascii.Error) as error:
            raise _malformed("its proof is not base64") from error
        if len(proof) > MAX_PROOF_HASHES or {len(node) for node in proof} - {HASH_BYTES}:
            raise _malformed(f"its proof is not of up to {MAX_PROOF_HASHES} hashes of {HASH_BYTES} bytes")
        if not separator or not re.fullmatch("old (0|[1-9][0-9]{0,18})", old):
            raise _malformed("it does not begin with old, a size, the proof and a blank line")
        found = cls(int(old.removeprefix("old ")), proof, note)
        if found.encode() != body:
            raise _malformed("its proof is not in canonical form")
        return found

    def encode(self) -> bytes:
        """The body."""
        proof = "".join(f"{base64.b64encode(node).decode()}\n" for node in self.proof)
        return f"old {self.old}\n{proof}\n{self.note}".encode()


def checkpoint_path(origin: str) -> str:
    """Where a witness shows the newest note of this log that it co-signed: a name without surprises."""
    return f"/checkpoint/{sha256(origin.encode())}"


def _malformed(reason: str) -> InputError:
    return InputError(f"The request is malformed: {reason}.", "Send it as C2SP tlog-witness describes.")
