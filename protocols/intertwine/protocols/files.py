"""Files that are either wholly there or not there at all, and bounded reads."""

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from intertwine.protocols.errors import InputError, StorageError


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write `data` so that `path` holds the old bytes or the new ones, never a part.

    InputError if the disk is full or the folder cannot be written; nothing is left behind then.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        if isinstance(error, OSError):
            raise unwritable(path, error) from error
        raise


def write_private(path: Path, data: bytes) -> None:
    """Write a secret: readable and writable by its owner alone (mode 0600) from the first byte."""
    write_atomic(path, data, mode=0o600)


def sync_folder(path: Path) -> None:
    """Make renamings in a folder durable: a file's own fsync does not cover its name."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_private(path: Path, limit: int) -> int:
    """A descriptor that appends to a file of ours alone; one of more than `limit` bytes is kept as NAME.1."""
    if path.exists() and path.stat().st_size > limit:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def lock(path: Path, operation: int = fcntl.LOCK_EX) -> int:
    """A descriptor that holds a lock on a file until it is closed; BlockingIOError if somebody else does.

    operation: LOCK_EX or LOCK_SH of flock(2). The file is made if it is not there. StorageError if it may not
    be written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def make_private_directory(path: Path) -> None:
    """Create a folder that only its owner may enter (mode 0700)."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def make_home(path: Path, settings: Path) -> None:
    """Create a folder of mode 0700, or close one that is there to others.

    settings: a file of every home. InputError if a folder that is open to others has files in it, and not
    that one: somebody may need them.
    """
    make_private_directory(path)
    try:
        if not path.stat().st_mode & 0o077:
            return
        if any(path.iterdir()) and not settings.is_file():
            raise InputError(
                f"Others may enter {path}, and there are files in it.",
                f"Run: chmod 700 {path}, or choose another folder.",
            )
        path.chmod(0o700)
    except OSError as error:
        raise unwritable(path, error) from error


def require_files(remedies: Mapping[Path, str]) -> None:
    """InputError, with its remedy, for the first of these files that is not there."""
    for path, remedy in remedies.items():
        if not path.is_file():
            raise InputError(f"{path} is missing.", remedy)


def check_bounded(path: Path, limit: int) -> None:
    """InputError unless this is a file of at most `limit` bytes; OSError if it cannot be looked at."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path} is not a file.", "Check the path.")
    if (size := status.st_size) > limit:
        raise InputError(
            f"{path} has {size} bytes, more than the {limit} allowed.", "Check that it is the right file."
        )


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a file of at most `limit` bytes; its size is checked before anything is read."""
    try:
        check_bounded(path, limit)
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{path} cannot be read: {reason}.", "Check the path and its permissions."
        ) from error


def unwritable(path: Path, error: OSError) -> StorageError:
    """What to tell people about a file that cannot be written."""
    reason = error.strerror or str(error)
    remedy = (
        "See who may write there."
        if isinstance(error, PermissionError)
        else "Free some space or choose another folder, then run it again."
    )
    return StorageError(f"{path} cannot be written: {reason}.", remedy)
