"""What a watch remembers between its lives."""

from pathlib import Path

import pytest

from intertwine.protocols.entries import (
    Outcome,
)
from intertwine.protocols.errors import InputError
from intertwine.zk.audit.alert import AlertKind
from intertwine.zk.audit.watch_state import WatchState
from tests.log_server import LogServer
from tests.recording import Recording
from tests.watching import Start, forked, only


def test_files_are_private(server: LogServer, honest: Recording, start: Start, tmp_path: Path) -> None:
    server.show(honest)
    start().step()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    assert modes == dict.fromkeys(("memory.json", "entries", "verified", "lock"), 0o600)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_one_watch_a_folder(server: LogServer, honest: Recording, start: Start, tmp_path: Path) -> None:
    start()
    with pytest.raises(InputError, match="Another watch"):
        WatchState(tmp_path / "state", honest.origin)


def test_folder_of_another_log(server: LogServer, honest: Recording, start: Start, tmp_path: Path) -> None:
    server.show(honest)
    watch = start()
    watch.step()
    watch.state.close()
    with pytest.raises(InputError, match="remembers the log"):
        WatchState(tmp_path / "state", "intertwine/other")
    start_again = WatchState(tmp_path / "state", honest.origin)
    start_again.close()


@pytest.mark.parametrize("damage", [b"", b"x" * 10_000])
def test_damaged_entries_are_fetched_again(
    server: LogServer, honest: Recording, start: Start, tmp_path: Path, damage: bytes
) -> None:
    """They are a cache; what was signed is still remembered, and a fork still found."""
    server.show(honest, 12)
    start().step()
    (tmp_path / "state" / "entries").write_bytes(damage)
    server.show(honest, 14)
    watch = start()
    assert watch.step() == []
    assert watch.watcher.progress.judged == 14
    (tmp_path / "state" / "entries").write_bytes(damage)
    server.show(forked(honest, 5))
    only(start().step(), AlertKind.FORK, None, "the first 14 entries")


def test_half_a_line_is_forgotten(server: LogServer, honest: Recording, start: Start, tmp_path: Path) -> None:
    """As a crash in the middle of writing leaves it; what comes next is not lost with it."""
    server.show(honest, honest.position(Outcome) + 1)
    start().step()
    for name in ("verified", "entries"):
        with (tmp_path / "state" / name).open("ab") as file:
            file.write(b"half a li")
    server.show(honest)
    for _ in range(2):
        watch = start()
        assert watch.step() == []
        assert watch.watcher.progress.proofs == 2
    assert sum("blobs" in path for path in server.requests) == 3 + 3


@pytest.mark.parametrize("name", ["memory.json", "verified"])
def test_damaged_memory_is_named(
    server: LogServer, honest: Recording, start: Start, tmp_path: Path, name: str
) -> None:
    server.show(honest)
    start().step()
    (tmp_path / "state" / name).write_bytes(b"\xff" * 130)
    with pytest.raises(InputError):
        start()
    (tmp_path / "state" / name).unlink()
    start()
