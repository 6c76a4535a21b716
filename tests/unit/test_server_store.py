"""The coordinator's database: what is found without reading the whole log, and who waits for whom."""

import threading
from pathlib import Path

import pytest

from intertwine.protocols.entries import Entry, Failure, Publication
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.protocols.round import RoundId
from intertwine.server.home import CoordinatorSettings, Home
from intertwine.server.store import Store

SETTINGS = CoordinatorSettings(host="127.0.0.1", fleet_port=9092, control_port=8443)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    home = Home.create(tmp_path / "home", SETTINGS)
    return Store(home, home.signing_key)


def failure(store: Store, number: int) -> Entry:
    return Failure(time=number, round=identity(store, "risk"), reason=f"entry {number}")


def identity(store: Store, task: str) -> RoundId:
    return RoundId(deployment=store.deployment, run="spring", task=task, number=1)


def publication(store: Store, task: str, letter: str) -> Publication:
    return Publication(time=1, round=identity(store, task), parameters=letter * 64, onnx=letter * 64)


def test_ranges_of_entries(store: Store) -> None:
    begin = store.size()
    positions = [store.record(failure(store, number)) for number in range(5)]
    assert positions == list(range(begin, begin + 5))
    everything = store.entries()
    assert len(everything) == store.size() == begin + 5
    assert store.entries(begin, begin + 2) == everything[begin : begin + 2]
    assert store.entries(begin + 3) == everything[begin + 3 :]
    assert store.entries(begin + 9, begin + 12) == []
    view = store.view()
    assert view.tree.root(view.size) == Tree(map(leaf_hash, everything)).root(len(everything))


def test_the_newest_publication(store: Store) -> None:
    assert store.publication("risk") is None
    store.record(publication(store, "risk", "a"))
    store.record(publication(store, "forecast", "b"))
    newest = publication(store, "risk", "c")
    position = store.record(newest)
    store.record(failure(store, 1))
    assert store.publication("risk") == (position, newest)
    assert store.publication("recommendation") is None


def test_only_named_blobs_are_named(store: Store) -> None:
    entry = publication(store, "risk", "a")
    assert not store.names("a" * 64)
    with pytest.raises(RuntimeError), store.transaction() as session:
        store.append(session, entry)
        raise RuntimeError
    assert not store.names("a" * 64)
    store.record(entry)
    assert store.names("a" * 64)


def test_cosigned_notes_never_go_back(store: Store) -> None:
    store.keep_cosigned(5, "five, by one")
    store.keep_cosigned(5, "five, by one and another")
    store.keep_cosigned(5, "five")
    store.keep_cosigned(9, "nine")
    store.keep_cosigned(7, "seven, by very many witnesses")
    assert store.cosigned(10) == [(9, "nine"), (5, "five, by one and another")]
    assert store.cosigned(1) == [(9, "nine")]


def test_readers_do_not_wait_for_a_writer(store: Store) -> None:
    """Otherwise anybody who reads the log over HTTP could hold up a round, and the other way round."""
    before = store.entries()
    read: list[list[bytes]] = []
    with store.transaction() as session:
        store.append(session, failure(store, 1))
        reader = threading.Thread(target=lambda: read.append(store.entries()))
        reader.start()
        reader.join(5)
        assert not reader.is_alive()
    assert read == [before]
    assert store.size() == len(before) + 1
