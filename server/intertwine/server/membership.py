"""Membership after enrolment: changes of key, and revocation.

Whether somebody is a member, and with which key, is decided in the transaction that logs what it sent. So the
log never holds a statement under a key that was not in force there, nor one of a participant revoked before.
"""

from collections.abc import Callable, Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from intertwine.protocols.entries import KeyChange, Revocation
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.keys import KeyStatus, NewKey, check_new_key
from intertwine.protocols.round import Signed
from intertwine.server.store import KeyChangeRow, Participant, RevocationRow, Store, now

# Expels a Flower node from SuperLink; repeating it is harmless.
UnregisterNode = Callable[[int], None]


def key_status(store: Store, name: str) -> KeyStatus:
    """A participant's key in force, and how often it was changed."""
    with store.reading() as session:
        return _status(session, session.get_one(Participant, name))


def change_key(store: Store, name: str, signed: Signed[NewKey]) -> KeyStatus:
    """Replace the key of the participant `name`, and log that; the latest change is accepted again.

    VerificationError if the document is not signed as it should be or does not come next; InputError if the
    new key was ever registered here. Nothing changes then.
    """
    document = signed.encode()
    with store.transaction() as session:
        member = require_active(session, name)
        status = _status(session, member)
        latest = session.get(KeyChangeRow, (name, status.changes))
        if latest is not None and latest.document == document:
            return status
        check_new_key(signed, store.deployment, name, member.signing_key, status.changes)
        refuse_known_key(session, signed.body.new_key)
        body = signed.body
        session.add(
            KeyChangeRow(
                participant=name,
                sequence=body.sequence,
                old_key=body.old_key,
                new_key=body.new_key,
                document=document,
            )
        )
        member.signing_key = body.new_key
        store.append(session, KeyChange(time=now(), change=signed))
        return KeyStatus(participant=name, signing_key=body.new_key, changes=body.sequence)


def revoke(store: Store, name: str, reason: str, unregister: UnregisterNode) -> bool:
    """End a membership and log it, then expel the participant's node; whether it was a member until now.

    A revoked participant's access token is void, it may not be planned for, and what it sends is refused.
    Runs in progress go on without it. If the node could not be expelled (FederationError), repeat the call:
    then only that is done.
    """
    entry = Revocation.parse({"type": "revocation", "time": now(), "participant": name, "reason": reason})
    participant = store.participant(name)
    with store.transaction() as session:
        member = session.get(RevocationRow, name) is None
        if member:
            session.add(RevocationRow(participant=name))
            store.append(session, entry)
    unregister(int(participant.node_id))
    return member


def active_participants(store: Store) -> list[Participant]:
    """Everyone who is enrolled and not revoked, by name."""
    members = store.participants()
    with store.reading() as session:
        gone = revoked(session, [member.name for member in members])
    return [member for member in members if member.name not in gone]


def revoked(session: Session, names: Iterable[str]) -> set[str]:
    """Those of the participants whose membership has ended."""
    return set(session.scalars(select(RevocationRow.participant))) & set(names)


def require_active(session: Session, name: str, key: str | None = None) -> Participant:
    """The participant, if it is not revoked and `key`, unless None, is its key in force.

    VerificationError `membership` or `signature` otherwise.
    """
    if session.get(RevocationRow, name) is not None:
        raise VerificationError("membership", f"participant {name!r} is revoked.")
    member = session.get_one(Participant, name)
    if key not in (None, member.signing_key):
        raise VerificationError("signature", f"participant {name!r} has another key in force.")
    return member


def refuse_known_key(session: Session, key: str) -> None:
    """InputError if this signing key is in force, or ever was."""
    enrolled = select(Participant.name).where(Participant.signing_key == key)
    replaced = select(KeyChangeRow.participant).where(
        (KeyChangeRow.old_key == key) | (KeyChangeRow.new_key == key)
    )
    if session.scalar(enrolled) or session.scalar(replaced):
        raise InputError("The signing key is or was registered here.", "Make a new one.")


def _status(session: Session, member: Participant) -> KeyStatus:
    changes = session.scalars(select(KeyChangeRow).where(KeyChangeRow.participant == member.name)).all()
    return KeyStatus(participant=member.name, signing_key=member.signing_key, changes=len(changes))
