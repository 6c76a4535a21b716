"""Attacks on the file that an audit reads, named as in the threat model; see also test_audit_attacks."""

import gzip
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from intertwine.protocols.bundle import Bundle
from intertwine.protocols.encoding import encode
from intertwine.protocols.entries import Enrolment, PlanEntry, Publication, ReleaseEntry
from intertwine.protocols.errors import InputError
from intertwine.zk.audit import Status, Verdict, verify_bundle
from tests.recording import Audit, RawEntry, Recording, assert_fails

pytestmark = pytest.mark.usefixtures("untampered")

MAGIC = b"intertwine/bundle/v2\n"
MEMORY_MB = 24
HUGE = 1 << 36
BLOB_HEADER = 32 + 8


def check(verdict: Verdict, name: str) -> tuple[Status, int | None]:
    (result,) = [result for result in verdict.checks if result.name == name]
    return result.status, result.entry


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


def test_unknown_version_of_an_entry(recording: Recording, audit: Audit) -> None:
    """A plan of a version to come."""
    position = recording.position(PlanEntry)
    data = recording.entries[position].encode()
    recording.entries[position] = RawEntry(data.replace(b'"intertwine/plan/v', b'"intertwine/plan/v9'))
    assert check(audit(recording), "entry_encoding") == (Status.FAILED, position)


@pytest.mark.parametrize("signed", [True, False], ids=["re-signed", "kept"])
def test_duplicate_entries(recording: Recording, audit: Audit, note: str, signed: bool) -> None:
    """A release that would count twice."""
    release = recording.position(ReleaseEntry)
    recording.entries.insert(release + 1, recording.entries[release])
    verdict = audit(recording, None if signed else note)
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
    recording: Recording, audit: Audit, note: str, change: Callable[[bytes], bytes], signed: bool
) -> None:
    position = recording.position(Enrolment)
    line = recording.entries[position].encode()
    recording.entries[position] = RawEntry(change(line))
    assert recording.entries[position].encode() != line
    verdict = audit(recording, None if signed else note)
    assert check(verdict, "entry_encoding") == (Status.FAILED, position)
    assert "canonical" in verdict.checks[1].detail


def test_non_canonical_bytes_of_the_manifest(recording: Recording, tmp_path: Path) -> None:
    bundle = recording.write(tmp_path)
    data = bundle.read_bytes()
    end = manifest_end(data)
    manifest = data[len(MAGIC) + 4 : end].replace(b'":', b'": ', 1)
    bundle.write_bytes(MAGIC + struct.pack(">I", len(manifest)) + manifest + data[end:])
    refused(bundle, "canonical")
