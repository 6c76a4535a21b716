"""Enrolment: from an invitation token to a home folder with everything an agent needs."""

import hmac
from collections.abc import Mapping
from pathlib import Path

from intertwine.client.control import pinned, request, unauthenticated
from intertwine.client.home import AgentSettings, Home, TaskSettings
from intertwine.client.ledger import Ledger
from intertwine.client.records import read_records
from intertwine.client.supernode import create_node_key
from intertwine.models.registry import task as find_task
from intertwine.protocols.enrolment import (
    EnrolmentAnswer,
    EnrolmentRequest,
    Invitation,
    authority_fingerprint,
)
from intertwine.protocols.errors import FederationError, InputError
from intertwine.protocols.files import (
    make_home,
    make_private_directory,
    read_bounded,
    write_atomic,
    write_private,
)
from intertwine.protocols.settings import write_settings
from intertwine.protocols.signing import SigningKey

MAX_SMALL_ANSWER_BYTES = 64 << 10


def enrol(home: Home, coordinator: str, token: str, data: Mapping[str, Path]) -> AgentSettings:
    """Make keys, pin the coordinator's CA, register, and write the settings, which come last.

    data: for each task its file; all are read and checked before the token is used up, and those of other
    tasks than the token's are left out. InputError for a bad token, task or file; FederationError if the
    coordinator is not the one that made the token. If the answer is lost, calling it again brings another.
    """
    if home.settings_file.exists():
        raise InputError(f"{home.path} is enrolled already.", "Choose another --home.")
    if not coordinator.startswith("https://"):
        raise InputError(f"{coordinator!r} is not an HTTPS address.", "Give it as https://host:port.")
    invitation = Invitation.from_token(token)
    if data.keys().isdisjoint(invitation.tasks):
        allowed = ", ".join(invitation.tasks)
        raise InputError(
            f"The invitation is for {allowed}; there is no data for that.", "Add --data TASK=FILE for it."
        )
    for name, path in data.items():
        read_records(find_task(name), path)
    coordinator = coordinator.rstrip("/")
    make_home(home.path, home.settings_file)
    make_private_directory(home.flower)
    make_private_directory(home.models)
    _pin_authority(home, coordinator, invitation.authority)
    key, node_key = _keys(home)
    body = EnrolmentRequest.create(invitation.secret, node_key, key).encode()
    url, context = f"{coordinator}/v1/enrolments", pinned(home.authority)
    answer = EnrolmentAnswer.decode(request("POST", url, context, body=body, limit=MAX_SMALL_ANSWER_BYTES))
    Ledger(home.ledger, begun=True).close()
    write_private(home.access_token, answer.access_token.encode())
    settings = _settings(answer, coordinator, data)
    write_settings(home.settings_file, settings)
    return settings


def _pin_authority(home: Home, coordinator: str, expected: str) -> None:
    """Fetch the CA certificate and keep it only if it is the one that the token names."""
    pem = request("GET", f"{coordinator}/v1/ca", unauthenticated(), limit=MAX_SMALL_ANSWER_BYTES)
    try:
        genuine = hmac.compare_digest(authority_fingerprint(pem), expected)
    except InputError:
        genuine = False
    if not genuine:
        raise FederationError(
            f"The server at {coordinator} is not the coordinator that made this token.",
            "Check the address; do not go on if it is right.",
        )
    write_atomic(home.authority, pem)


def _keys(home: Home) -> tuple[SigningKey, str]:
    """The signing key, and the SuperNode's public key as an OpenSSH line; a second try uses the same keys."""
    public = home.node_key.with_suffix(".key.pub")
    if not public.exists():
        SigningKey.generate().write(home.signing_key_file)
        write_atomic(public, create_node_key(home.node_key))
    return home.signing_key, read_bounded(public, MAX_SMALL_ANSWER_BYTES).decode().strip()


def _settings(answer: EnrolmentAnswer, coordinator: str, data: Mapping[str, Path]) -> AgentSettings:
    tasks = {
        name: TaskSettings(data=path.resolve()) for name, path in sorted(data.items()) if name in answer.tasks
    }
    return AgentSettings(
        participant=answer.participant,
        role=answer.role,
        deployment=answer.deployment,
        log_origin=answer.log_origin,
        fleet_address=answer.fleet_address,
        control_url=coordinator,
        tasks=tasks,
    )
