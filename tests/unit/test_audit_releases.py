"""A coordinator that breaks the protocol and signs the log all the same fails checks 10 to 15, by name.

`Recording.write` makes a fresh checkpoint over whatever the log was made to say.
"""

import math
from pathlib import Path

import numpy as np
import pytest

from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import (
    BeaconEntry,
    CommitEntry,
    Entry,
    Failure,
    ModelEntry,
    Outcome,
    PlanEntry,
    ReleaseEntry,
)
from intertwine.protocols.signing import SigningKey
from intertwine.zk import release
from intertwine.zk.audit import Status, verify_bundle
from intertwine.zk.privacy import Account
from tests.recording import Audit, Recording, assert_fails

# 12 release


def test_release_before_beacon(recording: Recording, audit: Audit) -> None:
    """Of the second round, whose beacon then covers it."""
    beacon = recording.position(BeaconEntry, 1)
    released = recording.entries.pop(beacon + 1)
    recording.entries.insert(beacon, released)
    assert isinstance(released, ReleaseEntry)
    recording.redraw_beacon(beacon + 1)
    assert_fails(audit(recording), "release", beacon, "before the beacon")


def test_second_release(recording: Recording, audit: Audit) -> None:
    position = recording.position(ReleaseEntry)
    recording.entries.insert(position + 1, recording.entries[position])
    recording.edit(position + 1, update=sha256(b"another try"))
    recording.entries[recording.position(BeaconEntry, 1) :] = []
    assert_fails(audit(recording), "release", position + 1, "already released")


def test_release_without_commit(recording: Recording, audit: Audit) -> None:
    position = recording.position(ReleaseEntry, -1)
    entry = recording.entries[position].release.body
    recording.edit(position, slot=entry.slot.model_copy(update={"participant": "cyd"}))
    assert_fails(audit(recording), "release", position, "has not committed")


def test_release_after_the_round_has_ended(recording: Recording, audit: Audit) -> None:
    """A round is stopped after ana's release; ben's comes late."""
    first, late = recording.position(ReleaseEntry, -2), recording.position(ReleaseEntry, -1)
    release = recording.entries[late]
    failure = Failure(time=release.time, round=release.release.body.slot.round, reason="stopped")
    recording.entries[first + 2 :] = [failure, release]
    assert_fails(audit(recording), "release", first + 3, "has ended")


def test_release_signed_by_another_participant(recording: Recording, audit: Audit) -> None:
    position = recording.position(ReleaseEntry)
    recording.keys = {**recording.keys, "ana": recording.keys["ben"]}
    recording.edit(position, update=recording.entries[position].release.body.update)
    recording.entries[recording.position(BeaconEntry, 1) :] = []
    assert_fails(audit(recording), "release", position, "another key")


def test_forged_release_is_no_release(recording: Recording, audit: Audit, other_key: SigningKey) -> None:
    """Signed by nobody who is enrolled, and without an outcome."""
    position = recording.position(ReleaseEntry, -1)
    recording.keys = {**recording.keys, "ben": other_key}
    recording.edit(position, update=recording.entries[position].release.body.update)
    recording.entries[position + 1 :] = []
    assert_fails(audit(recording), "release", position, "another key")


@pytest.mark.parametrize("reference", ["commit", "beacon"])
def test_accepted_release_for_something_else(recording: Recording, audit: Audit, reference: str) -> None:
    position = recording.position(ReleaseEntry, -1)
    recording.edit(position, **{reference: sha256(b"another")})
    assert_fails(audit(recording), "release", position, f"another {reference}")


@pytest.mark.parametrize("reference", ["commit", "beacon"])
def test_release_for_something_else_rejected_as_such(
    recording: Recording, audit: Audit, reference: str
) -> None:
    """The participant's fault, not the coordinator's: the log is in order, the participant unprotected."""
    position = recording.position(ReleaseEntry, -1)
    recording.edit(position, **{reference: sha256(b"another")})
    recording.edit(position + 1, verdict="rejected", check=f"release_{reference}")
    recording.entries[position + 2 :] = []
    verdict = audit(recording)
    assert verdict.passed
    assert [row.invalid_releases for row in verdict.privacy if row.participant == "ben"] == [2, 2]


