"""A coordinator that breaks the protocol and signs the log all the same fails checks 5 to 9, by name.

`Recording.write` makes a fresh checkpoint over whatever the log was made to say.
"""

from typing import Any

import pytest

from intertwine.protocols.checkpoint import Checkpoint, sign_checkpoint
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import (
    BeaconEntry,
    CommitEntry,
    Enrolment,
    Failure,
    ModelEntry,
    PlanEntry,
    Publication,
    ReleaseEntry,
    RoundOpened,
)
from intertwine.protocols.round import Signed
from intertwine.protocols.signing import SigningKey
from tests.recording import Audit, Recording, assert_fails

# 7 enrolment


@pytest.mark.parametrize("shared", ["participant", "signing_key", "node_key"])
def test_enrolled_twice(recording: Recording, audit: Audit, shared: str) -> None:
    position = recording.position(Enrolment)
    first = recording.entries[position]
    fresh = {"participant": "dee", "signing_key": sha256(b"1"), "node_key": sha256(b"2")}
    twin = first.model_copy(update={**fresh, shared: getattr(first, shared), "time": first.time + 1})
    recording.entries.insert(position + 1, twin)
    assert_fails(audit(recording), "enrolment", position + 1)


# 8 plan


def test_plan_signed_by_another_key(recording: Recording, audit: Audit, other_key: SigningKey) -> None:
    position = recording.position(PlanEntry)
    entry = recording.entries[position]
    forged = Signed.create(entry.plan.body, other_key)
    recording.entries[position] = entry.model_copy(update={"plan": forged})
    assert_fails(audit(recording), "plan", position)


def test_plan_of_another_deployment(recording: Recording, audit: Audit, other_key: SigningKey) -> None:
    position = recording.position(PlanEntry)
    recording.edit(position, deployment=other_key.public)
    assert_fails(audit(recording), "plan", position, "another deployment")


def test_plan_removed(recording: Recording, audit: Audit) -> None:
    """Everything that follows is of a run that nobody planned; the first of it is named."""
    del recording.entries[recording.position(PlanEntry)]
    assert_fails(audit(recording), "plan", recording.position(RoundOpened), "not planned")


def test_release_of_an_unplanned_run(recording: Recording, audit: Audit) -> None:
    """It counts for nobody, and its check says so."""
    position = recording.position(ReleaseEntry)
    slot = recording.entries[position].release.body.slot
    other = slot.round.model_copy(update={"run": "summer"})
    recording.edit(position, slot=slot.model_copy(update={"round": other}))
    recording.entries[position + 1 :] = []
    assert_fails(audit(recording), "release", position, "was not opened")


def test_run_planned_twice(recording: Recording, audit: Audit) -> None:
    position = recording.position(PlanEntry)
    recording.entries.insert(position + 1, recording.entries[position])
    recording.edit(position + 1, rounds=1, average_last=1)
    assert_fails(audit(recording), "plan", position + 1, "planned twice")


def test_participant_not_enrolled(recording: Recording, audit: Audit) -> None:
    del recording.entries[recording.position(Enrolment, 1)]
    assert_fails(audit(recording), "plan", recording.position(PlanEntry), "'ben' is not enrolled")


def test_participant_not_enrolled_for_the_task(recording: Recording, audit: Audit) -> None:
    position = recording.position(Enrolment, 1)
    assert recording.entries[position].participant == "ben"
    invitation = recording.entries[position - 1].act.model_copy(update={"tasks": ["forecast"]})
    recording.edit(position - 1, act=invitation)
    recording.edit(position, tasks=["forecast"])
    assert_fails(audit(recording), "plan", recording.position(PlanEntry), "'ben' is not enrolled")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parameters": sha256(b"other")}, "parameters"),
        ({"participants": ["ana", "ben"]}, "slots"),
        ({"participants": ["ana", "ben", "cyd", "dee"]}, "slots"),
    ],
)
def test_round_opened_unlike_planned(
    recording: Recording, audit: Audit, changes: dict[str, Any], words: str
) -> None:
    position = recording.position(RoundOpened, 1)
    recording.edit(position, **changes)
    assert_fails(audit(recording), "plan", position, words)


