"""The attacks that an audit must catch, one test each, named as in the threat model.

Whoever holds the bundle alone cannot sign: then the checkpoint stays what it was ("kept"). The coordinator
holds the log's key, and may sign whatever log it likes afterwards ("re-signed"): `Recording.write` does so.
"""

import gzip
import json
import math
import struct
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from intertwine.protocols.aggregation import aggregate_to_bytes, parameters_to_bytes
from intertwine.protocols.bundle import Bundle, write_bundle
from intertwine.protocols.checkpoint import log_verifier
from intertwine.protocols.cli import main
from intertwine.protocols.cosignature import cosign, find_fork
from intertwine.protocols.encoding import encode, sha256
from intertwine.protocols.entries import (
    BeaconEntry,
    CommitEntry,
    Enrolment,
    ModelEntry,
    Outcome,
    PlanEntry,
    Publication,
    ReleaseEntry,
)
from intertwine.protocols.errors import InputError
from intertwine.protocols.note import COSIGNATURE_KEY, VerifierKey
from intertwine.protocols.policy import Policy
from intertwine.protocols.signing import SigningKey
from intertwine.zk.audit import Status, Verdict, verify_bundle
from tests.recording import Audit, RawEntry, Recording, assert_fails, fixed_key

MAGIC = b"intertwine/bundle/v2\n"
WITNESSES = ("north", "south")
MEMORY_MB = 24


@pytest.fixture(scope="module", autouse=True)
def untampered(_played: Recording, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The bundle that every test here tampers with passes under the known key."""
    bundle = _played.copy().write(tmp_path_factory.mktemp("untampered"))
    assert verify_bundle(bundle, Policy.of_key(_played.log_key.public)).passed


@pytest.fixture
def judge(tmp_path: Path) -> Audit:
    """Verifies a recording as a bundle of its own, re-signed unless a checkpoint is given."""

    def write_and_verify(recording: Recording, note: str | None = None, **options: object) -> Verdict:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        return verify_bundle(recording.write(folder, note), **options)

    return write_and_verify


@pytest.fixture
def note(recording: Recording) -> str:
    """The checkpoint of the log as it was."""
    return recording.checkpoint(len(recording.entries))


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


def check(verdict: Verdict, name: str) -> tuple[Status, int | None]:
    (result,) = [result for result in verdict.checks if result.name == name]
    return result.status, result.entry


# The log


def test_entry_altered(recording: Recording, judge: Audit, note: str) -> None:
    """Kept: another root. Re-signed: a beacon's checkpoint, or one that somebody kept, is of another log."""
    position, later = recording.position(Outcome), recording.position(BeaconEntry, 1)
    assert later > position
    recording.edit(position, verify_ms=31)
    assert_fails(judge(recording, note), "log_root", words="not those")
    assert_fails(judge(recording), "beacon", later, "not one of this log")
    assert_fails(judge(recording, checkpoints=[note]), "log_consistency", words="forked")


def test_entry_removed(recording: Recording, judge: Audit, note: str) -> None:
    """An outcome of the last round, so that no later checkpoint covers it."""
    position, size = recording.position(Outcome, -1), len(recording.entries)
    del recording.entries[position]
    words = f"covers {size} entries, the bundle holds {size - 1}"
    assert_fails(judge(recording, note), "log_root", words=words)
    assert_fails(judge(recording), "outcome", position - 1, "no outcome")
    assert_fails(judge(recording, checkpoints=[note]), "log_consistency", words="older state")


def test_entry_reordered(recording: Recording, judge: Audit, note: str) -> None:
    """The last outcome before its release."""
    position = recording.position(Outcome, -1)
    release, outcome = recording.entries[position - 1 : position + 1]
    assert isinstance(release, ReleaseEntry)
    recording.entries[position - 1 : position + 1] = [outcome, release]
    assert_fails(judge(recording, note), "log_root", words="not those")
    assert_fails(judge(recording), "outcome", position - 1, "released nothing")
    assert_fails(judge(recording, checkpoints=[note]), "log_consistency", words="forked")


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
    recording: Recording, judge: Audit, note: str, forge: Callable[[Recording, str], str]
) -> None:
    forged = forge(recording, note)
    assert forged != note
    assert_fails(judge(recording, forged), "checkpoint_signature")