@pytest.mark.parametrize("part", ["update", "proof"])
def test_blob_missing(recording: Recording, audit: Audit, part: str) -> None:
    position = recording.position(ReleaseEntry)
    del recording.blobs[getattr(recording.entries[position].release.body, part)]
    assert_fails(audit(recording), "release", position, "lacks blob")


@pytest.mark.parametrize("part", ["update", "proof"])
def test_blob_altered(recording: Recording, audit: Audit, part: str) -> None:
    position = recording.position(ReleaseEntry)
    digest = getattr(recording.entries[position].release.body, part)
    data = recording.blobs[digest]
    recording.blobs[digest] = bytes([data[0] ^ 1]) + data[1:]
    assert_fails(audit(recording), "release", position, "was altered")


def test_invalid_release_with_its_blob_withheld(recording: Recording, audit: Audit) -> None:
    """A coordinator cannot reject a release and keep the evidence to itself."""
    position = recording.position(ReleaseEntry, -1)
    del recording.blobs[recording.entries[position].release.body.proof]
    recording.edit(position + 1, verdict="rejected", check="blob_digest")
    recording.entries[position + 2 :] = []
    assert_fails(audit(recording), "release", position, "lacks blob")


# 13 outcome


def test_outcome_without_commit(recording: Recording, audit: Audit) -> None:
    position = recording.position(Outcome, -1)
    slot = recording.entries[position].slot.model_copy(update={"participant": "cyd"})
    absent = recording.entries[position].model_copy(
        update={"slot": slot, "verdict": "aborted", "check": "release_missing"}
    )
    recording.entries.insert(position + 1, absent)
    assert_fails(audit(recording), "outcome", position + 1, "has not committed")


def test_outcome_after_the_round_has_ended(recording: Recording, audit: Audit) -> None:
    position = recording.position(Outcome, -1)
    entry = recording.entries[position]
    failure = Failure(time=entry.time, round=entry.slot.round, reason="stopped")
    recording.entries[position:] = [failure, entry]
    assert_fails(audit(recording), "outcome", position + 1, "has ended")


@pytest.mark.parametrize("number", [1, 2])
def test_run_stopped_after_the_beacon(recording: Recording, audit: Audit, number: int) -> None:
    """A failure of the run, under whichever number, ends its open round: silent slots need an outcome."""
    beacon = recording.position(BeaconEntry, 1)
    stopped = recording.entries[beacon].round.model_copy(update={"number": number})
    recording.entries[beacon + 1 :] = [Failure(time=1, round=stopped, reason="stopped by the coordinator")]
    assert_fails(audit(recording), "outcome", recording.position(CommitEntry, 3), "never released")


def test_outcome_without_release(recording: Recording, audit: Audit) -> None:
    position = recording.position(ReleaseEntry, -1)
    del recording.entries[position]
    assert_fails(audit(recording), "outcome", position, "released nothing")


@pytest.mark.parametrize(("verdict", "check"), [("accepted", "constraint_identity"), ("rejected", "")])
def test_outcome_contradicts_itself(recording: Recording, audit: Audit, verdict: str, check: str) -> None:
    position = recording.position(Outcome, -1)
    recording.edit(position, verdict=verdict, check=check)
    assert_fails(audit(recording), "outcome", position, "contradict")


# 14 proof


def test_invalid_release_accepted(recording: Recording, audit: Audit) -> None:
    """The coordinator calls ben's half-noised release valid, and counts it in the model."""
    position = recording.position(Outcome, 1)
    recording.edit(position, verdict="accepted", check="")
    recording.entries[recording.position(BeaconEntry, 1) :] = []
    recording.edit(recording.position(ModelEntry), accepted=["ana", "ben"])
    verdict = audit(recording)
    assert_fails(verdict, "proof", position - 1, "accepted, but fails check")
    assert verdict.privacy
    assert all(math.isinf(row.guarantee.epsilon) for row in verdict.privacy if row.participant == "ben")


