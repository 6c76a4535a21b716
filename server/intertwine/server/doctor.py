"""What `intertwine coordinator doctor` examines: everything that `up` needs, whether it runs or not."""

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from intertwine.protocols import doctor
from intertwine.protocols.doctor import Finding
from intertwine.protocols.entries import decode_entry
from intertwine.protocols.errors import InputError
from intertwine.protocols.files import read_bounded
from intertwine.server.cosigning import coordinator_policy
from intertwine.server.home import LOOPBACK_ADDRESS, Home
from intertwine.server.schema import is_current
from intertwine.server.store import Store, open_database
from intertwine.server.up import listen, running

PACKAGES = ("flwr", "fastapi", "uvicorn", "httpx", "sqlalchemy", "alembic", "onnx", "cryptography")
_TIMEOUT_S = 5.0
_LIMIT = 1 << 16
_INIT = "Run: intertwine coordinator init"


def diagnose(home: Home) -> list[Finding]:
    """All findings about a coordinator's home and this machine. Nothing is changed."""
    secrets = (home.signing_key_file, home.authority_key, home.certificate_key, home.settings_file)
    return doctor.examine(
        [
            ("versions", lambda: doctor.versions(PACKAGES)),
            ("secrets", lambda: doctor.private_files(secrets)),
            ("signing.key", lambda: doctor.signing_key(home.signing_key_file)),
            (
                "ca.crt",
                lambda: doctor.certificate(home.authority, "Make a new deployment: agents pin this CA."),
            ),
            ("tls.crt", lambda: doctor.certificate(home.certificate, f"{_INIT}, and restart `up`.")),
            ("tls.crt", lambda: _names(home)),
            ("disk", lambda: doctor.disk(home.path)),
            ("home", lambda: _folders(home)),
            ("database", lambda: _database(home)),
            ("witnesses", lambda: _witnesses(home)),
            ("servers", lambda: _servers(home)),
        ]
    )


def _names(home: Home) -> Iterator[Finding]:
    """Whether the certificate is of this CA, of this key, and for the public name."""
    certificate = x509.load_pem_x509_certificate(read_bounded(home.certificate, _LIMIT))
    key = load_pem_private_key(read_bounded(home.certificate_key, _LIMIT), password=None)
    try:
        certificate.verify_directly_issued_by(
            x509.load_pem_x509_certificate(read_bounded(home.authority, _LIMIT))
        )
    except (InvalidSignature, ValueError):
        yield Finding("tls.crt", "fail", "It is not of the CA in ca.crt.", f"Remove it. {_INIT}")
    if certificate.public_key() != key.public_key():
        yield Finding("tls.crt", "fail", "It is not of the key in tls.key.", f"Remove it. {_INIT}")
    host, names = home.settings.host, ", ".join(sorted(home.certificate_hosts))
    if host in home.certificate_hosts:
        yield Finding("names", "ok", names)
    else:
        yield Finding("names", "fail", f"The certificate is for {names}, not for {host}.", f"{_INIT}")


def _folders(home: Home) -> Iterator[Finding]:
    """Whether the published files have their folder, and nobody else can see what is in the home."""
    if not home.blobs.is_dir():
        yield Finding("blobs", "fail", "The folder blobs/ is missing.", "Restore it from a backup.")
    if home.path.stat().st_mode & 0o007:
        remedy = f"Run: chmod 700 {home.path}"
        yield Finding("home", "fail", "Others may see what is in it.", remedy)


def _database(home: Home) -> Iterator[Finding]:
    """Whether it answers and has this release's schema, and the clock against what it holds."""
    database = open_database(home)
    if not home.log_begun.exists():
        yield Finding("database", "fail", "It holds no log yet.", _INIT)
        return
    with database.reading() as session:
        current = is_current(session.connection())
    if not current:
        yield Finding(
            "database", "warn", f"{database.where} has an older schema.", "`up` brings it up to date."
        )
        return
    store = Store(home, home.signing_key)
    yield Finding("database", "ok", f"{database.where}: {store.size()} log entries")
    newest = decode_entry(store.entries(store.size() - 1)[0]).time
    behind_s = newest - time.time()
    if behind_s > 0:
        yield from doctor.clock(-behind_s, "the newest log entry")
    else:
        yield Finding("clock", "ok", "It is not behind the newest log entry.")


def _witnesses(home: Home) -> Iterator[Finding]:
    policy = coordinator_policy(home)
    if policy is not None:
        yield Finding("witnesses", "ok", f"{len(policy.witnesses)} in witnesses.policy")


def _servers(home: Home) -> Iterator[Finding]:
    """Whether everything answers, if `up` runs; whether it could listen, if not."""
    settings = home.settings
    servers = (
        ("control plane", settings.bind, settings.control_port, "/healthz", 200),
        ("Fleet proxy", settings.bind, settings.fleet_port, "/", 404),
        ("SuperLink", LOOPBACK_ADDRESS, settings.superlink_port, "/health", 200),
    )
    if running(home) is not None:
        yield Finding("up", "ok", "It runs.")
        for name, address, port, path, expected in servers:
            yield _answers(home, name, f"{reachable(address)}:{port}", path, expected)
        yield _public_name(home)
    else:
        yield Finding("up", "warn", "It does not run.", "Start it: intertwine coordinator up")
        for name, address, port, *_ in servers:
            yield _free(name, address, port)


def _free(name: str, address: str, port: int) -> Finding:
    try:
        with listen(address, port, "the port"):
            return Finding(name, "ok", f"{address}:{port} is free.")
    except InputError as error:
        return Finding(name, "fail", error.problem, error.remedy)


def _answers(home: Home, name: str, address: str, path: str, expected: int) -> Finding:
    context = ssl.create_default_context(cafile=str(home.authority))
    context.check_hostname = False  # the names are examined by themselves
    try:
        answer = httpx.get(f"https://{address}{path}", verify=context, timeout=_TIMEOUT_S, trust_env=False)
    except httpx.TransportError as error:
        return Finding(name, "fail", f"{address} does not answer: {error}.", "Restart `up`, and see its log.")
    if answer.status_code != expected:
        problem = f"{address} answers with status {answer.status_code}."
        return Finding(
            name, "fail", problem, "Another program may use the port: restart `up`, and see its log."
        )
    return Finding(name, "ok", f"{address} answers.")


def _public_name(home: Home) -> Finding:
    """Whether participants would find us; from in here it may fail although it works from outside."""
    host, port = home.settings.host, home.settings.control_port
    try:
        socket.create_connection((host, port), _TIMEOUT_S).close()
    except OSError as error:
        remedy = "Check the name's DNS record, and that the ports are open: participants connect to it."
        return Finding("public name", "warn", f"{host}:{port} does not answer here: {error}.", remedy)
    return Finding("public name", "ok", f"{host}:{port} answers.")


def reachable(bind: str) -> str:
    """An address of this machine at which a server that listens on `bind` answers, as in a URL."""
    address = ipaddress.ip_address(bind)
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return f"[{bind}]" if address.version == 6 else bind