def test_checkpoint_rolled_back(recording: Recording, judge: Audit, note: str) -> None:
    """An older state of the log is a proper log; only a newer checkpoint shows that something is missing."""
    end = recording.position(ModelEntry) + 1
    words = f"covers {end} entries, the bundle holds {len(recording.entries)}"
    assert_fails(judge(recording, recording.checkpoint(end)), "log_root", words=words)
    recording.entries[end:] = []
    assert judge(recording).passed
    assert_fails(judge(recording, checkpoints=[note]), "log_consistency", words="older state")


def test_fork_two_witnesses(recording: Recording, judge: Audit, note: str) -> None:
    """Each witness has co-signed one history of the same size; either note refutes the other's bundle."""
    other = recording.copy()
    other.edit(other.position(Outcome, -1), verify_ms=31)
    shown = cosigned(note, "north")
    fork = cosigned(other.checkpoint(len(other.entries)), "south")
    for log, own, foreign in ((recording, shown, fork), (other, fork, shown)):
        assert judge(log, own, checkpoints=[own]).passed
        assert_fails(judge(log, own, checkpoints=[own, foreign]), "log_consistency", words="forked")
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
    recording: Recording, judge: Audit, note: str, tamper: Callable[[str], str], words: str
) -> None:
    demanded = policy(recording)
    assert judge(recording, cosigned(note, *WITNESSES), policy=demanded).passed
    assert_fails(judge(recording, tamper(note), policy=demanded), "cosignature_quorum", words=words)


def test_unknown_log_key(recording: Recording, judge: Audit, other_key: SigningKey) -> None:
    """The bundle is in order, but of another log than the auditor knows: none of its figures is shown."""
    verdict = judge(recording, policy=Policy.of_key(other_key.public))
    assert_fails(verdict, "checkpoint_signature")
    assert verdict.log_key == other_key.public
    assert verdict.privacy == ()


# The round


def test_commit_after_beacon(recording: Recording, judge: Audit) -> None:
    beacon = recording.position(BeaconEntry)
    commit = recording.entries.pop(beacon - 1)
    recording.entries.insert(beacon, commit)
    assert isinstance(commit, CommitEntry)
    recording.redraw_beacon(beacon - 1)
    assert_fails(judge(recording), "commit", beacon, "after the beacon")


def test_beacon_recomputed(recording: Recording, judge: Audit) -> None:
    position = recording.position(BeaconEntry)
    recording.edit(position, beacon=sha256(b"a beacon that suits me"))
    assert_fails(judge(recording), "beacon", position, "does not follow")


def test_second_outcome_for_slot(recording: Recording, judge: Audit) -> None:
    position = recording.position(Outcome, -1)
    recording.entries.insert(position + 1, recording.entries[position])
    recording.edit(position + 1, verdict="rejected", check="constraint_identity")
    assert_fails(judge(recording), "outcome", position + 1, "already ended")


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
    recording: Recording, judge: Audit, hide: Callable[[Recording], tuple[int, str]]
) -> None:
    position, words = hide(recording)
    assert_fails(judge(recording), "outcome", position, words)


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
    recording: Recording, judge: Audit, by_participant: bool, failed: str, words: str
) -> None:
    position = swap(recording, "update", by_participant)
    assert_fails(judge(recording), failed, position, words)


@pytest.mark.parametrize(
    ("by_participant", "failed", "words"),
    [(True, "proof", "constraint_identity"), (False, "release", "signature")],
    ids=["by_the_participant", "by_the_coordinator"],
)
def test_proof_swapped(
    recording: Recording, judge: Audit, by_participant: bool, failed: str, words: str
) -> None:
    position = swap(recording, "proof", by_participant)
    assert_fails(judge(recording), failed, position, words)


@pytest.mark.parametrize("part", ["parameters", "onnx"])
def test_model_digest_swapped(recording: Recording, judge: Audit, part: str) -> None:
    """The published parameters or the model file are others, and in the bundle."""
    position = recording.position(Publication)
    recording.edit(position, **{part: recording.keep(parameters_to_bytes(np.zeros(3)))})
    assert_fails(judge(recording), "publication", position)


def test_model_digest_swapped_in_the_plan(recording: Recording, judge: Audit) -> None:
    """Participants committed to another plan than the one in the log."""
    recording.edit(recording.position(PlanEntry), model=sha256(b"another model"))
    assert_fails(judge(recording), "commit", recording.position(CommitEntry), "another plan")


