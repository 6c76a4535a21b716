"""The attacks that an audit must catch, one test each, named as in the threat model.

Whoever holds the bundle alone cannot sign: then the checkpoint stays what it was ("kept"). The coordinator
holds the log's key, and may sign whatever log it likes afterwards ("re-signed"): `Recording.write` does so.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from intertwine.protocols.aggregation import aggregate_to_bytes, parameters_to_bytes
from intertwine.protocols.bundle import Bundle, write_bundle
from intertwine.protocols.checkpoint import log_verifier
from intertwine.protocols.cli import main
from intertwine.protocols.cosignature import cosign, find_fork
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import (
    BeaconEntry,
    CommitEntry,
    ModelEntry,
    Outcome,
    PlanEntry,
    Publication,
    ReleaseEntry,
)
from intertwine.protocols.note import COSIGNATURE_KEY, VerifierKey
from intertwine.protocols.policy import Policy
from intertwine.protocols.signing import SigningKey
from intertwine.zk.audit import verify_bundle
from tests.recording import Audit, Recording, assert_fails, fixed_key

WITNESSES = ("north", "south")


pytestmark = pytest.mark.usefixtures("untampered")


def policy(recording: Recording) -> Policy:
    """That both witnesses have to co-sign."""
    keys = [VerifierKey(f"{name}.example", COSIGNATURE_KEY, fixed_key(name).public) for name in WITNESSES]
    lines = [f"witness {name} {key}" for name, key in zip(WITNESSES, keys, strict=True)]
    group = f"group both all {' '.join(WITNESSES)}"
    log = f"log {log_verifier(recording.log_key.public)}"
    return Policy.parse("\n".join([log, *lines, group, "quorum both"]))


def cosigned(note: str, *names: str) -> str:
    """The note with a line by each of these witnesses."""
    return note + "".join(cosign(note, f"{name}.example", fixed_key(name), 1_800_000_000) for name in names)


# The log


def test_entry_altered(recording: Recording, audit: Audit, note: str) -> None:
    """Kept: another root. Re-signed: a beacon's checkpoint, or one that somebody kept, is of another log."""
    position, later = recording.position(Outcome), recording.position(BeaconEntry, 1)
    assert later > position
    recording.edit(position, verify_ms=31)
    assert_fails(audit(recording, note), "log_root", words="not those")
    assert_fails(audit(recording), "beacon", later, "not one of this log")
    assert_fails(audit(recording, checkpoints=[note]), "log_consistency", words="forked")


def test_entry_removed(recording: Recording, audit: Audit, note: str) -> None:
    """An outcome of the last round, so that no later checkpoint covers it."""
    position, size = recording.position(Outcome, -1), len(recording.entries)
    del recording.entries[position]
    words = f"covers {size} entries, the bundle holds {size - 1}"
    assert_fails(audit(recording, note), "log_root", words=words)
    assert_fails(audit(recording), "outcome", position - 1, "no outcome")
    assert_fails(audit(recording, checkpoints=[note]), "log_consistency", words="older state")


def test_entry_reordered(recording: Recording, audit: Audit, note: str) -> None:
    """The last outcome before its release."""
    position = recording.position(Outcome, -1)
    release, outcome = recording.entries[position - 1 : position + 1]
    assert isinstance(release, ReleaseEntry)
    recording.entries[position - 1 : position + 1] = [outcome, release]
    assert_fails(audit(recording, note), "log_root", words="not those")
    assert_fails(audit(recording), "outcome", position - 1, "released nothing")
    assert_fails(audit(recording, checkpoints=[note]), "log_consistency", words="forked")


def resized(note: str) -> str:
    origin, size, rest = note.split("\n", 2)
    return f"{origin}\n{int(size) - 1}\n{rest}"


