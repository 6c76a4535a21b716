"""Alerts about what witnesses of a watched log have signed."""

import pytest

from intertwine.protocols.cosignature import cosign
from intertwine.protocols.policy import Policy, Witness
from intertwine.protocols.witnessing import checkpoint_path
from intertwine.zk.audit.alert import AlertKind
from tests.log_server import LogServer
from tests.recording import Recording, fixed_key
from tests.watching import NOW, Start, forked, only

WITNESS = "one"


def witnessed(honest: Recording, url: str) -> Policy:
    """A policy that demands one witness, at `url`."""
    plain = Policy.of_key(honest.log_key.public)
    witness = Witness(WITNESS, "witness.example", fixed_key("witness").public, url)
    return Policy(plain.origin, plain.log_key, (witness,), WITNESS)


def signed(note: str, time: int = NOW) -> str:
    return note + cosign(note, "witness.example", fixed_key("witness"), time)


def test_cosigned_log(server: LogServer, honest: Recording, start: Start) -> None:
    server.show(honest)
    server.note = signed(server.note)
    server.pages[checkpoint_path(honest.origin)] = signed(honest.checkpoint(12)).encode()
    watch = start(witnessed(honest, server.url))
    assert watch.step() == []
    assert watch.watcher.progress.judged == len(honest.entries)


def test_cosignature_missing(server: LogServer, honest: Recording, start: Start) -> None:
    """For a while nothing is said, and nothing is taken in; then there is one alert."""
    server.show(honest)
    server.pages[checkpoint_path(honest.origin)] = signed(honest.checkpoint(12)).encode()
    watch = start(witnessed(honest, server.url), grace_s=60)
    assert watch.step() == []
    watch.now += 59
    assert watch.step() == []
    watch.now += 1
    alert = only(watch.step(), AlertKind.COSIGNATURE, None, "2027-01-15T08:00:00Z")
    assert alert.check == "cosignature_quorum"
    watch.now += 60
    assert watch.step() == []
    assert watch.watcher.progress.size == 0
    server.note = signed(server.note)
    assert watch.step() == []
    assert watch.watcher.progress.size == len(honest.entries)


def test_cosignature_wrong(server: LogServer, honest: Recording, start: Start) -> None:
    server.show(honest)
    line = cosign(honest.checkpoint(5), "witness.example", fixed_key("witness"), NOW)
    server.note += line
    server.pages[checkpoint_path(honest.origin)] = signed(honest.checkpoint(12)).encode()
    alert = only(start(witnessed(honest, server.url)).step(), AlertKind.COSIGNATURE, None)
    assert alert.check == "cosignature"


@pytest.mark.parametrize("size", [10, 16])
def test_fork_shown_to_a_witness(server: LogServer, honest: Recording, start: Start, size: int) -> None:
    """The witness has seen another history than we are shown; the notes of both prove it."""
    server.show(honest, 16)
    server.note = signed(server.note)
    other = signed(forked(honest, 8).checkpoint(size))
    server.pages[checkpoint_path(honest.origin)] = other.encode()
    alert = only(start(witnessed(honest, server.url)).step(), AlertKind.FORK, None, f"first {size}")
    assert set(alert.evidence) == {other, server.note}


def test_log_behind_its_witness(server: LogServer, honest: Recording, start: Start) -> None:
    """We are shown an old checkpoint for ever, the witness was shown more."""
    server.show(honest, 12)
    server.note = signed(server.note)
    server.pages[checkpoint_path(honest.origin)] = signed(honest.checkpoint(16)).encode()
    watch = start(witnessed(honest, server.url), grace_s=60)
    assert watch.step() == []
    watch.now += 60
    only(watch.step(), AlertKind.ROLLBACK, None, "witness 'one'")


def test_witness_silent(server: LogServer, honest: Recording, start: Start) -> None:
    server.show(honest)
    server.note = signed(server.note)
    server.broken["/checkpoint/"] = lambda handler: handler.send_error(500)
    watch = start(witnessed(honest, server.url), grace_s=60)
    assert watch.step() == []
    watch.now += 60
    only(watch.step(), AlertKind.UNREACHABLE, None, "witness 'one'")


def test_witness_that_shows_what_it_has_not_signed(
    server: LogServer, honest: Recording, start: Start
) -> None:
    server.show(honest)
    server.note = signed(server.note)
    server.pages[checkpoint_path(honest.origin)] = honest.checkpoint(12).encode()
    only(start(witnessed(honest, server.url)).step(), AlertKind.COSIGNATURE, None, "has not signed")
