"""What `intertwine agent doctor` examines: all that an agent needs to take part. It changes nothing."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from intertwine.client import contact
from intertwine.client.backup import check_integrity
from intertwine.client.budget import spent
from intertwine.client.datasets import Datasets
from intertwine.client.home import Home
from intertwine.client.ledger import NOT_COMPARED, SCHEMA, Ledger
from intertwine.client.records import FEW, read_records
from intertwine.client.serving.api_keys import ApiKeys
from intertwine.models.registry import task as find_task
from intertwine.models.task import DataBoundTask
from intertwine.protocols import doctor
from intertwine.protocols.accounting import Assurance
from intertwine.protocols.doctor import Finding
from intertwine.protocols.errors import InputError
from intertwine.protocols.files import read_bounded

PACKAGES = ("flwr", "torch", "onnxruntime", "sqlalchemy", "httpx", "cryptography")
_BACKUP = "Restore it from a backup."
_LIMIT = 1 << 16


def diagnose(home: Home) -> list[Finding]:
    """All findings about an agent's home, its coordinator and this machine."""
    secrets = (home.signing_key_file, home.node_key, home.access_token, home.settings_file, home.ledger)
    return doctor.examine(
        [
            ("versions", lambda: doctor.versions(PACKAGES)),
            ("secrets", lambda: doctor.private_files(secrets)),
            ("signing.key", lambda: doctor.signing_key(home.signing_key_file)),
            ("node.key", lambda: _node_key(home)),
            ("access.token", lambda: _access_token(home)),
            ("api-keys.toml", lambda: _api_keys(home)),
            ("ca.crt", lambda: doctor.certificate(home.authority, contact.ASK)),
            ("disk", lambda: doctor.disk(home.path)),
            ("data", lambda: _data(home)),
            ("ledger", lambda: _ledger(home)),
            ("control plane", lambda: contact.control_plane(home)),
            ("clock", lambda: contact.clock(home)),
            ("Fleet port", lambda: contact.fleet_port(home)),
            ("membership", lambda: contact.membership(home)),
        ]
    )


def _node_key(home: Home) -> Iterator[Finding]:
    """Whether it is a SuperNode's key, and the one that was registered at enrolment."""
    try:
        key = load_ssh_private_key(read_bounded(home.node_key, _LIMIT), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        yield Finding("node.key", "fail", "It is no SuperNode's key.", _BACKUP)
        return
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    if public == read_bounded(home.node_key.with_suffix(".key.pub"), _LIMIT).strip():
        yield Finding("node.key", "ok", "It is of the public key in node.key.pub.")
    else:
        yield Finding("node.key", "fail", "It is not of the public key in node.key.pub.", _BACKUP)


def _access_token(home: Home) -> Iterator[Finding]:
    if not re.fullmatch(rb"[0-9a-f]{64}", read_bounded(home.access_token, 64)):
        yield Finding("access.token", "fail", "It is no access token.", _BACKUP)


def _api_keys(home: Home) -> Iterator[Finding]:
    """Whether `serve` can use them, and they are nobody else's to read; there need be none."""
    if home.api_keys.exists():
        yield from doctor.private_files([home.api_keys])
        yield Finding("API keys", "ok", f"{len(ApiKeys(home.api_keys).all())} may ask for predictions")


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
    with closing(Ledger(home.ledger)) as ledger:
        compared = ledger.compared()
        if compared.restored:
            yield Finding("ledger", "warn", *NOT_COMPARED)
        else:
            yield Finding("ledger", "ok", f"whole, and compared with {compared.size} entries of the log")
        for name, chosen in home.settings.tasks.items():
            yield _budget(ledger, name, chosen.max_epsilon)
            if _is_data_bound(name) and Datasets(ledger).head(name) is None:
                remedy = f"Before a run uses them: intertwine agent dataset commit {name}"
                yield Finding(f"records of {name}", "warn", "None are enrolled.", remedy)


def _is_data_bound(name: str) -> bool:
    """Whether the task trains on enrolled records; not, if it is unknown, which `_data` says."""
    try:
        return isinstance(find_task(name), DataBoundTask)
    except InputError:
        return False


def _budget(ledger: Ledger, name: str, limit: float) -> Finding:
    costs = [cost for cost in spent(ledger, name) if cost.assurance is not Assurance.PROVEN_PARTICIPANT]
    used = max((cost.guarantee.epsilon for cost in costs), default=0.0)
    text, label = f"epsilon {used:.2f} of {limit:g} is spent", f"budget of {name}"
    if used < limit:
        return Finding(label, "ok", text)
    return Finding(label, "warn", text, "Raise max_epsilon in settings.toml, or leave the task.")