@pytest.mark.parametrize(
    "forge",
    [
        lambda recording, note: recording.checkpoint(len(recording.entries), fixed_key("mallory")),
        lambda recording, note: resized(note),
        lambda recording, note: note[:-8] + "AAAA" + note[-4:],
        lambda recording, note: note.split("\n\n")[0] + "\n\n",
    ],
    ids=["another_key", "another_size", "another_signature", "no_signature"],
)
def test_checkpoint_forged(
    recording: Recording, audit: Audit, note: str, forge: Callable[[Recording, str], str]
) -> None:
    forged = forge(recording, note)
    assert forged != note
    assert_fails(audit(recording, forged), "checkpoint_signature")


def test_checkpoint_rolled_back(recording: Recording, audit: Audit, note: str) -> None:
    """An older state of the log is a proper log; only a newer checkpoint shows that something is missing."""
    end = recording.position(ModelEntry) + 1
    words = f"covers {end} entries, the bundle holds {len(recording.entries)}"
    assert_fails(audit(recording, recording.checkpoint(end)), "log_root", words=words)
    recording.entries[end:] = []
    assert audit(recording).passed
    assert_fails(audit(recording, checkpoints=[note]), "log_consistency", words="older state")


def test_fork_two_witnesses(recording: Recording, audit: Audit, note: str) -> None:
    """Each witness has co-signed one history of the same size; either note refutes the other's bundle."""
    other = recording.copy()
    other.edit(-1, time=other.entries[-1].time + 1)
    shown = cosigned(note, "north")
    fork = cosigned(other.checkpoint(len(other.entries)), "south")
    for log, own, foreign in ((recording, shown, fork), (other, fork, shown)):
        assert audit(log, own, checkpoints=[own]).passed
        assert_fails(audit(log, own, checkpoints=[own, foreign]), "log_consistency", words="forked")
    found = find_fork([shown, fork], policy(recording))
    assert found is not None
    assert (found.size, found.first, found.second) == (len(recording.entries), shown, fork)


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (lambda note: note, "no witness has co-signed"),
        (lambda note: cosigned(note, "north"), "north has co-signed"),
        (lambda note: cosigned(note, "north", "mallory"), "north has co-signed"),
        (
            lambda note: cosigned(note, "north", "south").replace("south.example", "mallory.example"),
            "north has co-signed",
        ),
        (
            lambda note: cosigned(note, *WITNESSES)[:-8] + "AAAA" + cosigned(note, *WITNESSES)[-4:],
            "of witness 'south' is wrong",
        ),
        (lambda note: cosigned(note, "north", "north"), "has 2 signatures by"),
    ],
    ids=["none", "one_of_two", "stranger", "renamed", "wrong_signature", "one_twice"],
)
def test_cosignature_missing(
    recording: Recording, audit: Audit, note: str, tamper: Callable[[str], str], words: str
) -> None:
    demanded = policy(recording)
    assert audit(recording, cosigned(note, *WITNESSES), policy=demanded).passed
    assert_fails(audit(recording, tamper(note), policy=demanded), "cosignature_quorum", words=words)


def test_unknown_log_key(recording: Recording, audit: Audit, other_key: SigningKey) -> None:
    """The bundle is in order, but of another log than the auditor knows: none of its figures is shown."""
    verdict = audit(recording, policy=Policy.of_key(other_key.public))
    assert_fails(verdict, "checkpoint_signature")
    assert verdict.log_key == other_key.public
    assert verdict.privacy == ()


# The round


def test_commit_after_beacon(recording: Recording, audit: Audit) -> None:
    beacon = recording.position(BeaconEntry)
    commit = recording.entries.pop(beacon - 1)
    recording.entries.insert(beacon, commit)
    assert isinstance(commit, CommitEntry)
    recording.redraw_beacon(beacon - 1)
    assert_fails(audit(recording), "commit", beacon, "after the beacon")


def test_beacon_recomputed(recording: Recording, audit: Audit) -> None:
    position = recording.position(BeaconEntry)
    recording.edit(position, beacon=sha256(b"a beacon that suits me"))
    assert_fails(audit(recording), "beacon", position, "does not follow")


