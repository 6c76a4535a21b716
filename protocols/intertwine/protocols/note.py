"""C2SP signed notes: a text, and a line for each signature over it; and the keys that check them.

TEXT, any lines, each with its newline

— NAME BASE64(KEY_ID ‖ SIGNATURE)
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Self

from intertwine.protocols.errors import InputError

CHECKPOINT_KEY = 0x01
"""Type of a key that signs the text itself, with Ed25519."""
COSIGNATURE_KEY = 0x04
"""Type of a witness's key, which signs text and time (C2SP tlog-cosignature)."""
_KEY_NAME = re.compile(r"[^\s+]{1,128}")
_FORBIDDEN = re.compile(r"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True)
class VerifierKey:
    """A name and an Ed25519 public key (64 hexadecimal digits), for one type of signature."""

    name: str
    kind: int
    public: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read NAME+KEY_ID+BASE64(type ‖ key), C2SP's form of a verifier key; InputError if it is none."""
        name, _, rest = text.partition("+")
        identifier, _, encoded = rest.partition("+")
        try:
            data = base64.b64decode(encoded, validate=True)
        except (ValueError, binascii.Error):
            data = b""
        if not is_key_name(name) or len(data) != 33:
            raise InputError(
                f"{text[:80]!r} is not a verifier key.", "It reads NAME+KEYID+BASE64; copy it from its owner."
            )
        key = cls(name, data[0], data[1:].hex())
        if str(key) != text:
            raise InputError(
                f"The verifier key of {name!r} is damaged: {identifier!r} is not its key identifier.",
                "Copy it again from its owner.",
            )
        return key

    def __str__(self) -> str:
        return f"{self.name}+{self.identifier.hex()}+{base64.b64encode(self._encoded()).decode()}"

    @property
    def identifier(self) -> bytes:
        """The four bytes that name the key in a signature line."""
        return hashlib.sha256(self.name.encode() + b"\n" + self._encoded()).digest()[:4]

    def _encoded(self) -> bytes:
        return bytes([self.kind]) + bytes.fromhex(self.public)


@dataclass(frozen=True)
class NoteSignature:
    """One signature line; nothing says yet that the signature is right."""

    name: str
    identifier: bytes
    signature: bytes

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a line without its newline; InputError unless it is in canonical form."""
        try:
            dash, name, encoded = line.split(" ")
            data = base64.b64decode(encoded, validate=True)
        except (ValueError, binascii.Error) as error:
            raise _malformed("a signature line is malformed") from error
        found = cls(name, data[:4], data[4:])
        if dash != "—" or not is_key_name(name) or not found.signature or found.line() != f"{line}\n":
            raise _malformed("a signature line is not in canonical form")
        return found

    def line(self) -> str:
        """The line, with its newline."""
        return f"— {self.name} {base64.b64encode(self.identifier + self.signature).decode()}\n"

    def is_by(self, key: VerifierKey) -> bool:
        """Whether the line claims to be by this key."""
        return (self.name, self.identifier) == (key.name, key.identifier)


@dataclass(frozen=True)
class SignedNote:
    """A text, each line with its newline, and its signature lines in order."""

    text: str
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def parse(cls, note: str, limit: int) -> Self:
        """Read a note of at most `limit` bytes without checking signatures; InputError unless canonical."""
        try:
            if len(note) > limit or len(note.encode()) > limit:
                raise _malformed(f"it has more than {limit} bytes")
        except UnicodeEncodeError as error:
            raise _malformed("it is not UTF-8") from error
        text, separator, lines = note.rpartition("\n\n")
        if not separator or not lines.endswith("\n") or _FORBIDDEN.search(note):
            raise _malformed("text, blank line and signature lines are not there")
        return cls(f"{text}\n", tuple(map(NoteSignature.parse, lines.removesuffix("\n").split("\n"))))

    def by(self, key: VerifierKey) -> bytes | None:
        """The signature that claims to be by this key, None if there is none; InputError if there are two."""
        found = [line.signature for line in self.signatures if line.is_by(key)]
        if len(found) > 1:
            raise _malformed(f"it has {len(found)} signatures by {key.name!r}")
        return found[0] if found else None

    def encode(self) -> str:
        """The note."""
        return f"{self.text}\n{''.join(line.line() for line in self.signatures)}"


def is_key_name(name: str) -> bool:
    """Whether a key may have this name: up to 128 printable characters, no space, no plus."""
    return name.isprintable() and _KEY_NAME.fullmatch(name) is not None


def _malformed(reason: str) -> InputError:
    return InputError(f"This is not a signed note: {reason}.", "Ask its sender for the original.")