@pytest.mark.parametrize("part", ["aggregate", "parameters"])
def test_aggregate_wrong(recording: Recording, judge: Audit, part: str) -> None:
    position = recording.position(ModelEntry, -1)
    wrong = {
        "aggregate": aggregate_to_bytes(np.zeros(3, np.int64)),
        "parameters": parameters_to_bytes(np.zeros(3)),
    }
    recording.edit(position, **{part: recording.keep(wrong[part])})
    recording.entries[position + 1 :] = []
    assert_fails(judge(recording), "aggregate", position)


def test_epsilon_understated(recording: Recording, judge: Audit) -> None:
    """A plan that claims more noise than there was: participants committed to the other one."""
    position = recording.position(PlanEntry)
    recording.edit(position, sigma=400)
    assert_fails(judge(recording), "commit", recording.position(CommitEntry), "another plan")


def test_epsilon_understated_with_the_participants_help(recording: Recording, judge: Audit) -> None:
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
    verdict = judge(recording)
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


def test_participant_key_not_enrolled(recording: Recording, judge: Audit, other_key: SigningKey) -> None:
    position = recording.position(CommitEntry)
    recording.keys = {**recording.keys, "ana": other_key}
    recording.edit(position, plan=recording.entries[position].commit.body.plan)
    assert_fails(judge(recording), "commit", position, "another key")


# The bundle


def manifest_end(data: bytes) -> int:
    start = len(MAGIC) + 4
    return start + int.from_bytes(data[len(MAGIC) : start])


def with_manifest(data: bytes, **changes: object) -> bytes:
    """The same bundle with another manifest, canonical and of the right length."""
    end = manifest_end(data)
    fields = json.loads(data[len(MAGIC) + 4 : end]) | changes
    manifest = encode({name: value for name, value in fields.items() if value is not None})
    return MAGIC + len(manifest).to_bytes(4) + manifest + data[end:]


def refused(path: Path, words: str) -> None:
    """Check 1 says no, and nothing else is looked at."""
    verdict = verify_bundle(path)
    assert_fails(verdict, "bundle_format", words=words)
    assert {result.status for result in verdict.checks[1:]} == {Status.NOT_REACHED}


def test_bundle_truncated(recording: Recording, tmp_path: Path) -> None:
    bundle = recording.write(tmp_path)
    data = bundle.read_bytes()
    begin = manifest_end(data)
    entries = begin + Bundle.open(bundle).manifest.entries_bytes
    for size in (len(data) - 1, entries + 41, entries, begin + 5, begin + 1, begin):
        bundle.write_bytes(data[:size])
        refused(bundle, "is cut off")
    for size in (begin - 1, len(MAGIC) + 5, len(MAGIC) + 2, len(MAGIC), len(MAGIC) - 1):
        bundle.write_bytes(data[:size])
        refused(bundle, "")
    for size in (5, 0):
        bundle.write_bytes(data[:size])
        with pytest.raises(InputError, match="is not a bundle"):
            verify_bundle(bundle)
    bundle.write_bytes(data + b"\n")
    refused(bundle, "goes on after its end")


HUGE = 1 << 36
BLOB_HEADER = 32 + 8


@pytest.mark.parametrize(
    ("part", "count", "first", "words"),
    [
        ("entries", 1 << 32, b"", "entry 0 claims 0 bytes"),
        ("entries", 1, b"\xff" * 4, "entry 0 claims 4294967295 bytes"),
        ("blobs", 1 << 32, b"", "not in order"),
        ("blobs", 1, b"\x01" * 32 + (HUGE - BLOB_HEADER).to_bytes(8), f"claims {HUGE - BLOB_HEADER} bytes"),
    ],
    ids=["empty_entries", "long_entry", "empty_blobs", "long_blob"],
)
def test_bundle_zip_bomb(
    recording: Recording, tmp_path: Path, part: str, count: int, first: bytes, words: str
) -> None:
    """64 GiB of holes, which take kilobytes on disk: refused before they cost time or memory."""
    bundle = recording.write(tmp_path)
    whole = Bundle.open(bundle).manifest
    data = with_manifest(bundle.read_bytes(), **{part: count, f"{part}_bytes": HUGE})
    begin = manifest_end(data)
    kept = begin + (whole.entries_bytes if part == "blobs" else 0)
    with bundle.open("wb") as file:
        file.write(data[:kept] + first)
        file.truncate(kept + HUGE + (whole.blobs_bytes if part == "entries" else 0))
    assert bundle.stat().st_blocks * 512 < 1 << 20
    tracemalloc.start()
    refused(bundle, words)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MEMORY_MB << 20