def test_second_outcome_for_slot(recording: Recording, audit: Audit) -> None:
    position = recording.position(Outcome, -1)
    recording.entries.insert(position + 1, recording.entries[position])
    recording.edit(position + 1, verdict="rejected", check="constraint_identity")
    assert_fails(audit(recording), "outcome", position + 1, "already ended")


def drop_outcome(recording: Recording) -> tuple[int, str]:
    position = recording.position(Outcome, -1)
    del recording.entries[position]
    return position - 1, "no outcome"


def drop_outcome_of_a_round_in_progress(recording: Recording) -> tuple[int, str]:
    position = recording.position(ReleaseEntry, -1)
    recording.entries[position + 1 :] = []
    return position, "no outcome"


def drop_release_and_outcome(recording: Recording) -> tuple[int, str]:
    """Then the commit is left, and nothing says what became of it."""
    position = recording.position(ReleaseEntry, -1)
    del recording.entries[position : position + 2]
    return recording.position(CommitEntry, -1), "never released"


def call_it_an_abort(recording: Recording) -> tuple[int, str]:
    position = recording.position(Outcome, -1)
    recording.edit(position, verdict="aborted", check="release_missing")
    return position, "aborts a release"


@pytest.mark.parametrize(
    "hide",
    [drop_outcome, drop_outcome_of_a_round_in_progress, drop_release_and_outcome, call_it_an_abort],
    ids=lambda hide: hide.__name__,
)
def test_release_hidden(
    recording: Recording, audit: Audit, hide: Callable[[Recording], tuple[int, str]]
) -> None:
    position, words = hide(recording)
    assert_fails(audit(recording), "outcome", position, words)


def swap(recording: Recording, part: str, by_participant: bool) -> int:
    """ben's release of round 2 names what ana released in round 1; returns its position."""
    position = recording.position(ReleaseEntry, -1)
    first = recording.entries[recording.position(ReleaseEntry)].release.body
    if by_participant:
        recording.edit(position, **{part: getattr(first, part)})
        return position
    entry = recording.entries[position]
    body = entry.release.body.model_copy(update={part: getattr(first, part)})
    unsigned = entry.release.model_copy(update={"body": body})
    recording.entries[position] = entry.model_copy(update={"release": unsigned})
    return position


@pytest.mark.parametrize(
    ("by_participant", "failed", "words"),
    [(True, "proof", "constraint_identity"), (False, "release", "signature")],
    ids=["by_the_participant", "by_the_coordinator"],
)
def test_update_swapped(
    recording: Recording, audit: Audit, by_participant: bool, failed: str, words: str
) -> None:
    position = swap(recording, "update", by_participant)
    assert_fails(audit(recording), failed, position, words)


@pytest.mark.parametrize(
    ("by_participant", "failed", "words"),
    [(True, "proof", "constraint_identity"), (False, "release", "signature")],
    ids=["by_the_participant", "by_the_coordinator"],
)
def test_proof_swapped(
    recording: Recording, audit: Audit, by_participant: bool, failed: str, words: str
) -> None:
    position = swap(recording, "proof", by_participant)
    assert_fails(audit(recording), failed, position, words)


@pytest.mark.parametrize("part", ["parameters", "onnx"])
def test_model_digest_swapped(recording: Recording, audit: Audit, part: str) -> None:
    """The published parameters or the model file are others, and in the bundle."""
    position = recording.position(Publication)
    recording.edit(position, **{part: recording.keep(parameters_to_bytes(np.zeros(3)))})
    assert_fails(audit(recording), "publication", position)


def test_model_digest_swapped_in_the_plan(recording: Recording, audit: Audit) -> None:
    """Participants committed to another plan than the one in the log."""
    recording.edit(recording.position(PlanEntry), model=sha256(b"another model"))
    assert_fails(audit(recording), "commit", recording.position(CommitEntry), "another plan")


