"""A bundle as it should be passes; one whose bytes were tampered with fails checks 1 to 4."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from intertwine.protocols.checkpoint import Checkpoint, sign_checkpoint
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import (
    BeaconEntry,
    Failure,
    ModelEntry,
    Outcome,
    Publication,
    ReleaseEntry,
)
from intertwine.protocols.errors import InputError
from intertwine.protocols.signing import SigningKey
from intertwine.zk.audit import CHECKS, Status, verify_bundle
from tests.recording import Audit, Recording, assert_fails


def edit_file(bundle: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    (bundle / name).write_bytes(change((bundle / name).read_bytes()))
    return bundle


# A bundle as it should be


def test_honest_bundle_passes(recording: Recording, audit: Audit) -> None:
    steps: list[tuple[int, int]] = []
    verdict = audit(recording, log_key=recording.log_key.public, progress=lambda *step: steps.append(step))
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


def test_bundle_truncated(recording: Recording, tmp_path: Path) -> None:
    bundle = edit_file(recording.write(tmp_path), "log.jsonl", lambda data: data[:-40])
    verdict = verify_bundle(bundle)
    assert_fails(verdict, "bundle_format", words="cut off")
    assert {check.status for check in verdict.checks[1:]} == {Status.NOT_REACHED}


def test_bundle_truncated_at_an_entry(recording: Recording, tmp_path: Path) -> None:
    bundle = edit_file(
        recording.write(tmp_path), "log.jsonl", lambda data: data[: data[:-1].rindex(b"\n") + 1]
    )
    assert_fails(verify_bundle(bundle), "bundle_format", words="its manifest says 25")


@pytest.mark.parametrize("name", ["log.jsonl", "checkpoint", "blobs"])
def test_bundle_part_missing(recording: Recording, tmp_path: Path, name: str) -> None:
    bundle = recording.write(tmp_path)
    (bundle / name).rename(tmp_path / "elsewhere")
    assert_fails(verify_bundle(bundle), "bundle_format")


def test_path_traversal_in_bundle(recording: Recording, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"private")
    bundle = recording.write(tmp_path)
    (bundle / "blobs" / sha256(b"private")).symlink_to("../../secret")
    assert_fails(verify_bundle(bundle), "bundle_format", words="does not belong in a bundle")


def test_log_is_a_link(recording: Recording, tmp_path: Path) -> None:
    bundle = recording.write(tmp_path)
    (bundle / "log.jsonl").rename(tmp_path / "log.jsonl")
    (bundle / "log.jsonl").symlink_to(tmp_path / "log.jsonl")
    assert_fails(verify_bundle(bundle), "bundle_format", words="does not belong in a bundle")


def test_blobs_is_a_link(recording: Recording, tmp_path: Path) -> None:
    bundle = recording.write(tmp_path)
    (bundle / "blobs").rename(tmp_path / "blobs")
    (bundle / "blobs").symlink_to(tmp_path / "blobs")
    assert_fails(verify_bundle(bundle), "bundle_format", words="does not belong in a bundle")


def test_log_is_a_pipe(recording: Recording, tmp_path: Path) -> None:
    bundle = recording.write(tmp_path)
    (bundle / "log.jsonl").unlink()
    os.mkfifo(bundle / "log.jsonl")
    assert_fails(verify_bundle(bundle), "bundle_format", words="is not a file")


def test_stranger_in_bundle(recording: Recording, tmp_path: Path) -> None:
    bundle = recording.write(tmp_path)
    (bundle / "run-me.sh").touch()
    assert_fails(verify_bundle(bundle), "bundle_format", words="run-me.sh does not belong")


@pytest.mark.parametrize("version", [b'"intertwine/bundle/v2"', None])
def test_unknown_version(recording: Recording, tmp_path: Path, version: bytes | None) -> None:
    def change(data: bytes) -> bytes:
        if version is None:
            return data.replace(b',"version":"intertwine/bundle/v1"', b"")
        return data.replace(b'"intertwine/bundle/v1"', version)

    bundle = edit_file(recording.write(tmp_path), "manifest.json", change)
    assert_fails(verify_bundle(bundle), "bundle_format", words="Manifest")


def test_no_manifest_is_unusable_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a bundle"):
        verify_bundle(tmp_path)


def test_bundle_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path, **_options: object) -> os.stat_result:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        verify_bundle(tmp_path)


@pytest.mark.parametrize("key", ["", "abc", "G" * 64, "A" * 64])
def test_malformed_log_key_is_unusable_input(recording: Recording, audit: Audit, key: str) -> None:
    with pytest.raises(InputError, match="64 lower-case hexadecimal digits"):
        audit(recording, log_key=key)


# 2 entry_encoding


def rewrite_entry(bundle: Path, index: int, change: Callable[[bytes], bytes]) -> Path:
    def edit(data: bytes) -> bytes:
        lines = data.split(b"\n")
        lines[index] = change(lines[index])
        return b"\n".join(lines)

    return edit_file(bundle, "log.jsonl", edit)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(b'":', b'": ', 1),
        lambda line: json.dumps(dict(reversed(json.loads(line).items())), separators=(",", ":")).encode(),
        lambda line: line.replace(b'"role":"smb"', b'"role":"\\u0073mb"'),
        lambda line: line[:-1] + b',"time":1}',
        lambda line: line.replace(b"1700000001", b"1700000001.0"),
    ],
    ids=["white_space", "key_order", "escaped_letter", "repeated_key", "float"],
)
def test_non_canonical_bytes(recording: Recording, tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    verdict = verify_bundle(rewrite_entry(recording.write(tmp_path), 0, change))
    failed = verdict.checks[1]
    assert (failed.name, failed.status, failed.entry) == ("entry_encoding", Status.FAILED, 0)
    assert "canonical" in failed.detail


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
def test_unknown_entry(recording: Recording, tmp_path: Path, old: bytes, new: bytes) -> None:
    verdict = verify_bundle(rewrite_entry(recording.write(tmp_path), 0, lambda line: line.replace(old, new)))
    failed = verdict.checks[1]
    assert (failed.name, failed.status, failed.entry) == ("entry_encoding", Status.FAILED, 0)


def test_field_with_one_value_left_out(recording: Recording, tmp_path: Path) -> None:
    """A second encoding of the same beacon entry, which would give it a second digest."""
    position = recording.position(BeaconEntry)
    bundle = rewrite_entry(
        recording.write(tmp_path), position, lambda line: line.replace(b'"mode":"M1",', b"")
    )
    assert verify_bundle(bundle).checks[1].entry == position


def test_path_traversal_in_digest(recording: Recording, tmp_path: Path) -> None:
    position = recording.position(Publication)
    digest = recording.entries[position].onnx.encode()
    path = b"../../../../../../../etc/passwd".ljust(64, b"/")
    bundle = rewrite_entry(recording.write(tmp_path), position, lambda line: line.replace(digest, path))
    assert verify_bundle(bundle).checks[1].entry == position


def test_duplicate_entries(recording: Recording, audit: Audit) -> None:
    recording.entries.append(recording.entries[0])
    assert_fails(audit(recording), "entry_encoding", len(recording.entries) - 1, "second time")


# 3 checkpoint_signature, 4 log_root


def test_checkpoint_forged(recording: Recording, tmp_path: Path, other_key: SigningKey) -> None:
    forged = recording.checkpoint(len(recording.entries), other_key)
    assert_fails(verify_bundle(recording.write(tmp_path, forged)), "checkpoint_signature")


def test_checkpoint_of_another_log(recording: Recording, tmp_path: Path) -> None:
    note = recording.checkpoint(len(recording.entries))
    renamed = sign_checkpoint(Checkpoint("elsewhere", len(recording.entries), bytes(32)), recording.log_key)
    assert note != renamed
    assert_fails(verify_bundle(recording.write(tmp_path, renamed)), "checkpoint_signature")


def test_other_log_key_than_expected(recording: Recording, audit: Audit, other_key: SigningKey) -> None:
    verdict = audit(recording, log_key=other_key.public)
    assert_fails(verdict, "checkpoint_signature")
    assert verdict.log_key == other_key.public
    assert verdict.privacy == ()


def test_entry_altered(recording: Recording, tmp_path: Path) -> None:
    checkpoint = recording.checkpoint(len(recording.entries))
    recording.edit(recording.position(Outcome), verify_ms=31)
    assert_fails(verify_bundle(recording.write(tmp_path, checkpoint)), "log_root")


def test_entry_removed(recording: Recording, tmp_path: Path) -> None:
    checkpoint = recording.checkpoint(len(recording.entries))
    del recording.entries[recording.position(ReleaseEntry)]
    assert_fails(
        verify_bundle(recording.write(tmp_path, checkpoint)),
        "log_root",
        words="25 entries, the bundle holds 24",
    )


def test_entry_reordered(recording: Recording, tmp_path: Path) -> None:
    checkpoint = recording.checkpoint(len(recording.entries))
    recording.entries[0], recording.entries[1] = recording.entries[1], recording.entries[0]
    assert_fails(verify_bundle(recording.write(tmp_path, checkpoint)), "log_root")
