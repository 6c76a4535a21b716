"""Ed25519 signatures over typed documents, and the files that keep the keys."""

from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from intertwine.protocols.encoding import length_prefixed
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.files import read_bounded, write_private

_DOMAIN = b"intertwine/signature/v1"


class SigningKey:
    """An Ed25519 private key (RFC 8032)."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> "SigningKey":
        """A fresh key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def read(cls, path: Path) -> "SigningKey":
        """Read a key file made by `write`; InputError if it is missing or not 32 bytes."""
        data = read_bounded(path, 32)
        if len(data) != 32:
            raise InputError(
                f"{path} is not a signing key.", "Restore it from a backup: no other key will do."
            )
        return cls(Ed25519PrivateKey.from_private_bytes(data))

    def write(self, path: Path) -> None:
        """Keep the 32 raw bytes in a file of mode 0600."""
        write_private(path, self._key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))

    @property
    def public(self) -> str:
        """The public key as 64 hexadecimal digits."""
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def sign(self, kind: str, body: bytes) -> str:
        """Sign `body` as a document of type `kind`; 128 hexadecimal digits."""
        return self._key.sign(length_prefixed(_DOMAIN, kind.encode(), body)).hex()

    def sign_raw(self, message: bytes) -> bytes:
        """Sign exactly these bytes; only for formats that have their own domain separation."""
        return self._key.sign(message)


def verify_signature(public: str, kind: str, body: bytes, signature: str) -> None:
    """Check a signature made by `SigningKey.sign`; VerificationError `signature` if it does not fit."""
    verify_raw(public, length_prefixed(_DOMAIN, kind.encode(), body), bytes.fromhex(signature))


def verify_raw(public: str, message: bytes, signature: bytes) -> None:
    """Check a bare Ed25519 signature; VerificationError `signature` if it does not fit."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise VerificationError("signature", "the signature does not fit the document and key.") from error