@pytest.mark.parametrize("part", ["aggregate", "parameters"])
def test_aggregate_wrong(recording: Recording, audit: Audit, part: str) -> None:
    position = recording.position(ModelEntry, -1)
    wrong = {
        "aggregate": aggregate_to_bytes(np.zeros(3, np.int64)),
        "parameters": parameters_to_bytes(np.zeros(3)),
    }
    recording.edit(position, **{part: recording.keep(wrong[part])})
    recording.entries[position + 1 :] = []
    assert_fails(audit(recording), "aggregate", position)


def test_epsilon_understated(recording: Recording, audit: Audit) -> None:
    """A plan that claims more noise than there was: participants committed to the other one."""
    position = recording.position(PlanEntry)
    recording.edit(position, sigma=400)
    assert_fails(audit(recording), "commit", recording.position(CommitEntry), "another plan")


def test_epsilon_understated_with_the_participants_help(recording: Recording, audit: Audit) -> None:
    """All sign everything anew for the plan that claims more noise; no proof fits, epsilon is infinite."""
    recording.entries[recording.position(ModelEntry) + 1 :] = []
    recording.edit(recording.position(PlanEntry), sigma=400)
    plan = recording.entries[recording.position(PlanEntry)].plan.body.digest()
    commits = [index for index, entry in enumerate(recording.entries) if isinstance(entry, CommitEntry)]
    for index in commits:
        recording.edit(index, plan=plan)
    beacon = recording.position(BeaconEntry)
    recording.redraw_beacon(beacon)
    drawn = recording.entries[beacon].beacon
    for number in range(2):
        commit = recording.entries[commits[number]].commit
        recording.edit(recording.position(ReleaseEntry, number), commit=commit.digest(), beacon=drawn)
    verdict = audit(recording)
    assert_fails(verdict, "proof", recording.position(ReleaseEntry), "fails check")
    released = [row for row in verdict.privacy if row.releases]
    assert released
    assert all(math.isinf(row.guarantee.epsilon) for row in released)


def test_epsilon_understated_by_leaving_the_proofs_out(
    recording: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ben's half-noised release is called valid, and the bundle holds another run: so nothing contradicts it.

    The figures then say how much of them is the log's word, and the terminal does too.
    """
    position = recording.position(Outcome, 1)
    recording.edit(position, verdict="accepted", check="")
    recording.entries[recording.position(BeaconEntry, 1) :] = []
    recording.edit(recording.position(ModelEntry), accepted=["ana", "ben"])
    whole = recording.write(tmp_path)
    assert_fails(verify_bundle(whole), "proof", position - 1)
    opened, bundle = Bundle.open(whole), tmp_path / "left-out.bundle"
    write_bundle(
        bundle,
        origin=recording.origin,
        log_key=recording.log_key.public,
        runs=[],
        entries=opened.entries(),
        checkpoint=opened.checkpoint,
        blobs={},
    )
    verdict = verify_bundle(bundle)
    rows = [row for row in verdict.privacy if row.releases]
    assert {row.participant for row in rows} == {"ana", "ben"}
    assert all(row.unverified_releases == row.releases for row in rows)
    monkeypatch.setattr(sys, "argv", ["intertwine", "audit", "verify", str(bundle), "--no-cache"])
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit):
        main()
    text = " ".join(capsys.readouterr().out.split())
    assert "Warning: all data, proven: 1 of its releases are proven by the log's word alone." in text
    assert "This concerns ana (risk), ben (risk)." in text


def test_participant_key_not_enrolled(recording: Recording, audit: Audit, other_key: SigningKey) -> None:
    position = recording.position(CommitEntry)
    recording.keys = {**recording.keys, "ana": other_key}
    recording.edit(position, plan=recording.entries[position].commit.body.plan)
    assert_fails(audit(recording), "commit", position, "another key")
