"""Who is a member, with which key: a log that says otherwise than its signatures fails check 7, by name.

In most tests ana changes her key during the recorded run.
"""

from typing import Any

import pytest

from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import (
    BeaconEntry,
    CommitEntry,
    DatasetEntry,
    Enrolment,
    KeyChange,
    PlanEntry,
    ReleaseEntry,
    Revocation,
    RoundOpened,
)
from intertwine.protocols.keys import NewKey, sign_new_key
from intertwine.protocols.round import Signed
from tests.recording import Audit, Recording, assert_fails, fixed_key
from tests.retracing import cut, finding, judged

ANA, NEXT = "ana", fixed_key("ana's next key")


def new_key(recording: Recording, **options: Any) -> Signed[NewKey]:
    """The document with which ana replaces her key."""
    values = {
        "deployment": recording.log_key.public,
        "participant": ANA,
        "sequence": 1,
        "old": recording.keys[ANA],
        "new": NEXT,
    }
    return sign_new_key(**{**values, **options})


def change(recording: Recording, position: int, signed: Signed[NewKey] | None = None) -> None:
    """Insert a change of key."""
    time = recording.entries[position].time
    recording.entries.insert(position, KeyChange(time=time, change=signed or new_key(recording)))


# Changes of key


def test_statements_are_judged_under_the_key_in_force(recording: Recording) -> None:
    """What ana signs before the change is fine, what she then still signs with the old key is not."""
    position = recording.position(RoundOpened, 1)
    recording.entries[recording.position(BeaconEntry, 1) :] = []
    change(recording, position)
    commit = recording.position(CommitEntry, 3)
    assert recording.entries[commit].commit.body.slot.participant == ANA
    assert finding(recording)[:2] == ("commit", commit)

    recording.keys = {**recording.keys, ANA: NEXT}
    recording.edit(commit, plan=recording.entries[commit].commit.body.plan)
    history = judged(recording)
    assert history.findings == {}
    enrolled = recording.position(Enrolment)
    assert history.members[ANA].keys == [(enrolled, fixed_key(ANA).public), (position, NEXT.public)]


def test_slot_keeps_the_key_of_its_commit(recording: Recording) -> None:
    """A change between commit and release: the release is the old key's, and not the new one's."""
    position = recording.position(ReleaseEntry)
    assert recording.entries[position].release.body.slot.participant == ANA
    recording.entries[position + 1 :] = []
    change(recording, position)
    history = judged(recording)
    assert history.findings.keys() == {"outcome"}  # what comes after was cut off

    recording.keys = {**recording.keys, ANA: NEXT}
    recording.edit(position + 1, beacon=recording.entries[position + 1].release.body.beacon)
    assert judged(recording).findings["release"].index == position + 1


def _forged(recording: Recording) -> Signed[NewKey]:
    """Everything is right, but ben signs it."""
    return Signed[NewKey].create(new_key(recording).body, recording.keys["ben"])


def _not_held(recording: Recording) -> Signed[NewKey]:
    """The new key belongs to somebody who never signed for it."""
    signed = new_key(recording)
    other = fixed_key("mallory").public
    body = signed.body.model_copy(update={"new_key": other})
    return Signed[NewKey].create(body, recording.keys[ANA])


def _for_ben(recording: Recording) -> Signed[NewKey]:
    return new_key(recording, participant="ben")


def _stranger(recording: Recording) -> Signed[NewKey]:
    return new_key(recording, participant="dee")


def _other_deployment(recording: Recording) -> Signed[NewKey]:
    return new_key(recording, deployment=fixed_key("mallory").public)


def _out_of_order(recording: Recording) -> Signed[NewKey]:
    return new_key(recording, sequence=2)


def _key_of_another(recording: Recording) -> Signed[NewKey]:
    return new_key(recording, new=recording.keys["ben"])


def _same_key(recording: Recording) -> Signed[NewKey]:
    return new_key(recording, new=recording.keys[ANA])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_forged, "another key than expected"),
        (_not_held, "does not fit"),
        (_for_ben, "another key than expected"),
        (_stranger, "'dee' is not enrolled"),
        (_other_deployment, "another deployment"),
        (_out_of_order, "does not follow"),
        (_key_of_another, "second time"),
        (_same_key, "second time"),
    ],
    ids=lambda value: value.__name__[1:] if callable(value) else "",
)
def test_unfounded_change(recording: Recording, make: Any, words: str) -> None:
    position = recording.position(PlanEntry)
    change(recording, position, make(recording))
    recording.entries[position + 1 :] = []
    check, index, problem = finding(recording)
    assert (check, index) == ("enrolment", position)
    assert words in problem


def test_unsigned_change_fails_the_audit_by_name(recording: Recording, audit: Audit) -> None:
    position = recording.position(PlanEntry)
    change(recording, position, _forged(recording))
    assert_fails(audit(recording), "enrolment", position, "another key than expected")


def test_replayed_change(recording: Recording) -> None:
    """ana changes her key twice; the first document comes once more, then an old key is to come back."""
    position = recording.position(PlanEntry)
    recording.entries[position:] = []
    first, third = new_key(recording), fixed_key("ana's third key")
    second = new_key(recording, sequence=2, old=NEXT, new=third)
    back = new_key(recording, sequence=3, old=third, new=recording.keys[ANA])
    recording.entries += [KeyChange(time=time, change=signed) for time, signed in enumerate((first, second))]
    assert judged(recording).findings == {}
    assert judged(recording).members[ANA].key == third.public

    recording.entries.append(KeyChange(time=3, change=first))
    assert finding(recording)[:2] == ("enrolment", position + 2)
    recording.entries[-1] = KeyChange(time=3, change=back)
    assert finding(recording)[:2] == ("enrolment", position + 2)
    assert "second time" in finding(recording)[2]


