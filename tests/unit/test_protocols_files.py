"""Files are whole or absent, private where they must be, bounded when read; bundles and settings on top."""

import errno
import os
import re
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from intertwine.protocols import bundle as bundles
from intertwine.protocols.bundle import Bundle, write_bundle
from intertwine.protocols.encoding import sha256
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.files import (
    lock,
    make_private_directory,
    read_bounded,
    write_atomic,
    write_private,
)
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
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            modes.append(stat.S_IMODE(status.st_mode))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", observe)
    write_private(tmp_path / "key", b"secret")
    make_private_directory(tmp_path / "home")
    assert modes == [0o600]
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_a_lock_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_arguments: object, **_options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(InputError, match=r"ledger\.lock cannot be written: Permission denied") as caught:
        lock(tmp_path / "ledger.lock")
    assert "who may write" in caught.value.remedy


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


def write(folder: Path, **changes: Any) -> Path:
    (folder / "source").write_bytes(b"blob")
    fields = {
        "origin": "intertwine/test",
        "log_key": "ab" * 32,
        "runs": ["spring"],
        "entries": [b"one", b"two!"],
        "checkpoint": "note",
        "blobs": {sha256(b"blob"): folder / "source"},
    }
    write_bundle(folder / "bundle", **(fields | changes))
    return folder / "bundle"


def test_bundle_round_trip(tmp_path: Path) -> None:
    bundle = Bundle.open(write(tmp_path))
    assert (bundle.manifest.origin, bundle.manifest.runs, bundle.checkpoint) == (
        "intertwine/test",
        ["spring"],
        "note",
    )
    assert (list(bundle.entries()), bundle.entry(1)) == ([b"one", b"two!"], b"two!")
    assert bundle.blob_digests() == {sha256(b"blob")}
    assert bundle.blob(sha256(b"blob")) == b"blob"
    with pytest.raises(VerificationError) as caught:
        bundle.blob(sha256(b"other"))
    assert caught.value.check == "blob_digest"


def test_equal_contents_are_equal_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    entries = iter([b"one", b"two!"])
    assert (
        write(one, runs=["b", "a"]).read_bytes() == write(two, runs=["a", "b"], entries=entries).read_bytes()
    )


def test_bundle_is_never_overwritten(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(InputError, match="already exists"):
        write(tmp_path)


def test_nothing_is_left_of_a_bundle_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "_write_behind", lambda *_: disk_full())
    with pytest.raises(InputError, match="cannot be written: No space"):
        write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_missing_and_oversized_blobs_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="No such file"):
        write(tmp_path, blobs={"ab" * 32: tmp_path / "nowhere"})
    monkeypatch.setattr(bundles, "MAX_BLOB_BYTES", 3)
    with pytest.raises(InputError, match="more than 3 bytes"):
        write(tmp_path)
    assert not (tmp_path / "bundle").exists()


def damaged(path: Path, change: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(change(path.read_bytes()))
    return path


def field(name: str, value: int) -> Callable[[bytes], bytes]:
    """Replaces a number of the manifest by another of as many digits."""
    return lambda data: re.sub(rb'("%s":)\d+' % name.encode(), rb"\g<1>%d" % value, data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:-1], "is cut off"),
        (lambda data: data[:40], "canonical|JSON"),
        (lambda data: data + b"x", "goes on after its end"),
        (lambda data: data.replace(b"bundle/v2", b"bundle/v9", 1), "of another version"),
        (lambda data: b"PK\x03\x04" + data, "is not a bundle"),
        (lambda data: data[:21] + b"\xff\xff\xff\xff" + data[25:], "its manifest claims 4294967295 bytes"),
        (
            lambda data: data.replace(b"\x00\x00\x00\x03one", b"\xff\x00\x00\x03one"),
            "entry 0 claims 4278190083 bytes",
        ),
        (lambda data: data.replace(b"\x00\x00\x00\x03one", b"\x00\x00\x00\x02one"), "not a proper bundle"),
        (lambda data: data.replace(b"\x04blob", b"\x05blob"), "its blobs do not have the length"),
        (
            lambda data: data.replace(bytes(7) + b"\x04blob", b"\xff" * 7 + b"\x04blob"),
            "claims 18446744073709551364 bytes",
        ),
        (field("entries", 3), "not a proper bundle"),
        (field("entries", 1), "its entries do not have the length"),
        (field("blobs", 2), "ends in the middle"),
    ],
)
def test_damaged_bundle(tmp_path: Path, change: Callable[[bytes], bytes], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Bundle.open(damaged(write(tmp_path), change))


def test_blobs_out_of_order(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"bulb")
    digests = sorted([sha256(b"blob"), sha256(b"bulb")])
    path = write(tmp_path, blobs={sha256(b"blob"): tmp_path / "source", sha256(b"bulb"): other})
    first, second = (bytes.fromhex(digest) for digest in digests)
    with pytest.raises(InputError, match="not in order"):
        Bundle.open(damaged(path, lambda data: data.replace(first, second)))


def test_altered_blob(tmp_path: Path) -> None:
    bundle = Bundle.open(damaged(write(tmp_path), lambda data: data.replace(b"\x04blob", b"\x04bulb")))
    with pytest.raises(VerificationError, match="was altered"):
        bundle.blob(sha256(b"blob"))


def test_a_folder_or_nothing_is_no_bundle(tmp_path: Path) -> None:
    for path, words in ((tmp_path, "is not a file"), (tmp_path / "nothing", "No such file")):
        with pytest.raises(InputError, match=words):
            Bundle.open(path)
