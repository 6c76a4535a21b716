"""Files are whole or absent, private where they must be, bounded when read; bundles and settings on top."""

import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

from intertwine.protocols import bundle as bundles
from intertwine.protocols.bundle import Bundle, Manifest, write_bundle
from intertwine.protocols.encoding import sha256
from intertwine.protocols.enrolment import EnrolmentRequest, Invitation
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.files import make_private_directory, read_bounded, write_atomic, write_private
from intertwine.protocols.settings import read_settings, write_settings
from intertwine.protocols.signing import SigningKey


def disk_full(*_arguments: object, **_options: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("module", "function"), [(os, "fsync"), (tempfile, "mkstemp"), (os, "fchmod"), (Path, "replace")]
)
def test_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object, function: str
) -> None:
    path = tmp_path / "state"
    write_atomic(path, b"old")
    monkeypatch.setattr(module, function, disk_full)
    with pytest.raises(InputError, match="cannot be written: No space left on device") as caught:
        write_atomic(path, b"new")
    assert "Free some space" in caught.value.remedy
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device that is always full stands for the disk."""
    monkeypatch.setattr(
        tempfile, "mkstemp", lambda **_: (os.open("/dev/full", os.O_WRONLY), str(tmp_path / "x"))
    )
    monkeypatch.setattr(os, "fchmod", lambda *_: None)
    with pytest.raises(InputError, match="No space left on device"):
        write_atomic(tmp_path / "state", b"new")
    assert list(tmp_path.iterdir()) == []


def test_interrupt_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "state", b"new")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_atomic(tmp_path / "missing" / "state", b"new")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        make_private_directory(tmp_path / "file" / "folder")


def test_private_files_are_private_from_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    sync = os.fsync

    def observe(descriptor: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", observe)
    write_private(tmp_path / "key", b"secret")
    make_private_directory(tmp_path / "home")
    assert modes == [0o600]
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_reads_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bounded(tmp_path / "file", 5) == b"12345"
    with pytest.raises(InputError, match="5 bytes, more than the 4"):
        read_bounded(tmp_path / "file", 4)


def test_only_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InputError, match="is not a file"):
            read_bounded(path, 10)
    with pytest.raises(InputError, match="No such file"):
        read_bounded(tmp_path / "missing", 10)


# Keys


def test_key_round_trip(tmp_path: Path) -> None:
    key = SigningKey.generate()
    key.write(tmp_path / "key")
    assert SigningKey.read(tmp_path / "key").public == key.public
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert key.public not in repr(key)


@pytest.mark.parametrize("data", [b"", b"short", b"a" * 33])
def test_damaged_key(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "key").write_bytes(data)
    with pytest.raises(InputError):
        SigningKey.read(tmp_path / "key")


# Bundles


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(origin="intertwine/test", log_key="ab" * 32, size=2)


def write(folder: Path, manifest: Manifest, blob: bytes = b"blob") -> Path:
    (folder / "source").write_bytes(blob)
    path = folder / "bundle"
    write_bundle(path, manifest, [b"one", b"two"], "note", {sha256(blob): folder / "source"})
    return path


def test_bundle_round_trip(tmp_path: Path, manifest: Manifest) -> None:
    bundle = Bundle.open(write(tmp_path, manifest))
    assert bundle.manifest == manifest
    assert (bundle.entries, bundle.checkpoint) == ([b"one", b"two"], "note")
    assert bundle.blob(sha256(b"blob")) == b"blob"
    with pytest.raises(VerificationError) as caught:
        bundle.blob(sha256(b"other"))
    assert caught.value.check == "blob_digest"


def test_bundle_is_never_overwritten(tmp_path: Path, manifest: Manifest) -> None:
    path = write(tmp_path, manifest)
    with pytest.raises(InputError, match="already exists"):
        write_bundle(path, manifest, [], "", {})


def test_unfinished_bundle_has_no_manifest(
    tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_late(path: Path, data: bytes) -> None:
        if path.name == "checkpoint":
            disk_full()
        path.write_bytes(data)

    monkeypatch.setattr(bundles, "write_atomic", fail_late)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path, manifest)
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"manifest\.json cannot be read"):
        Bundle.open(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("limit", "part"), [("MAX_LOG_BYTES", "log.jsonl"), ("MAX_CHECKPOINT_BYTES", "checkpoint")]
)
def test_oversized_part(
    tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, limit: str, part: str
) -> None:
    path = write(tmp_path, manifest)
    monkeypatch.setattr(bundles, limit, 3)
    with pytest.raises(InputError, match=f"{part} has . bytes, more than the 3 allowed"):
        Bundle.open(path)


def test_oversized_blob(tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(write(tmp_path, manifest))
    monkeypatch.setattr(bundles, "MAX_BLOB_BYTES", 3)
    with pytest.raises(InputError, match="4 bytes, more than the 3 allowed"):
        bundle.blob(sha256(b"blob"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: (path / "log.jsonl").write_bytes(b"one\n"), "holds 1 log entries, its manifest says 2"),
        (lambda path: (path / "log.jsonl").write_bytes(b"one\ntwo"), "cut off"),
        (lambda path: (path / "log.jsonl").write_bytes(b""), "cut off"),
        (lambda path: (path / "checkpoint").write_bytes(b"\xff"), "not text"),
        (lambda path: (path / "extra").touch(), "does not belong"),
        (lambda path: (path / "blobs" / "extra").touch(), "does not belong"),
        (lambda path: (path / "blobs" / ("a" * 64 + "\n")).touch(), "does not belong"),
        (lambda path: (path / "blobs" / ("a" * 64)).symlink_to("/etc/passwd"), "does not belong"),
    ],
)
def test_damaged_bundle(
    tmp_path: Path, manifest: Manifest, damage: Callable[[Path], object], words: str
) -> None:
    path = write(tmp_path, manifest)
    damage(path)
    with pytest.raises(InputError, match=words):
        Bundle.open(path)


def test_blob_that_is_a_folder_is_missing(tmp_path: Path, manifest: Manifest) -> None:
    path = write(tmp_path, manifest)
    (path / "blobs" / ("a" * 64)).mkdir()
    with pytest.raises(VerificationError, match="lacks blob"):
        Bundle.open(path).blob("a" * 64)


def test_file_is_not_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not a folder"):
        Bundle.open(tmp_path / "file")


# Settings and invitations


class Example(BaseModel):
    port: int
    host: str | None = None


def test_settings_round_trip(tmp_path: Path) -> None:
    write_settings(tmp_path / "settings.toml", Example(port=1))
    assert read_settings(tmp_path / "settings.toml", Example) == Example(port=1)
    assert stat.S_IMODE((tmp_path / "settings.toml").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"port = ", "not valid TOML"),
        (b"\xff", "not valid TOML"),
        (b'port = "x"', "field port"),
        (b"", "field port"),
    ],
)
def test_unusable_settings(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "settings.toml").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_settings(tmp_path / "settings.toml", Example)


INVITATION = Invitation(participant="ana", authority="ab" * 32, secret="cd" * 32)


def test_invitation_round_trip() -> None:
    assert Invitation.from_token(f"  {INVITATION.token()}\n") == INVITATION
    assert INVITATION.secret_digest() == sha256(bytes.fromhex("cd" * 32))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "itw1_",
        "itw2_" + INVITATION.token()[5:],
        INVITATION.token()[:-4],
        "itw1_!!!",
        "itw1_" + "a" * 3000,
        "ü",
    ],
)
def test_damaged_invitation(token: str) -> None:
    with pytest.raises(InputError, match="damaged"):
        Invitation.from_token(token)


def test_enrolment_request_is_bound_to_its_keys() -> None:
    node_key = "ecdsa-sha2-nistp384 " + "A" * 120
    request = EnrolmentRequest.create("ab" * 32, node_key, SigningKey.generate())
    request.verify()
    for change in ({"secret": "cd" * 32}, {"node_key": node_key + "A"}, {"signing_key": "ef" * 32}):
        with pytest.raises(VerificationError):
            request.model_copy(update=change).verify()
