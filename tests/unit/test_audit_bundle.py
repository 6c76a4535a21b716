"""A bundle as it should be passes; one of another form fails checks 1 to 6. See also test_audit_attacks."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from intertwine.protocols.bundle import Bundle, EarlierCheckpoint, write_bundle
from intertwine.protocols.checkpoint import Checkpoint, sign_checkpoint
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import BeaconEntry, Enrolment, Failure, ModelEntry, Publication
from intertwine.protocols.errors import InputError
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.protocols.policy import Policy
from intertwine.protocols.round import InclusionProof
from intertwine.zk.audit import CHECKS, Status, verify_bundle
from tests.recording import Audit, RawEntry, Recording, assert_fails

# A bundle as it should be


def test_honest_bundle_passes(recording: Recording, audit: Audit) -> None:
    steps: list[tuple[int, int]] = []
    verdict = audit(
        recording, policy=Policy.of_key(recording.log_key.public), progress=lambda *step: steps.append(step)
    )
    assert verdict.passed
    assert [(check.number, check.name) for check in verdict.checks] == [
        (check.number, check.name) for check in CHECKS
    ]
    assert steps == [(4, 4)]  # releases are verified together
    assert (verdict.counts.entries, verdict.counts.rounds) == (len(recording.entries), 2)
    assert (verdict.counts.proofs_verified, verdict.counts.proofs_rejected) == (3, 1)
    assert verdict.log_key == recording.log_key.public
    assert not verdict.self_asserted
    assert verdict.beacon_modes == ("M1",)


def test_key_from_the_bundle_is_called_self_asserted(recording: Recording, audit: Audit) -> None:
    verdict = audit(recording)
    assert verdict.passed
    assert verdict.self_asserted
    assert "only the bundle vouches for" in verdict.checks[2].detail


def test_checks_are_numbered_and_need_earlier_ones() -> None:
    assert [check.number for check in CHECKS] == list(range(1, len(CHECKS) + 1))
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    for position, check in enumerate(CHECKS):
        assert check.needs is None or check.needs in names[:position]


def test_failed_round_may_be_followed_by_nothing(recording: Recording, audit: Audit) -> None:
    """A round that fails for want of a quorum ends the run without a model; that is no fault of the log."""
    model = recording.position(ModelEntry, 1)
    entry = recording.entries[model]
    failure = Failure(time=entry.time, round=entry.round, reason="1 accepted updates, but the quorum is 2")
    recording.entries[model:] = [failure]
    assert audit(recording).passed


def test_round_in_progress_is_no_fault(recording: Recording, audit: Audit) -> None:
    recording.entries[recording.position(BeaconEntry, 1) + 1 :] = []
    assert audit(recording).passed


# 1 bundle_format


def rewritten(bundle: Path, **changes: object) -> Path:
    """The same bundle, written anew with other parts."""
    opened = Bundle.open(bundle)
    blobs = {digest: bundle.parent / "sources" / digest for digest in opened.blob_digests()}
    parts = {
        "origin": opened.manifest.origin,
        "log_key": opened.manifest.log_key,
        "runs": opened.manifest.runs,
        "entries": list(opened.entries()),
        "checkpoint": opened.checkpoint,
        "blobs": blobs,
    }
    write_bundle(bundle.parent / "rewritten.bundle", **{**parts, **changes})
    return bundle.parent / "rewritten.bundle"


def test_equal_contents_are_equal_bytes(recording: Recording, tmp_path: Path) -> None:
    bundle = recording.write(tmp_path)
    assert rewritten(bundle).read_bytes() == bundle.read_bytes()


def test_blobs_out_of_order(recording: Recording, tmp_path: Path) -> None:
    """A second order would be a second encoding; a blob that occurs twice would be one more."""
    bundle = recording.write(tmp_path)
    data = bundle.read_bytes()
    begin = len(data) - Bundle.open(bundle).manifest.blobs_bytes
    size = 32 + 8 + int.from_bytes(data[begin + 32 : begin + 40])
    second = begin + size + 40 + int.from_bytes(data[begin + size + 32 : begin + size + 40])
    swapped = data[begin + size : second] + data[begin : begin + size]
    bundle.write_bytes(data[:begin] + swapped + data[second:])
    assert_fails(verify_bundle(bundle), "bundle_format", words="not in order")


@pytest.mark.parametrize("part", ["entries", "blobs"])
def test_counts_that_do_not_fit(recording: Recording, tmp_path: Path, part: str) -> None:
    """One more or one fewer than the manifest says."""
    bundle = recording.write(tmp_path)
    data, manifest = bundle.read_bytes(), Bundle.open(bundle).manifest
    count = getattr(manifest, part)
    old = f'"{part}":{count},'.encode()
    assert data.count(old) == 1
    for wrong in (count - 1, count + 1):
        bundle.write_bytes(data.replace(old, f'"{part}":{wrong},'.encode()))
        assert_fails(verify_bundle(bundle), "bundle_format", words="is not a proper bundle")


@pytest.mark.parametrize("kind", ["folder", "pipe", "text"])
def test_what_is_no_bundle_is_unusable_input(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bundle"
    make: dict[str, Callable[[], object]] = {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "text": lambda: path.write_text("intertwine bundle"),
    }
    make[kind]()
    with pytest.raises(InputError, match=r"is not a (bundle|file)"):
        verify_bundle(path)


def test_bundle_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path, **_options: object) -> os.stat_result:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        verify_bundle(tmp_path)


# 2 entry_encoding


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"type":"enrolment"', b'"type":"enrollment"'),
        (b',"type":"enrolment"', b""),
        (b'"role":"smb"', b'"role":"bank"'),
        (b'"role":"smb"', b'"extra":1,"role":"smb"'),
    ],
    ids=["unknown_type", "no_type", "unknown_role", "unknown_field"],
)
def test_unknown_entry(recording: Recording, audit: Audit, old: bytes, new: bytes) -> None:
    position = recording.position(Enrolment)
    recording.entries[position] = RawEntry(recording.entries[position].encode().replace(old, new))
    failed = audit(recording).checks[1]
    assert (failed.name, failed.status, failed.entry) == ("entry_encoding", Status.FAILED, position)


def test_field_with_one_value_left_out(recording: Recording, audit: Audit) -> None:
    """A second encoding of the same beacon entry, which would give it a second digest."""
    position = recording.position(BeaconEntry)
    data = recording.entries[position].encode()
    recording.entries[position] = RawEntry(data.replace(b'"mode":"M1",', b""))
    failed = audit(recording).checks[1]
    assert (failed.name, failed.status, failed.entry) == ("entry_encoding", Status.FAILED, position)


# 3 checkpoint_signature


def test_checkpoint_of_another_log(recording: Recording, tmp_path: Path) -> None:
    renamed = sign_checkpoint(Checkpoint("elsewhere", len(recording.entries), bytes(32)), recording.log_key)
    assert_fails(verify_bundle(recording.write(tmp_path, renamed)), "checkpoint_signature")


@pytest.mark.parametrize("changes", [{"origin": "elsewhere"}, {"log_key": "ab" * 32}], ids=["name", "key"])
def test_manifest_of_another_log(recording: Recording, tmp_path: Path, changes: dict[str, str]) -> None:
    """Even where the auditor knows the key, and all else is in order."""
    bundle = rewritten(recording.write(tmp_path), **changes)
    verdict = verify_bundle(bundle, Policy.of_key(recording.log_key.public))
    assert_fails(verdict, "checkpoint_signature", words="names another log")


# 6 log_consistency


@pytest.fixture
def tree(recording: Recording) -> Tree:
    return Tree(leaf_hash(entry.encode()) for entry in recording.entries)


def test_proofs_in_the_bundle_are_checked(recording: Recording, tmp_path: Path, tree: Tree) -> None:
    earlier, proof = proofs(recording, tree, 5, recording.position(Publication))
    bundle = rewritten(recording.write(tmp_path), earlier=[earlier], publications=[proof])
    verdict = verify_bundle(bundle)
    assert verdict.passed
    assert "earlier checkpoints: 1, of your own: 0, inclusion proofs: 1" in verdict.checks[5].detail


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"earlier": "consistency"}, "does not extend"),
        ({"earlier": "root"}, "the log was forked"),
        ({"publication": "path"}, "is not in the log"),
        ({"publication": "index"}, "is not in the log"),
        ({"publication": "beyond"}, "is not in the log"),
    ],
    ids=["no_consistency", "earlier_fork", "wrong_path", "wrong_index", "index_beyond"],
)
def test_proof_in_the_bundle_is_wrong(
    recording: Recording, tmp_path: Path, tree: Tree, changes: dict[str, str], words: str
) -> None:
    index = recording.position(Publication)
    earlier, proof = proofs(recording, tree, 5, index)
    match changes:
        case {"earlier": "consistency"}:
            earlier = earlier.model_copy(update={"consistency": earlier.consistency[::-1]})
        case {"earlier": "root"}:
            fork = sign_checkpoint(Checkpoint(recording.origin, 5, bytes(32)), recording.log_key)
            earlier = earlier.model_copy(update={"checkpoint": fork})
        case {"publication": "path"}:
            proof = proof.model_copy(update={"path": [sha256(b"another"), *proof.path[1:]]})
        case {"publication": "index"}:
            proof = proof.model_copy(update={"index": index - 1})
        case {"publication": "beyond"}:
            proof = proof.model_copy(update={"index": len(tree)})
    bundle = rewritten(recording.write(tmp_path), earlier=[earlier], publications=[proof])
    assert_fails(verify_bundle(bundle), "log_consistency", words=words)


def proofs(
    recording: Recording, tree: Tree, old: int, index: int
) -> tuple[EarlierCheckpoint, InclusionProof]:
    """That the log of size `old` is a prefix, and that entry `index` is in it."""
    consistency = [node.hex() for node in tree.consistency(old, len(tree))]
    earlier = EarlierCheckpoint(checkpoint=recording.checkpoint(old), consistency=consistency)
    path = [node.hex() for node in tree.inclusion(index, len(tree))]
    return earlier, InclusionProof(index=index, path=path)