def test_valid_release_rejected(recording: Recording, audit: Audit) -> None:
    position = recording.position(Outcome, -1)
    recording.edit(position, verdict="rejected", check="constraint_identity")
    recording.entries[position + 1 :] = []
    assert_fails(audit(recording), "proof", position - 1, "but is valid")


def test_rejected_under_another_name(recording: Recording, audit: Audit) -> None:
    position = recording.position(Outcome, 1)
    recording.edit(position, check="update_length")
    recording.entries[recording.position(BeaconEntry, 1) :] = []
    assert_fails(audit(recording), "proof", position - 1, "rejected by check update_length, but fails")


@pytest.mark.parametrize(
    ("part", "data", "check"),
    [
        ("update", bytes(11), "update_length"),
        ("update", np.array([1 << 21, 0, 0], "<i4").tobytes(), "update_range"),
        ("proof", b"", "proof_length"),
        ("proof", bytes(release.proof_size(3, 50)), "point_encoding"),
    ],
)
def test_malformed_release_is_rejected_reproducibly(
    recording: Recording, audit: Audit, part: str, data: bytes, check: str
) -> None:
    position = recording.position(ReleaseEntry, -1)
    recording.edit(position, **{part: recording.keep(data)})
    recording.edit(position + 1, verdict="rejected", check=check)
    recording.entries[position + 2 :] = []
    verdict = audit(recording)
    assert verdict.passed
    assert (verdict.counts.proofs_verified, verdict.counts.proofs_rejected) == (2, 2)


# 15 aggregate


@pytest.mark.parametrize("accepted", [["ana"], ["ana", "ben", "cyd"], ["ana", "ben", "ben"], []])
def test_aggregate_counts_others(recording: Recording, audit: Audit, accepted: list[str]) -> None:
    position = recording.position(ModelEntry, -1)
    recording.edit(position, accepted=accepted)
    assert_fails(audit(recording), "aggregate", position, "accepted releases")


def test_aggregate_below_quorum(recording: Recording, audit: Audit) -> None:
    """All rounds lack the quorum; commits are signed anew for the changed plan, so their proofs fail too."""
    recording.edit(recording.position(PlanEntry), quorum=3)
    plan = recording.entries[recording.position(PlanEntry)].plan.body
    for number in range(3):
        recording.edit(recording.position(CommitEntry, number), plan=plan.digest())
    recording.redraw_beacon(recording.position(BeaconEntry))
    release, outcome = recording.position(ReleaseEntry), recording.position(Outcome)
    beacon = recording.entries[recording.position(BeaconEntry)].beacon
    for number in range(2):
        commit = recording.entries[recording.position(CommitEntry, number)].commit
        recording.edit(recording.position(ReleaseEntry, number), commit=commit.digest(), beacon=beacon)
    assert outcome == release + 1
    recording.entries[recording.position(ModelEntry) + 1 :] = []
    verdict = audit(recording)
    statuses = {check.name: check for check in verdict.checks}
    assert statuses["proof"].status is Status.FAILED
    assert statuses["aggregate"].status is Status.FAILED
    assert statuses["aggregate"].entry == recording.position(ModelEntry)
    assert "quorum" in statuses["aggregate"].detail


def test_second_model(recording: Recording, audit: Audit) -> None:
    position = recording.position(ModelEntry, -1)
    recording.entries.insert(position + 1, recording.entries[position])
    recording.edit(position + 1, parameters=sha256(b"another model"))
    assert_fails(audit(recording), "aggregate", position + 1, "already ended")


def test_initial_parameters_missing(recording: Recording, audit: Audit) -> None:
    position = recording.position(PlanEntry)
    del recording.blobs[recording.entries[position].plan.body.initial]
    verdict = audit(recording)
    assert_fails(verdict, "proof", recording.position(ReleaseEntry), "lacks blob")
    aggregates = verdict.checks[14]
    assert (aggregates.name, aggregates.status, aggregates.entry) == ("aggregate", Status.FAILED, position)


