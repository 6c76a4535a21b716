"""Who may use the control plane, and as what: participants, auditors and coordinators, by bearer token.

A participant's token comes from enrolment; the other two are granted here. The database keeps digests only,
and the role always comes from its tables, never from the token or its holder.
"""

import secrets
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import AccessEnded, AccessGranted, Act
from intertwine.protocols.errors import InputError, IntertwineError
from intertwine.server.membership import revoked
from intertwine.server.store import AccessGrant, Participant, Store, now

CallerRole: TypeAlias = Literal["coordinator", "auditor", "participant"]


class AccessError(IntertwineError):
    """A request without a valid access token."""


@dataclass(frozen=True)
class Caller:
    """Who sent a request."""

    name: str
    role: CallerRole


class RoleError(IntertwineError):
    """A request with a valid access token whose role does not allow it."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        problem = f"The role {caller.role} does not allow this."
        super().__init__(problem, "Ask the coordinator for a token with another role.")


def grant(store: Store, name: str, role: str, lifetime_s: int) -> str:
    """Make and log a token with which `name` may use the control plane; it is never shown again.

    InputError for a name or role that is not admitted. Earlier tokens of the name stay valid.
    """
    token = secrets.token_hex(32)
    with store.transaction() as session:
        number = 1 + (session.scalar(select(func.count()).select_from(AccessGrant)) or 0)
        act = AccessGranted.parse(
            {"kind": "grant", "number": number, "name": name, "role": role, "expires": now() + lifetime_s}
        )
        session.add(
            AccessGrant(
                number=number,
                name=name,
                role=role,
                token_digest=_digest(token),
                expires=act.expires,
                ended=False,
            )
        )
        store.append(session, Act(time=now(), act=act))
    return token


def end_grants(store: Store, name: str) -> int:
    """End all tokens of `name` that are still valid, and log that; how many. InputError if there is none."""
    with store.transaction() as session:
        valid = _valid().where(AccessGrant.name == name)
        grants = session.scalars(valid.order_by(AccessGrant.number)).all()
        if not grants:
            raise InputError(f"{name!r} has no valid access token.", "See: intertwine coordinator status")
        for row in grants:
            row.ended = True
            store.append(session, Act(time=now(), act=AccessEnded(number=row.number)))
    return len(grants)


def grants_in_force(store: Store) -> list[AccessGrant]:
    """The grants that are valid now, in the order of granting."""
    with store.reading() as session:
        return list(session.scalars(_valid().order_by(AccessGrant.number)))


def caller(store: Store, authorization: str) -> Caller:
    """Who holds the bearer token of this Authorization header; AccessError if nobody does, or no longer."""
    scheme, _, token = authorization.partition(" ")
    try:
        digest = _digest(token)
    except ValueError:
        digest = ""
    if scheme.lower() == "bearer" and digest:
        with store.reading() as session:
            found = _participant(session, digest) or _granted(session, digest)
        if found is not None:
            return found
    raise AccessError(
        "The access token is missing, unknown, expired or revoked.",
        "Enrol with an invitation, or ask the coordinator for access.",
    )


def _valid() -> Select[AccessGrant]:
    return select(AccessGrant).where(AccessGrant.ended.is_(False), AccessGrant.expires >= now())


def _participant(session: Session, digest: str) -> Caller | None:
    name = session.scalar(select(Participant.name).where(Participant.access_digest == digest))
    return Caller(name, "participant") if name and not revoked(session, [name]) else None


def _granted(session: Session, digest: str) -> Caller | None:
    row = session.scalar(_valid().where(AccessGrant.token_digest == digest))
    if row is None:
        return None
    return Caller(row.name, "coordinator" if row.role == "coordinator" else "auditor")


def _digest(token: str) -> str:
    return sha256(bytes.fromhex(token))
