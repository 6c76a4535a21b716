"""`verify_release` names the first thing that is wrong with a release."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import BeaconEntry, CommitEntry, PlanEntry, ReleaseEntry
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Commit, Release, Signed
from intertwine.protocols.signing import SigningKey
from intertwine.zk.round_proof import check_commit, verify_release
from tests.recording import Recording, fixed_key


@dataclass(frozen=True)
class Answer:
    """The arguments of `verify_release`."""

    plan: Plan
    commit: Signed[Commit]
    beacon: bytes
    release: Signed[Release]
    update: bytes
    proof: bytes
    parameters: bytes

    def verify(self) -> None:
        verify_release(
            self.plan,
            self.commit,
            self.beacon,
            self.release,
            self.update,
            self.proof,
            self.parameters,
            None,
        )

    def sign(self, key: SigningKey | None = None, **changes: object) -> "Answer":
        body = self.release.body.model_copy(update=changes)
        return replace(self, release=Signed[Release].create(body, key or fixed_key("ana")))


@pytest.fixture
def answer(recording: Recording) -> Answer:
    """What ana did in the first round."""
    plan, commit, beacon, release = (
        recording.entries[recording.position(kind)]
        for kind in (PlanEntry, CommitEntry, BeaconEntry, ReleaseEntry)
    )
    signed = release.release
    return Answer(
        plan.plan.body,
        commit.commit,
        bytes.fromhex(beacon.beacon),
        signed,
        recording.blobs[signed.body.update],
        recording.blobs[signed.body.proof],
        recording.blobs[commit.commit.body.parameters],
    )


def test_honest_release_passes(answer: Answer) -> None:
    answer.verify()


def other_slot(answer: Answer) -> Answer:
    return answer.sign(slot=answer.release.body.slot.model_copy(update={"participant": "ben"}))


def other_plan(answer: Answer) -> Answer:
    return replace(answer, plan=answer.plan.model_copy(update={"model": sha256(b"another")}))


def short_update(answer: Answer) -> Answer:
    update = answer.update[:-1]
    return replace(answer.sign(update=sha256(update)), update=update)


def short_proof(answer: Answer) -> Answer:
    proof = answer.proof[:-1]
    return replace(answer.sign(proof=sha256(proof)), proof=proof)


def other_update(answer: Answer) -> Answer:
    update = bytes([answer.update[0] ^ 1]) + answer.update[1:]
    return replace(answer.sign(update=sha256(update)), update=update)


def other_commit(answer: Answer, **changes: object) -> Answer:
    commit = Signed[Commit].create(answer.commit.body.model_copy(update=changes), fixed_key("ana"))
    return replace(answer.sign(commit=commit.digest()), commit=commit)


def too_many_pages(answer: Answer) -> Answer:
    body = answer.commit.body
    return other_commit(answer, randomness=body.randomness * 2, gradient=body.gradient * 2)


def diverged(answer: Answer) -> Answer:
    parameters = np.array([0.0, np.nan, 0.0]).tobytes()
    return replace(other_commit(answer, parameters=sha256(parameters)), parameters=parameters)


def named_dataset(answer: Answer) -> Answer:
    return other_commit(answer, dataset=sha256(b"any"))


def points_for_a_lot(answer: Answer) -> Answer:
    return other_commit(answer, lot=answer.commit.body.gradient)


@pytest.mark.parametrize(
    ("defect", "check"),
    [
        (lambda answer: answer.sign(fixed_key("ben")), "signature"),
        (other_slot, "release_slot"),
        (lambda answer: answer.sign(commit=sha256(b"another")), "release_commit"),
        (lambda answer: replace(answer, beacon=bytes(32)), "release_beacon"),
        (other_plan, "commit_plan"),
        (lambda answer: replace(answer, parameters=bytes(24)), "commit_parameters"),
        (named_dataset, "commit_dataset"),
        (lambda answer: replace(answer, update=bytes(12)), "update_digest"),
        (lambda answer: replace(answer, proof=answer.proof + b"\0"), "proof_digest"),
        (short_update, "update_length"),
        (diverged, "weights_range"),
        (too_many_pages, "commitment_count"),
        (points_for_a_lot, "commitment_count"),
        (short_proof, "proof_length"),
        (other_update, "constraint_identity"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_defect_is_named(answer: Answer, defect: Callable[[Answer], Answer], check: str) -> None:
    with pytest.raises(VerificationError) as caught:
        defect(answer).verify()
    assert caught.value.check == check


def test_update_and_beacon_tampered_with_after_signing(answer: Answer) -> None:
    """A body changed under an old signature."""
    forged = answer.release.model_copy(
        update={"body": answer.release.body.model_copy(update={"update": sha256(bytes(12))})}
    )
    with pytest.raises(VerificationError) as caught:
        replace(answer, release=forged, update=bytes(12)).verify()
    assert caught.value.check == "signature"


@pytest.mark.parametrize("point", ["00" * 48, "c0" + "00" * 47, "ff" * 48, "80" + "00" * 47])
def test_points_outside_the_group_are_refused(answer: Answer, point: str) -> None:
    """Not flagged as compressed, the identity, x beyond the field, and a point outside the subgroup."""
    with pytest.raises(VerificationError) as caught:
        check_commit(answer.plan, answer.commit.body.model_copy(update={"gradient": [point]}), None)
    assert caught.value.check == "point_encoding"
