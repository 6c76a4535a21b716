"""Who takes part, with which key: invitations, enrolments, changes of key and revocations.

A participant has one key at a time. What it signs is judged under the key in force at its place in the log,
except a release: it belongs to the key that signed its slot's commit, whatever became of that key. A revoked
participant opens no slot, commits to nothing and enrols nothing; a slot that had committed before ends like
any other.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from intertwine.protocols.entries import (
    AccessGranted,
    Enrolment,
    InvitationIssued,
    InvitationsEnded,
    KeyChange,
    Revocation,
)
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.keys import check_new_key


@dataclass
class Member:
    """A participant that enrolled.

    keys: every key it had, after the position of the entry from which on it was in force.
    """

    enrolment: Enrolment
    keys: list[tuple[int, str]]
    revocation: Revocation | None = None

    @property
    def key(self) -> str:
        """The signing key in force."""
        return self.keys[-1][1]


@dataclass
class Membership:
    """The members so far, by name. claim: records keys, and refuses those that occurred before."""

    log_key: str
    claim: Callable[..., None]
    members: dict[str, Member] = field(default_factory=dict)
    invitations: list[InvitationIssued] = field(default_factory=list)
    ended_invitations: set[int] = field(default_factory=set)
    grants: list[AccessGranted] = field(default_factory=list)
    ended_grants: set[int] = field(default_factory=set)

    def invite(self, act: InvitationIssued) -> None:
        """An invitation was issued."""
        require(act.number == len(self.invitations) + 1, "the invitations are not numbered in order")
        require(act.participant not in self.members, f"participant {act.participant!r} is enrolled already")
        self.invitations.append(act)

    def end_invitations(self, act: InvitationsEnded) -> None:
        """All invitations of a name were ended."""
        name = act.participant
        require(act.number == len(self.invitations), "the number is not that of the latest invitation")
        require(name not in self.members, f"participant {name!r} is enrolled already")
        issued = {invitation.number for invitation in self.invitations if invitation.participant == name}
        require(not issued <= self.ended_invitations, f"participant {name!r} had no invitation")
        self.ended_invitations |= issued

    def grant(self, act: AccessGranted) -> None:
        """Access to the control plane was granted."""
        require(act.number == len(self.grants) + 1, "the grants are not numbered in order")
        self.grants.append(act)

    def end_grant(self, number: int) -> None:
        """A grant was ended."""
        require(number <= len(self.grants), "there was no such grant")
        require(number not in self.ended_grants, "the grant was ended before")
        self.ended_grants.add(number)

    def check_author(self, name: str) -> None:
        """Whoever asked for an act over HTTP was once granted the coordinator's access.

        Not whether it was still in force: a request that was admitted in time may be logged afterwards.
        """
        held = any((grant.name, grant.role) == (name, "coordinator") for grant in self.grants)
        require(held, f"{name!r} was never granted the coordinator's access")

    def enrol(self, index: int, entry: Enrolment) -> None:
        """Somebody enrolled."""
        require(entry.participant not in self.members, f"participant {entry.participant!r} enrols twice")
        offered = (entry.participant, entry.role, entry.tasks)
        require(
            any(
                (invitation.participant, invitation.role, invitation.tasks) == offered
                and entry.time <= invitation.expires
                and invitation.number not in self.ended_invitations
                for invitation in self.invitations
            ),
            f"participant {entry.participant!r} was not invited with this role and these tasks by then",
        )
        self.claim("a key", entry.signing_key, entry.node_key)
        self.members[entry.participant] = Member(entry, [(index, entry.signing_key)])

    def change_key(self, index: int, entry: KeyChange) -> None:
        """A participant replaced its key."""
        member = self.active(entry.change.body.participant)
        name = member.enrolment.participant
        check_new_key(entry.change, self.log_key, name, member.key, len(member.keys) - 1)
        self.claim("a key", entry.change.body.new_key)
        member.keys.append((index, entry.change.body.new_key))

    def revoke(self, entry: Revocation) -> None:
        """The coordinator ended a membership."""
        self.active(entry.participant).revocation = entry

    def active(self, name: str) -> Member:
        """A member that is enrolled and not revoked."""
        member = self.members.get(name)
        if member is None:
            raise broken(f"participant {name!r} is not enrolled")
        require(member.revocation is None, f"participant {name!r} is revoked")
        return member

    def revoked(self, name: str) -> bool:
        """Whether this member's membership has ended."""
        member = self.members.get(name)
        return member is not None and member.revocation is not None


def require(condition: bool, problem: str) -> None:
    """VerificationError `log_rule` unless the condition holds."""
    if not condition:
        raise broken(problem)


def broken(problem: str) -> VerificationError:
    """A rule of the log was broken."""
    return VerificationError("log_rule", problem)
