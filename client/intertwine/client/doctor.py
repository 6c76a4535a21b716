"""What `intertwine agent doctor` examines: all that an agent needs to take part. It changes nothing."""

import socket
import sqlite3
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from intertwine.client.backup import check_integrity
from intertwine.client.budget import spent
from intertwine.client.control import pinned
from intertwine.client.home import Home
from intertwine.client.ledger import NOT_COMPARED, SCHEMA, Ledger
from intertwine.client.records import FEW, read_records
from intertwine.models.registry import task as find_task
from intertwine.protocols import doctor
from intertwine.protocols.accounting import Assurance
from intertwine.protocols.doctor import Finding
from intertwine.protocols.errors import InputError

PACKAGES = ("flwr", "torch", "onnxruntime", "sqlalchemy", "httpx", "cryptography")
_TIMEOUT_S = 5.0
_ASK = "Ask the coordinator; its runbook says how its certificates are renewed."


def diagnose(home: Home) -> list[Finding]:
    """All findings about an agent's home, its coordinator and this machine."""
    secrets = (home.signing_key_file, home.node_key, home.access_token, home.settings_file, home.ledger)
    return doctor.examine(
        [
            ("versions", lambda: doctor.versions(PACKAGES)),
            ("secrets", lambda: doctor.private_files(secrets)),
            ("ca.crt", lambda: doctor.certificate(home.authority, _ASK)),
            ("disk", lambda: doctor.disk(home.path)),
            ("data", lambda: _data(home)),
            ("ledger", lambda: _ledger(home)),
            ("control plane", lambda: _control_plane(home)),
            ("Fleet port", lambda: _handshake("Fleet port", home, home.settings.fleet_address)),
        ]
    )


def _data(home: Home) -> Iterator[Finding]:
    """Whether every task's file can be read, and holds records enough."""
    if not home.settings.tasks:
        yield Finding(
            "data", "fail", "No task has a data file.", "Add a [tasks.NAME] section to settings.toml."
        )
    for name, chosen in home.settings.tasks.items():
        label = f"data of {name}"
        try:
            task = find_task(name)
            count = len(read_records(task, chosen.data))
            chosen.policy(name)
        except InputError as error:
            remedy = error.remedy or "Correct the file, or its path in settings.toml."
            yield Finding(label, "fail", error.problem, remedy)
            continue
        advised = FEW * task.fewest_records
        few = (
            f"Fewer than the {advised} advised: they hardly show under the noise." if count < advised else ""
        )
        yield Finding(label, "warn" if few else "ok", f"{count} records", few)


def _ledger(home: Home) -> Iterator[Finding]:
    """Whether the ledger is whole and of this release; then what is left of every budget."""
    if not home.ledger.is_file():
        return  # named among the secrets
    with closing(sqlite3.connect(f"{home.ledger.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        check_integrity(connection, home.ledger)
        ((schema,),) = connection.execute("PRAGMA user_version").fetchall()
    if 0 < schema < SCHEMA:
        yield Finding("ledger", "warn", "It is of an older release.", "`agent run` brings it up to date.")
        return
    ledger = Ledger(home.ledger)
    compared = ledger.compared()
    if compared.restored:
        yield Finding("ledger", "warn", *NOT_COMPARED)
    else:
        yield Finding("ledger", "ok", f"whole, and compared with {compared.size} entries of the log")
    for name, chosen in home.settings.tasks.items():
        yield _budget(ledger, name, chosen.max_epsilon)
    ledger.close()


def _budget(ledger: Ledger, name: str, limit: float) -> Finding:
    costs = [cost for cost in spent(ledger, name) if cost.assurance is not Assurance.PROVEN_PARTICIPANT]
    used = max((cost.guarantee.epsilon for cost in costs), default=0.0)
    text, label = f"epsilon {used:.2f} of {limit:g} is spent", f"budget of {name}"
    if used < limit:
        return Finding(label, "ok", text)
    return Finding(label, "warn", text, "Raise max_epsilon in settings.toml, or leave the task.")


def _control_plane(home: Home) -> Iterator[Finding]:
    """Whether it answers under the pinned CA, until when its certificate is good, and what time it has."""
    url = home.settings.control_url
    parts = urlsplit(url)
    yield from _handshake("control plane", home, f"{parts.hostname}:{parts.port or 443}")
    try:
        answer = httpx.get(
            f"{url}/healthz", verify=pinned(home.authority), timeout=_TIMEOUT_S, trust_env=False
        )
        there = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (httpx.HTTPError, KeyError, ValueError) as error:
        yield Finding("clock", "warn", f"It cannot be compared: {error}.", "See to the control plane first.")
        return
    yield from doctor.clock(time.time() - there, "the coordinator's clock")


def _handshake(name: str, home: Home, address: str) -> Iterator[Finding]:
    """Whether a TLS server of the pinned CA is at "host:port", and until when its certificate is good."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        with (
            socket.create_connection((host, int(port)), _TIMEOUT_S) as bare,
            pinned(home.authority).wrap_socket(bare, server_hostname=host) as connection,
        ):
            found = connection.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        problem = f"The certificate of {address} is refused: {error.verify_message}."
        yield Finding(name, "fail", problem, f"{_ASK} Do not go on if it should be good.")
        return
    except OSError as error:
        problem = f"{address} does not answer: {error}."
        yield Finding(name, "fail", problem, "Check the network, and whether `coordinator up` runs there.")
        return
    end = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(found["notAfter"])), UTC)
    renew = end - datetime.now(UTC) < doctor.RENEWAL
    text = f"{address} answers; its certificate is valid until {end:%Y-%m-%d}"
    yield Finding(name, "warn" if renew else "ok", text, _ASK if renew else "")