def test_round_of_unplanned_run(recording: Recording, audit: Audit) -> None:
    position = recording.position(RoundOpened)
    other = recording.entries[position].round.model_copy(update={"run": "summer"})
    recording.edit(position, round=other)
    assert_fails(audit(recording), "plan", position, "not planned")


def test_round_skipped(recording: Recording, audit: Audit) -> None:
    first, second = recording.position(RoundOpened), recording.position(RoundOpened, 1)
    recording.entries[first:second] = []
    assert_fails(audit(recording), "plan", first, "numbered in order")


def test_round_opened_before_the_last_has_ended(recording: Recording, audit: Audit) -> None:
    del recording.entries[recording.position(ModelEntry)]
    assert_fails(audit(recording), "plan", recording.position(RoundOpened, 1), "neither a model")


def test_round_after_publication(recording: Recording, audit: Audit) -> None:
    entry = recording.entries[recording.position(RoundOpened)]
    again = entry.round.model_copy(update={"number": 3})
    recording.entries.append(entry.model_copy(update={"round": again}))
    assert_fails(audit(recording), "plan", len(recording.entries) - 1, "published")


def test_round_beyond_the_plan(recording: Recording, audit: Audit) -> None:
    position = recording.position(Publication)
    entry = recording.entries[recording.position(RoundOpened)]
    latest = recording.entries[recording.position(ModelEntry, -1)]
    further = {"round": entry.round.model_copy(update={"number": 3}), "parameters": latest.parameters}
    recording.entries[position] = entry.model_copy(update={**further, "nonce_digest": sha256(b"fresh")})
    assert_fails(audit(recording), "plan", position, "fewer rounds")


def test_round_after_a_failure_starts_from_the_latest_model(recording: Recording, audit: Audit) -> None:
    """Round 1 fails, so round 2 must open with the initial parameters."""
    model = recording.position(ModelEntry)
    entry = recording.entries[model]
    recording.entries[model] = Failure(time=entry.time, round=entry.round, reason="no quorum")
    opened = recording.position(RoundOpened, 1)
    recording.entries[opened + 1 :] = []
    assert_fails(audit(recording), "plan", opened, "parameters")


def test_nonce_used_twice(recording: Recording, audit: Audit) -> None:
    position = recording.position(RoundOpened, 1)
    first = recording.entries[recording.position(RoundOpened)]
    recording.edit(position, nonce_digest=first.nonce_digest)
    assert_fails(audit(recording), "plan", position, "a nonce occurs")


def test_failure_of_unplanned_run(recording: Recording, audit: Audit) -> None:
    other = recording.entries[-1].round.model_copy(update={"run": "summer"})
    recording.entries.append(Failure(time=1, round=other, reason="nobody came"))
    assert_fails(audit(recording), "plan", len(recording.entries) - 1)


# 10 commit


def test_commit_after_the_round_has_ended(recording: Recording, audit: Audit) -> None:
    """Without a beacon, so that nothing else is wrong with the commit."""
    position = recording.position(CommitEntry, -1)
    commit = recording.entries[position]
    failure = Failure(time=commit.time, round=commit.commit.body.slot.round, reason="too few commits")
    recording.entries[position:] = [failure, commit]
    assert_fails(audit(recording), "commit", position + 1, "has ended")


def test_second_commit(recording: Recording, audit: Audit) -> None:
    first, second = recording.position(CommitEntry), recording.position(CommitEntry, 1)
    points = recording.entries[second].commit.body
    recording.entries[second] = recording.entries[first]
    recording.edit(second, randomness=points.randomness, gradient=points.gradient)
    assert_fails(audit(recording), "commit", second, "already committed")


@pytest.mark.parametrize("part", ["randomness", "gradient"])
def test_copied_commitment(recording: Recording, audit: Audit, part: str) -> None:
    """In round 2 ben uses a point of ana's from round 1."""
    position = recording.position(CommitEntry, -1)
    first = recording.entries[recording.position(CommitEntry)].commit.body
    recording.edit(position, **{part: first.randomness})
    assert_fails(audit(recording), "commit", position, "a commitment occurs")


