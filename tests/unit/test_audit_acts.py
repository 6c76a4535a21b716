"""Administrative acts: a log in which one cannot have happened fails the audit where it stands, by name."""

from typing import Any

import pytest

from intertwine.protocols.entries import (
    AccessEnded,
    AccessGranted,
    Act,
    Enrolment,
    InvitationIssued,
    InvitationsEnded,
    LogCreated,
    ModelEntry,
    PlanEntry,
    Publication,
    RoundOpened,
    RunResumed,
    RunStopped,
)
from intertwine.protocols.signing import SigningKey
from tests.recording import Audit, Recording, assert_fails
from tests.retracing import cut, finding, judged

ANA = "ana"


# The log's creation


def test_log_without_its_creation(recording: Recording, audit: Audit) -> None:
    del recording.entries[0]
    assert_fails(audit(recording), "enrolment", 0, "does not begin")


def test_log_created_twice(recording: Recording, audit: Audit) -> None:
    last = len(recording.entries)
    recording.entries.append(recording.entries[0].model_copy(update={"time": recording.entries[-1].time}))
    assert_fails(audit(recording), "enrolment", last, "created before")


def test_log_created_with_another_key(recording: Recording, audit: Audit, other_key: SigningKey) -> None:
    recording.edit(0, act=LogCreated(log_key=other_key.public))
    assert_fails(audit(recording), "enrolment", 0, "another key")


# Invitations


@pytest.mark.parametrize(
    "changes", [{"role": "retailer"}, {"tasks": ["forecast"]}, {"expires": 0}, {"participant": "dee"}]
)
def test_enrolled_otherwise_than_invited(recording: Recording, changes: dict[str, Any]) -> None:
    position = recording.position(Enrolment)
    invitation = recording.entries[position - 1].act.model_copy(update=changes)
    recording.edit(position - 1, act=invitation)
    recording.entries[position + 1 :] = []
    check, index, problem = finding(recording)
    assert (check, index) == ("enrolment", position)
    assert "not invited" in problem


def test_nobody_enrols_with_an_ended_invitation(recording: Recording) -> None:
    position = recording.position(Enrolment)
    invitation, enrolment = recording.entries[position - 1 : position + 1]
    assert isinstance(invitation, Act)
    assert isinstance(invitation.act, InvitationIssued)
    end = Act(time=1, act=InvitationsEnded(number=invitation.act.number, participant=ANA))
    again = Act(time=1, act=invitation.act.model_copy(update={"number": invitation.act.number + 1}))
    recording.entries[position:] = [end, again, enrolment]
    assert not judged(recording).findings
    recording.entries[position:] = [end, enrolment]
    check, index, problem = finding(recording)
    assert (check, index) == ("enrolment", position + 1)
    assert "not invited" in problem


@pytest.mark.parametrize(
    ("names", "number", "words"),
    [
        (["ben"], 1, "had no invitation"),
        ([ANA, ANA], 1, "had no invitation"),
        ([ANA], 2, "number"),
        ([], 3, "enrolled"),
    ],
)
def test_only_invitations_that_are_there_end(
    recording: Recording, names: list[str], number: int, words: str
) -> None:
    position = recording.position(Enrolment)
    if names:
        recording.entries[position:] = []
    recording.entries.extend(
        Act(time=time, act=InvitationsEnded(number=number, participant=name))
        for time, name in enumerate(names or [ANA])
    )
    check, index, problem = finding(recording)
    assert (check, index) == ("enrolment", len(recording.entries) - 1)
    assert words in problem


def test_invitations_are_numbered_and_end_with_enrolment(recording: Recording) -> None:
    position = recording.position(PlanEntry)
    recording.entries[position:] = []
    again = InvitationIssued(number=5, participant="dee", role="smb", tasks=["risk"], expires=1)
    recording.entries.append(Act(time=1, act=again))
    assert finding(recording) == ("enrolment", position, "the invitations are not numbered in order")
    again = again.model_copy(update={"number": 4, "participant": ANA})
    recording.entries[-1] = Act(time=1, act=again)
    assert finding(recording) == ("enrolment", position, "participant 'ana' is enrolled already")


# Stopped runs


def test_stopped_run_opens_no_round(recording: Recording) -> None:
    position = recording.position(RoundOpened, 1)
    recording.entries[position + 1 :] = []
    recording.entries.insert(position, Act(time=1, act=RunStopped(run="spring")))
    assert finding(recording) == ("plan", position + 1, "the run was stopped")


def test_stopped_run_publishes_nothing(recording: Recording) -> None:
    position = recording.position(Publication)
    assert isinstance(recording.entries[position - 1], ModelEntry)
    recording.entries.insert(position, Act(time=1, act=RunStopped(run="spring")))
    assert finding(recording) == ("publication", position + 1, "the run was stopped")


def test_resumed_run_goes_on(recording: Recording) -> None:
    cut(recording, RoundOpened, 1)
    recording.entries.append(Act(time=1, act=RunResumed(run="spring")))
    assert not judged(recording).findings


def test_a_stopped_run_is_not_resumed(recording: Recording) -> None:
    position = cut(recording, RoundOpened, 1)
    acts = (RunStopped(run="spring"), RunResumed(run="spring"))
    recording.entries.extend(Act(time=1, act=act) for act in acts)
    assert finding(recording) == ("plan", position + 1, "the run was stopped before")


@pytest.mark.parametrize("act", [RunStopped, RunResumed])
@pytest.mark.parametrize(("run", "words"), [("summer", "not planned"), ("spring", "already published")])
def test_unfounded_stop_or_resumption(
    recording: Recording, act: type[RunStopped | RunResumed], run: str, words: str
) -> None:
    recording.entries.append(Act(time=1, act=act(run=run)))
    check, _, problem = finding(recording)
    assert check == "plan"
    assert words in problem


# Access to the control plane


def grants(recording: Recording, *numbers: int, ended: tuple[int, ...] = ()) -> tuple[str, int, str]:
    """The finding on grants of these numbers, and then on the ends of these."""
    position = recording.position(PlanEntry)
    recording.entries[position:] = [
        *(
            Act(time=1, act=AccessGranted(number=number, name="eve", role="auditor", expires=9))
            for number in numbers
        ),
        *(Act(time=2, act=AccessEnded(number=number)) for number in ended),
    ]
    return finding(recording)


def test_grants_are_numbered_and_end_once(recording: Recording) -> None:
    position = recording.position(PlanEntry)
    assert grants(recording, 2)[1:] == (position, "the grants are not numbered in order")


@pytest.mark.parametrize(("ended", "words"), [((3,), "no such grant"), ((1, 1), "ended before")])
def test_only_a_grant_that_is_there_ends(recording: Recording, ended: tuple[int, ...], words: str) -> None:
    check, _, problem = grants(recording, 1, 2, ended=ended)
    assert check == "enrolment"
    assert words in problem


def test_who_asked_for_an_act_was_granted_the_coordinators_access(recording: Recording) -> None:
    position = cut(recording, RoundOpened, 1)
    access = [AccessGranted(number=1, name="ops", role="coordinator", expires=9)]
    access.append(AccessGranted(number=2, name="eve", role="auditor", expires=9))
    recording.entries.extend(Act(time=1, act=grant) for grant in access)
    recording.entries.append(Act(time=1, by="ops", act=RunResumed(run="spring")))
    assert not judged(recording).findings
    recording.entries.append(Act(time=1, by="eve", act=RunResumed(run="spring")))
    problem = "'eve' was never granted the coordinator's access"
    assert finding(recording) == ("plan", position + 3, problem)