# 16 publication


def test_onnx_digest_swapped(recording: Recording, audit: Audit) -> None:
    recording.edit(-1, onnx=sha256(b"another ONNX file"))
    assert_fails(audit(recording), "publication", len(recording.entries) - 1, "is not the plan's template")


def test_second_publication(recording: Recording, audit: Audit) -> None:
    recording.entries.append(recording.entries[-1])
    recording.edit(-1, onnx=recording.keep(b"another ONNX file"))
    assert_fails(audit(recording), "publication", len(recording.entries) - 1, "already published")


def test_publication_before_the_last_round(recording: Recording, audit: Audit) -> None:
    publication = recording.entries[-1]
    end = recording.position(ModelEntry) + 1
    recording.entries[end:] = [publication]
    assert_fails(audit(recording), "publication", end, "not finished")


# 17 privacy


def test_account_that_leaves_a_release_out(
    recording: Recording, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account without the rejected release does not add up to the log."""
    rejected = recording.position(ReleaseEntry, 1)

    class Forgetful(Account):
        def add(self, position: int, entry: Entry) -> None:
            if position != rejected:
                super().add(position, entry)

    monkeypatch.setattr("intertwine.zk.audit.auditor.Account", Forgetful)
    verdict = audit(recording)
    assert_fails(verdict, "privacy", words="3 of 4 releases")


def test_invalid_release_not_counted(recording: Recording, audit: Audit) -> None:
    """ben's rejected release of round 1 cannot be made up for: its rows stay infinite."""
    verdict = audit(recording)
    rows = {(row.participant, row.assurance.value): row for row in verdict.privacy}
    assert verdict.passed
    assert set(rows) == {
        (name, level) for name in ("ana", "ben", "cyd") for level in ("proven-participant", "attested-record")
    }
    for level in ("proven-participant", "attested-record"):
        row = rows["ben", level]
        assert math.isinf(row.guarantee.epsilon)
        assert row.guarantee.precision_delta == 1.0
        assert (row.releases, row.invalid_releases, row.aborts) == (2, 1, 0)
    assert (rows["cyd", "proven-participant"].releases, rows["cyd", "proven-participant"].aborts) == (0, 1)


def test_epsilon_recomputed(recording: Recording, audit: Audit) -> None:
    """ana: two releases with C = 10 (participant) or 4 (record), sigma = 50; from the definition of zCDP."""
    rows = {row.assurance.value: row for row in audit(recording).privacy if row.participant == "ana"}
    orders = np.exp(np.linspace(-4, 12, 100_001)) + 1
    for level, norm in (("proven-participant", 10), ("attested-record", 4)):
        rho = 2 * norm**2 / (2 * 50**2)
        bounds = orders * rho + np.log1p(-1 / orders) - np.log(1e-5 * orders) / (orders - 1)
        assert rows[level].guarantee.epsilon == pytest.approx(bounds.min(), rel=1e-6)
        assert rows[level].guarantee.delta == 1e-5
        assert rows[level].adjacency == "zero-out"


def test_intermediate_parameters_altered(recording: Recording, audit: Audit) -> None:
    model = recording.entries[recording.position(ModelEntry, 0)]
    recording.blobs[model.parameters] = b"other bytes"
    verdict = audit(recording)
    assert_fails(verdict, "proof", recording.position(ReleaseEntry, 2), "altered")
    assert (verdict.checks[15].name, verdict.checks[15].status) == ("publication", Status.FAILED)
    assert verdict.checks[15].entry == recording.position(ModelEntry, 0)


def test_a_file_that_no_entry_names(recording: Recording, tmp_path: Path) -> None:
    stray = recording.keep(b"nobody knows what this is")
    assert_fails(verify_bundle(recording.write(tmp_path, strays=[stray])), "publication", None)
