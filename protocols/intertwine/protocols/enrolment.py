"""Enrolment: the invitation token, and the one request with which a participant registers its keys."""

import base64
import binascii
from typing import Annotated

from cryptography.hazmat.primitives import hashes
from cryptography.x509 import load_pem_x509_certificate
from pydantic import Field

from intertwine.protocols.document import Document, Hex32, Hex64, Name
from intertwine.protocols.encoding import encode, sha256
from intertwine.protocols.errors import InputError
from intertwine.protocols.signing import SigningKey, verify_signature

MAX_TOKEN_CHARACTERS = 2048
_PREFIX = "itw1_"


class Invitation(Document):
    """What a token carries: who may join which tasks, the CA's fingerprint, and the one-time secret."""

    participant: Name
    tasks: list[Name]
    authority: Hex32
    secret: Hex32

    def token(self) -> str:
        """The invitation as one word."""
        return _PREFIX + base64.urlsafe_b64encode(self.encode()).decode().rstrip("=")

    @classmethod
    def from_token(cls, token: str) -> "Invitation":
        """The inverse of `token`; InputError if it is not a token of this version."""
        text = token.strip()
        try:
            if len(text) > MAX_TOKEN_CHARACTERS or not text.startswith(_PREFIX):
                raise ValueError
            payload = text.removeprefix(_PREFIX)
            return cls.decode(base64.b64decode(payload + "=" * (-len(payload) % 4), b"-_", validate=True))
        except (ValueError, binascii.Error, InputError) as error:
            raise InputError(
                "The invitation token is damaged or not one of intertwine's.",
                "Copy it whole, or ask the coordinator for a new one.",
            ) from error

    def secret_digest(self) -> str:
        """What the coordinator keeps of the secret."""
        return sha256(bytes.fromhex(self.secret))


def authority_fingerprint(certificate: bytes) -> str:
    """SHA-256 of a PEM certificate's DER form, in hexadecimal; InputError if it is not a certificate."""
    try:
        return load_pem_x509_certificate(certificate).fingerprint(hashes.SHA256()).hex()
    except ValueError as error:
        raise InputError("The CA certificate is not a PEM certificate.") from error


class EnrolmentRequest(Document):
    """A participant's keys. The signature shows that it holds the signing key.

    node_key: the public key of its Flower SuperNode, one OpenSSH line (ECDSA P-384).
    """

    secret: Hex32
    signing_key: Hex32
    node_key: Annotated[str, Field(pattern=r"^ecdsa-sha2-nistp384 [A-Za-z0-9+/=]{100,300}$")]
    signature: Hex64

    @classmethod
    def create(cls, secret: str, node_key: str, key: SigningKey) -> "EnrolmentRequest":
        """Build and sign a request."""
        signature = key.sign(cls.__name__, _signed_part(secret, key.public, node_key))
        return cls(secret=secret, signing_key=key.public, node_key=node_key, signature=signature)

    def verify(self) -> None:
        """VerificationError `signature` unless the holder of the signing key made this request."""
        body = _signed_part(self.secret, self.signing_key, self.node_key)
        verify_signature(self.signing_key, type(self).__name__, body, self.signature)


class EnrolmentAnswer(Document):
    """What a new participant needs to know. `access_token` is its secret towards the control plane."""

    participant: Name
    role: Name
    tasks: list[Name]
    deployment: Hex32
    log_origin: Annotated[str, Field(max_length=200)]
    fleet_address: Annotated[str, Field(max_length=300)]
    access_token: Hex32


def _signed_part(secret: str, signing_key: str, node_key: str) -> bytes:
    return encode({"secret": secret, "signing_key": signing_key, "node_key": node_key})
