"""Inviting participants and registering their keys."""

import secrets
from collections.abc import Callable

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from intertwine.models import registry
from intertwine.protocols import enrolment
from intertwine.protocols.encoding import sha256
from intertwine.protocols.enrolment import EnrolmentAnswer, EnrolmentRequest
from intertwine.protocols.entries import ROLES, Act, Enrolment, InvitationIssued, InvitationsEnded
from intertwine.protocols.errors import InputError
from intertwine.server.home import Home
from intertwine.server.membership import refuse_known_key, require_active
from intertwine.server.store import Invitation, Participant, Store, now

# Registers a Flower node key with SuperLink and returns the node id; repeating it is harmless.
RegisterNode = Callable[[bytes], int]


def invite(
    home: Home,
    store: Store,
    participant: str,
    role: str,
    tasks: list[str],
    lifetime_s: int,
    by: str | None = None,
) -> str:
    """Make a one-time token for `participant`, fix its role and tasks, and log that it was invited.

    by: the name, from a grant, of who asked for it over HTTP.
    InputError for an unknown role or task, or a participant that is enrolled already.
    """
    if role not in ROLES:
        raise InputError(f"Role {role!r} is not known.", f"Use one of: {', '.join(ROLES)}.")
    for name in tasks:
        registry.require(name)
    if not tasks or len(set(tasks)) != len(tasks):
        raise InputError("The tasks must be given, each once.", "Add --task NAME for each task.")
    invitation = enrolment.Invitation.parse(
        {
            "participant": participant,
            "tasks": sorted(tasks),
            "authority": enrolment.authority_fingerprint(home.authority.read_bytes()),
            "secret": secrets.token_hex(32),
        }
    )
    with store.transaction() as session:
        _refuse_enrolled(session, participant)
        row = Invitation(
            secret_digest=invitation.secret_digest(),
            participant=participant,
            role=role,
            tasks=sorted(tasks),
            expires=now() + lifetime_s,
        )
        session.add(row)
        store.append(session, _invitation_entry(row, _issued(session), by))
    return invitation.token()


def withdraw(store: Store, participant: str) -> int:
    """End all invitations of `participant` that are still valid, and log that; how many.

    InputError if there is none, or if it has enrolled.
    """
    with store.transaction() as session:
        if session.get(Participant, participant) is not None:
            raise InputError(
                f"Participant {participant!r} is enrolled.",
                f"To end that: intertwine coordinator revoke {participant}",
            )
        open_ones = session.scalars(_open_invitations().where(Invitation.participant == participant)).all()
        if not open_ones:
            raise InputError(
                f"{participant!r} has no invitation that is valid.", "See: intertwine coordinator status"
            )
        for invitation in open_ones:
            invitation.expires = 0
        end = InvitationsEnded(number=_issued(session), participant=participant)
        store.append(session, Act(time=now(), act=end))
    return len(open_ones)


def open_invitations(store: Store) -> list[Invitation]:
    """The invitations with which somebody can enrol now, by name."""
    with store.reading() as session:
        enrolled = select(Participant.name)
        waiting = _open_invitations().where(Invitation.participant.not_in(enrolled))
        return list(session.scalars(waiting.order_by(Invitation.participant, Invitation.expires)))


def _issued(session: Session) -> int:
    """How many invitations there are by now, which is the number of the latest."""
    return session.scalar(select(func.count()).select_from(Invitation)) or 0


def _open_invitations() -> Select[Invitation]:
    return select(Invitation).where(Invitation.used.is_(False), Invitation.expires >= now())


def enrol(
    home: Home, store: Store, request: EnrolmentRequest, register_node: RegisterNode
) -> EnrolmentAnswer:
    """Use up an invitation: register both keys and log the enrolment, all or nothing.

    Whoever repeats the request before the token expires, with the same keys, has lost the answer: it gets
    another one, with a new access token instead of the old. InputError if the token is unknown, expired or
    used with other keys; VerificationError if the request is not signed by the key it registers.
    """
    request.verify()
    with store.reading() as session:
        _usable_invitation(session, request, now())
    node_id = register_node(request.node_key.encode())
    access_token = secrets.token_hex(32)
    with store.transaction() as session:
        time = now()
        invitation = _usable_invitation(session, request, time)
        access_digest = sha256(bytes.fromhex(access_token))
        if invitation.used:
            session.get_one(Participant, invitation.participant).access_digest = access_digest
        else:
            _refuse_known_keys(session, request)
            invitation.used = True
            session.add(_participant(invitation, request, node_id, access_digest))
            store.append(session, _log_entry(invitation, request, time))
        return EnrolmentAnswer(
            participant=invitation.participant,
            role=invitation.role,
            tasks=invitation.tasks,
            deployment=store.deployment,
            log_origin=store.origin,
            fleet_address=home.settings.fleet_address,
            access_token=access_token,
        )


def _invitation_entry(invitation: Invitation, number: int, by: str | None) -> Act:
    return Act(
        time=now(),
        by=by,
        act=InvitationIssued.parse(
            {
                "kind": "invitation",
                "number": number,
                "participant": invitation.participant,
                "role": invitation.role,
                "tasks": invitation.tasks,
                "expires": invitation.expires,
            }
        ),
    )


def _participant(
    invitation: Invitation, request: EnrolmentRequest, node_id: int, access_digest: str
) -> Participant:
    return Participant(
        name=invitation.participant,
        role=invitation.role,
        tasks=invitation.tasks,
        signing_key=request.signing_key,
        node_key=request.node_key,
        node_id=str(node_id),
        access_digest=access_digest,
    )


def _log_entry(invitation: Invitation, request: EnrolmentRequest, time: int) -> Enrolment:
    return Enrolment.parse(
        {
            "type": "enrolment",
            "time": time,
            "participant": invitation.participant,
            "role": invitation.role,
            "tasks": invitation.tasks,
            "signing_key": request.signing_key,
            "node_key": sha256(request.node_key.encode()),
        }
    )


def _usable_invitation(session: Session, request: EnrolmentRequest, time: int) -> Invitation:
    """The request's invitation: unused, or used by this very request."""
    invitation = session.get(Invitation, sha256(bytes.fromhex(request.secret)))
    remedy = "Ask the coordinator for a new invitation."
    if invitation is None:
        raise InputError("The invitation token is not known here.", remedy)
    if invitation.used:
        _require_same_keys(session, invitation, request)
    else:
        _refuse_enrolled(session, invitation.participant)
    if invitation.expires < time:
        raise InputError("The invitation token has expired, or was withdrawn.", remedy)
    return invitation


def _require_same_keys(session: Session, invitation: Invitation, request: EnrolmentRequest) -> None:
    member = require_active(session, invitation.participant)
    if (member.signing_key, member.node_key) != (request.signing_key, request.node_key):
        raise InputError(
            "The invitation token was used already, with other keys.",
            "If you used it, repeat that with the same --home; otherwise ask for a new invitation.",
        )


def _refuse_enrolled(session: Session, participant: str) -> None:
    if session.get(Participant, participant) is not None:
        raise InputError(f"Participant {participant!r} is enrolled already.", "Choose another name.")


def _refuse_known_keys(session: Session, request: EnrolmentRequest) -> None:
    refuse_known_key(session, request.signing_key)
    known = select(Participant).where(Participant.node_key == request.node_key)
    if session.scalars(known).first() is not None:
        raise InputError(
            "The node key is registered for another participant.", "Enrol from a new home folder."
        )