@pytest.mark.parametrize("compress", ["zip", "gzip"])
def test_bundle_zip_bomb_is_never_unpacked(tmp_path: Path, compress: str) -> None:
    """A real one: 64 MB of zeros, or of a bundle's beginning, in some kilobytes."""
    path, bomb = tmp_path / "bomb", MAGIC + bytes(64 << 20)
    if compress == "gzip":
        path.write_bytes(gzip.compress(bomb))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bundle", bomb)
    with pytest.raises(InputError, match="is not a bundle"):
        verify_bundle(path)


def test_path_traversal_in_bundle(recording: Recording, tmp_path: Path) -> None:
    """A bundle has no paths: what names a file in it is 32 bytes, and an entry's digest is 64 digits."""
    position = recording.position(Publication)
    digest = recording.entries[position].onnx.encode()
    path = b"../../../../../../../etc/passwd".ljust(64, b"/")
    recording.entries[position] = RawEntry(recording.entries[position].encode().replace(digest, path))
    verdict = verify_bundle(recording.write(tmp_path))
    assert check(verdict, "entry_encoding") == (Status.FAILED, position)


@pytest.mark.parametrize("run", ["../../etc/passwd", "/etc/passwd", "spring/..", "."])
def test_path_traversal_in_bundle_by_a_run(recording: Recording, tmp_path: Path, run: str) -> None:
    bundle = recording.write(tmp_path)
    bundle.write_bytes(with_manifest(bundle.read_bytes(), runs=[run]))
    refused(bundle, "runs")


@pytest.mark.parametrize("version", ["intertwine/bundle/v1", "intertwine/bundle/v3", None])
def test_unknown_version(recording: Recording, tmp_path: Path, version: str | None) -> None:
    bundle = recording.write(tmp_path)
    data = bundle.read_bytes()
    bundle.write_bytes(with_manifest(data, version=version))
    refused(bundle, "Manifest")
    if version is not None:
        bundle.write_bytes(version.encode() + b"\n" + data[len(MAGIC) :])
        refused(bundle, "of another version")


def test_unknown_version_of_an_entry(recording: Recording, judge: Audit) -> None:
    """A plan of a version to come."""
    position = recording.position(PlanEntry)
    data = recording.entries[position].encode()
    recording.entries[position] = RawEntry(data.replace(b'"intertwine/plan/v', b'"intertwine/plan/v9'))
    assert check(judge(recording), "entry_encoding") == (Status.FAILED, position)


@pytest.mark.parametrize("signed", [True, False], ids=["re-signed", "kept"])
def test_duplicate_entries(recording: Recording, judge: Audit, note: str, signed: bool) -> None:
    """A release that would count twice."""
    release = recording.position(ReleaseEntry)
    recording.entries.insert(release + 1, recording.entries[release])
    verdict = judge(recording, None if signed else note)
    assert_fails(verdict, "entry_encoding", release + 1, "second time")


@pytest.mark.parametrize("signed", [True, False], ids=["re-signed", "kept"])
@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(b'":', b'": ', 1),
        lambda line: json.dumps(dict(reversed(json.loads(line).items())), separators=(",", ":")).encode(),
        lambda line: line.replace(b'"role":"smb"', b'"role":"\\u0073mb"'),
        lambda line: line[:-1] + b',"time":1}',
        lambda line: line.replace(b'"time":1', b'"time":1.0e0', 1),
        lambda line: line + b"\n",
        lambda line: b"\xef\xbb\xbf" + line,
    ],
    ids=["white_space", "key_order", "escaped_letter", "repeated_key", "float", "newline", "byte_order_mark"],
)
def test_non_canonical_bytes(
    recording: Recording, judge: Audit, note: str, change: Callable[[bytes], bytes], signed: bool
) -> None:
    position = recording.position(Enrolment)
    line = recording.entries[position].encode()
    recording.entries[position] = RawEntry(change(line))
    assert recording.entries[position].encode() != line
    verdict = judge(recording, None if signed else note)
    assert check(verdict, "entry_encoding") == (Status.FAILED, position)
    assert "canonical" in verdict.checks[1].detail


def test_non_canonical_bytes_of_the_manifest(recording: Recording, tmp_path: Path) -> None:
    bundle = recording.write(tmp_path)
    data = bundle.read_bytes()
    end = manifest_end(data)
    manifest = data[len(MAGIC) + 4 : end].replace(b'":', b'": ', 1)
    bundle.write_bytes(MAGIC + struct.pack(">I", len(manifest)) + manifest + data[end:])
    refused(bundle, "canonical")