def test_enrolment_with_a_key_that_somebody_had(recording: Recording) -> None:
    """ben would enrol with the key that ana has given up."""
    position = recording.position(Enrolment, 1)
    recording.edit(position, signing_key=recording.keys[ANA].public)
    change(recording, position - 1)
    recording.entries[position + 2 :] = []
    assert finding(recording) == ("enrolment", position + 1, "a key occurs for the second time in the log")


def test_same_statement_signed_for_another_purpose(recording: Recording) -> None:
    """A signature of the document does not show that the new key is held."""
    signed = new_key(recording)
    assert signed.signature != signed.body.possession
    swapped = signed.body.model_copy(update={"possession": signed.signature})
    position = cut(recording, PlanEntry)
    recording.entries.append(KeyChange(time=1, change=Signed[NewKey].create(swapped, recording.keys[ANA])))
    assert finding(recording)[:2] == ("enrolment", position)


def test_new_key_is_the_same_bytes_each_time(recording: Recording) -> None:
    assert new_key(recording).encode() == new_key(recording).encode()
    assert sha256(new_key(recording).encode()) == new_key(recording).digest()


# Enrolled records


def test_records_stay_enrolled_after_a_change_of_key(enrolled: Recording, audit: Audit) -> None:
    """Their proofs are bound to the key that signed them, so they hold on."""
    recording = enrolled
    position = recording.position(DatasetEntry, 2)
    assert recording.entries[position].dataset.body.participant == ANA
    recording.entries[position:] = []
    change_at = recording.position(PlanEntry)
    change(recording, change_at)
    commit = recording.position(CommitEntry)
    assert recording.entries[commit].commit.body.slot.participant == ANA
    assert recording.entries[commit].commit.body.dataset
    recording.entries[commit + 1 :] = []
    recording.keys = {**recording.keys, ANA: NEXT}
    recording.edit(commit, plan=recording.entries[commit].commit.body.plan)
    verdict = audit(recording)
    assert verdict.passed, verdict.checks


def test_records_signed_with_a_replaced_key(enrolled: Recording) -> None:
    recording = enrolled
    position = recording.position(DatasetEntry)
    recording.entries[position + 1 :] = []
    change(recording, position)
    assert finding(recording) == (
        "dataset",
        position + 1,
        "the document is signed by another key than expected.",
    )


# Revocation


def revoke(recording: Recording, position: int, participant: str = ANA) -> None:
    """Insert a revocation."""
    time = recording.entries[position].time
    recording.entries.insert(position, Revocation(time=time, participant=participant, reason="left"))


def test_revoked_before_the_plan(recording: Recording, audit: Audit) -> None:
    position = recording.position(PlanEntry)
    revoke(recording, position)
    assert_fails(audit(recording), "plan", position + 1, "'ana' is revoked")


def test_revoked_participant_opens_no_slot(recording: Recording) -> None:
    position = cut(recording, CommitEntry, 3)
    opened = position - 1
    revoke(recording, opened)
    assert finding(recording)[:2] == ("plan", opened + 1)
    recording.edit(opened + 1, participants=["ben", "cyd"])
    assert judged(recording).findings == {}


def test_members_that_are_left_out_of_a_round(recording: Recording) -> None:
    cut(recording, CommitEntry)
    revoke(recording, len(recording.entries) - 1)
    recording.edit(len(recording.entries) - 1, participants=["cyd"])
    assert finding(recording)[0] == "plan"


def test_revoked_participant_commits_nothing(recording: Recording) -> None:
    position = recording.position(CommitEntry)
    recording.entries[position + 1 :] = []
    revoke(recording, position)
    assert finding(recording) == ("commit", position + 1, "participant 'ana' is revoked")


def test_slot_that_committed_before_ends_like_any_other(recording: Recording) -> None:
    position = recording.position(BeaconEntry)
    last = recording.position(RoundOpened, 1)
    recording.entries[last:] = []
    revoke(recording, position)
    recording.redraw_beacon(position + 1)
    # The releases answer another beacon now; that is not the history's to judge.
    assert judged(recording).findings == {}


def test_revoked_participant_enrols_nothing(enrolled: Recording) -> None:
    recording = enrolled
    position = recording.position(DatasetEntry)
    recording.entries[position + 1 :] = []
    revoke(recording, position)
    assert finding(recording) == ("dataset", position + 1, "participant 'ana' is revoked")


def test_revoked_participant_changes_no_key(recording: Recording) -> None:
    position = recording.position(PlanEntry)
    recording.entries[position + 1 :] = []
    change(recording, position)
    revoke(recording, position)
    recording.entries[position + 2 :] = []
    assert finding(recording) == ("enrolment", position + 1, "participant 'ana' is revoked")


@pytest.mark.parametrize(("participant", "words"), [("dee", "not enrolled"), (ANA, "is revoked")])
def test_unfounded_revocation(recording: Recording, participant: str, words: str) -> None:
    position = recording.position(PlanEntry)
    recording.entries[position + 1 :] = []
    revoke(recording, position, participant)
    revoke(recording, position)
    recording.entries[position + 2 :] = []
    check, index, problem = finding(recording)
    assert (check, index) == ("enrolment", position + 1)
    assert words in problem