def test_r_reused(recording: Recording, audit: Audit) -> None:
    """A participant commits to random bits of its own from an earlier round."""
    position = recording.position(CommitEntry, -1)
    commits = [entry.commit.body for entry in recording.entries if isinstance(entry, CommitEntry)]
    first = next(body for body in commits if body.slot.participant == commits[-1].slot.participant)
    assert first is not commits[-1]
    recording.edit(position, randomness=first.randomness)
    assert_fails(audit(recording), "commit", position, "a commitment occurs")


def test_one_point_for_both_parts(recording: Recording, audit: Audit) -> None:
    position = recording.position(CommitEntry)
    recording.edit(position, gradient=recording.entries[position].commit.body.randomness)
    assert_fails(audit(recording), "commit", position, "a commitment occurs")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"plan": sha256(b"other")}, "another plan"),
        ({"parameters": sha256(b"other")}, "other parameters"),
        ({"randomness": ["c0" + "00" * 47]}, "invalid"),
        ({"gradient": ["00" * 48]}, "invalid"),
    ],
    ids=["plan", "parameters", "identity", "not_a_point"],
)
def test_commit_for_something_else(
    recording: Recording, audit: Audit, changes: dict[str, Any], words: str
) -> None:
    position = recording.position(CommitEntry)
    recording.edit(position, **changes)
    assert_fails(audit(recording), "commit", position, words)


def test_commit_without_a_slot(recording: Recording, audit: Audit, other_key: SigningKey) -> None:
    position = recording.position(CommitEntry)
    slot = recording.entries[position].commit.body.slot.model_copy(update={"participant": "eve"})
    recording.keys = {**recording.keys, "eve": other_key}
    recording.edit(position, slot=slot)
    assert_fails(audit(recording), "commit", position, "no slot")


# 11 beacon


def test_nonce_not_precommitted(recording: Recording, audit: Audit) -> None:
    position = recording.position(BeaconEntry)
    recording.redraw_beacon(position, nonce=sha256(b"a better nonce"))
    assert_fails(audit(recording), "beacon", position, "nonce")


def test_beacon_wrong_checkpoint(recording: Recording, audit: Audit) -> None:
    """A validly signed checkpoint of the right size, of a log that is not this one."""
    position = recording.position(BeaconEntry)
    other = Checkpoint(recording.origin, position, bytes(32))
    recording.redraw_beacon(position, checkpoint=sign_checkpoint(other, recording.log_key))
    assert_fails(audit(recording), "beacon", position, "not one of this log")


def test_beacon_checkpoint_before_a_commit(recording: Recording, audit: Audit) -> None:
    position = recording.position(BeaconEntry)
    recording.redraw_beacon(position, checkpoint=recording.checkpoint(position - 1))
    assert_fails(audit(recording), "beacon", position, "does not cover")


def test_beacon_checkpoint_from_the_future(recording: Recording, audit: Audit) -> None:
    position = recording.position(BeaconEntry)
    note = sign_checkpoint(Checkpoint(recording.origin, position + 1, bytes(32)), recording.log_key)
    recording.redraw_beacon(position, checkpoint=note)
    assert_fails(audit(recording), "beacon", position, "did not exist yet")


def test_beacon_checkpoint_signed_by_another_key(
    recording: Recording, audit: Audit, other_key: SigningKey
) -> None:
    position = recording.position(BeaconEntry)
    recording.redraw_beacon(position, checkpoint=recording.checkpoint(position, other_key))
    assert_fails(audit(recording), "beacon", position, "expected key")


def test_beacon_after_the_round_has_ended(recording: Recording, audit: Audit) -> None:
    position = recording.position(BeaconEntry, 1)
    entry = recording.entries[position]
    failure = Failure(time=entry.time, round=entry.round, reason="too few commits")
    recording.entries[position:] = [failure, entry]
    recording.redraw_beacon(position + 1)
    assert_fails(audit(recording), "beacon", position + 1, "has ended")


def test_second_beacon(recording: Recording, audit: Audit) -> None:
    position = recording.position(BeaconEntry)
    recording.entries.insert(position + 1, recording.entries[position])
    recording.redraw_beacon(position + 1)
    assert_fails(audit(recording), "beacon", position + 1, "already has a beacon")
