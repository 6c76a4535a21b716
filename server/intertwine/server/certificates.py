"""The deployment's own certificate authority and the servers' TLS certificate (X.509, ECDSA P-384)."""

import ipaddress
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from intertwine.protocols.errors import InputError
from intertwine.protocols.files import read_bounded, write_atomic, write_private

AUTHORITY_LIFETIME = timedelta(days=3650)
CERTIFICATE_LIFETIME = timedelta(days=825)
RENEWAL = timedelta(days=30)
"""A certificate that ends sooner than that is issued anew."""
LOOPBACK = frozenset({"localhost", "127.0.0.1"})
"""In every certificate: the SuperLink and this machine's own commands are reached there."""
_LIMIT = 1 << 16
_CLOCK_SKEW = timedelta(hours=1)


def issue_authority(certificate: Path, key: Path) -> None:
    """Make a self-signed CA that may sign end certificates only."""
    private = _new_key(key)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "intertwine deployment CA")])
    builder = (
        _builder(name, name, private.public_key(), AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
    )
    write_atomic(certificate, builder.sign(private, hashes.SHA384()).public_bytes(Encoding.PEM))


def renew_certificate(
    authority: Path, authority_key: Path, certificate: Path, key: Path, hosts: Collection[str]
) -> bool:
    """See that the server certificate has exactly these hosts and loopback, and goes on for a month.

    hosts: DNS names and IP addresses. Otherwise the CA in these files signs a new one, for the key that is
    there; a key is made if there is none. Whether a new one was made.
    """
    if certificate.exists() and key.exists():
        current = read_certificate(certificate)
        lasts = current.not_valid_after_utc - datetime.now(UTC) > RENEWAL
        if lasts and certificate_hosts(current) == LOOPBACK.union(hosts):
            return False
    private = _key(key) if key.exists() else _new_key(key)
    _issue(authority, authority_key, certificate, private, sorted(hosts))
    return True


def read_certificate(path: Path) -> x509.Certificate:
    """A PEM certificate; InputError if the file holds none."""
    try:
        return x509.load_pem_x509_certificate(read_bounded(path, _LIMIT))
    except ValueError as error:
        raise InputError(f"{path} is not a PEM certificate.", "Restore it from a backup.") from error


def certificate_hosts(certificate: x509.Certificate) -> frozenset[str]:
    """DNS names and IP addresses of a server certificate."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = names.get_values_for_type(x509.IPAddress)
    return frozenset({*names.get_values_for_type(x509.DNSName), *map(str, addresses)})


def _issue(
    authority: Path,
    authority_key: Path,
    certificate: Path,
    private: ec.EllipticCurvePrivateKey,
    hosts: list[str],
) -> None:
    issuer = read_certificate(authority)
    signer = _key(authority_key)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (hosts or ["localhost"])[0][:64])])
    names = [_general_name(host) for host in sorted(LOOPBACK.union(hosts))]
    builder = (
        _builder(name, issuer.subject, private.public_key(), CERTIFICATE_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    write_atomic(certificate, builder.sign(signer, hashes.SHA384()).public_bytes(Encoding.PEM))


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _new_key(path: Path) -> ec.EllipticCurvePrivateKey:
    private = ec.generate_private_key(ec.SECP384R1())
    write_private(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return private


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(read_bounded(path, _LIMIT), password=None)
    except (TypeError, ValueError):  # encrypted, or no key
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InputError(f"{path} is not an EC key.", "Restore it from a backup.")
    return key


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + lifetime)
    )


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
