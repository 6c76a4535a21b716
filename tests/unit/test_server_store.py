"""The coordinator's database, of either kind: what it finds, who waits for whom, how its schema changes."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from intertwine.protocols.entries import Entry, Failure, Publication
from intertwine.protocols.errors import InputError
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.protocols.round import RoundId
from intertwine.server import schema
from intertwine.server.home import CoordinatorSettings, Home
from intertwine.server.store import Base, LogRow, Participant, Rejection, Run, Store

Open = Callable[[], Store]


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """A coordinator's home, with a database of either kind that is still empty."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgresql").create()
    return Home.create(tmp_path / "home", CoordinatorSettings(database_url=url))


@pytest.fixture
def opened(home: Home) -> Open:
    """Opens the store as another process would."""
    return lambda: Store(home, home.signing_key)


@pytest.fixture
def store(opened: Open) -> Store:
    return opened()


def failure(store: Store, number: int) -> Entry:
    return Failure(time=number, round=identity(store, "risk"), reason=f"entry {number}")


def identity(store: Store, task: str) -> RoundId:
    return RoundId(deployment=store.deployment, run="spring", task=task, number=1)


def publication(store: Store, task: str, letter: str) -> Publication:
    return Publication(time=1, round=identity(store, task), parameters=letter * 64, onnx=letter * 64)


# What is in it


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


def test_participants_come_in_the_order_of_their_characters(store: Store) -> None:
    """A database may sort as a dictionary does, in which a hyphen counts for little."""
    names = ["a-z", "ab", "b-1", "b0"]
    with store.transaction() as session:
        session.add_all(
            Participant(
                name=name,
                role="smb",
                tasks=["risk"],
                signing_key=f"{name} signs",
                node_key=name,
                node_id=str(2**64 - 1),
                access_digest=name,
            )
            for name in reversed(names)
        )
    assert [participant.name for participant in store.participants()] == names
    assert store.participant("ab").node_id == str(2**64 - 1)


def test_a_run_keeps_any_detail(store: Store) -> None:
    with store.transaction() as session:
        session.add(Run(name="spring", task="risk", plan=b"\0", launched=2**40, state="running"))
    store.update_run("spring", detail="a reply that begins with \0")
    run = store.run("spring")
    assert (run.plan, run.launched, run.detail) == (b"\0", 2**40, "a reply that begins with \ufffd")


def test_a_slots_rejection_is_counted_once_a_check(store: Store) -> None:
    for participant, check in (("alder", "signature"), ("alder", "signature"), ("birch", "signature")):
        with store.transaction() as session:
            session.merge(Rejection(run="spring", round=1, participant=participant, check=check))
    with store.transaction() as session:
        session.merge(Rejection(run="spring", round=1, participant="birch", check="refusal"))
    assert store.rejections() == {"signature": 2, "refusal": 1}


# Who waits for whom


def test_readers_do_not_wait_for_a_writer(store: Store) -> None:
    """Otherwise anybody who reads the log over HTTP could hold up a round, and the other way round."""
    before = store.entries()
    read: list[list[bytes]] = []
    queue = [threading.Thread(target=store.record, args=[failure(store, number)]) for number in range(2, 20)]
    with store.transaction() as session:
        store.append(session, failure(store, 1))
        for writer in queue:
            writer.start()
        reader = threading.Thread(target=lambda: read.append(store.entries()))
        reader.start()
        reader.join(5)
        assert not reader.is_alive()
    assert read == [before]
    for writer in queue:
        writer.join()
    assert store.size() == len(before) + 1 + len(queue)


def test_a_reader_sees_one_moment(store: Store) -> None:
    with store.reading() as session:
        assert session.get(LogRow, 1) is None
        store.record(failure(store, 1))
        assert session.get(LogRow, 1) is None
    assert store.size() == 2


def test_writers_take_turns(store: Store, opened: Open) -> None:
    """From its first read on, so that what a writer has read still holds when it writes."""
    other, positions = opened(), list[int]()
    writer = threading.Thread(target=lambda: positions.append(other.record(failure(other, 2))))
    with store.transaction() as session:
        assert session.get(LogRow, 1) is None
        writer.start()
        writer.join(0.2)
        assert not positions
        positions.append(store.append(session, failure(store, 1)))
    writer.join(5)
    assert positions == [1, 2]


# Its schema


def differences(store: Store) -> list[object]:
    with store.reading() as session:
        found: list[object] = compare_metadata(
            MigrationContext.configure(session.connection()), Base.metadata
        )
    return found


@pytest.fixture
def next_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Adds a migration with this body to the release's own."""

    def add(body: str) -> None:
        folder = tmp_path / "migrations"
        shutil.copytree(schema.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        script = (
            f"import sqlalchemy as sa\nfrom alembic import op\nrevision, down_revision = '9999', '{head()}'\n"
        )
        path = folder / "versions" / "r9999_synthetic.py"
        path.write_text(f"{script}\ndef upgrade():\n    {body}\n")
        monkeypatch.setattr(schema, "MIGRATIONS", folder)

    return add


def head() -> str:
    return max(path.stem[1:5] for path in (schema.MIGRATIONS / "versions").glob("r*.py"))


def revision(store: Store) -> str | None:
    with store.reading() as session:
        found: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def test_the_migrations_make_the_tables_of_the_code(store: Store) -> None:
    """What is listed here is what a new migration has to do."""
    assert differences(store) == []


def test_a_difference_would_be_noticed(store: Store) -> None:
    with store.transaction() as session:
        session.execute(text("ALTER TABLE runs DROP COLUMN driver"))
    assert "add_column" in str(differences(store))


def test_an_older_schema_is_upgraded_and_keeps_its_data(
    store: Store, opened: Open, next_release: Callable[[str], None]
) -> None:
    store.record(publication(store, "risk", "a"))
    before = store.entries()
    next_release(
        "with op.batch_alter_table('publications') as table:"
        " table.alter_column('task', type_=sa.Text(), nullable=True);"
        " table.add_column(sa.Column('note', sa.String, server_default='none'))"
    )
    newer = opened()
    assert newer.entries() == before
    assert revision(newer) == "9999"
    with newer.reading() as session:
        assert session.scalar(text("SELECT note FROM publications")) == "none"


def test_a_migration_that_fails_changes_nothing(
    store: Store, opened: Open, next_release: Callable[[str], None]
) -> None:
    store.record(failure(store, 1))
    before, latest = store.entries(), head()
    next_release("op.drop_table('runs'); op.drop_table('no_such_table')")
    with pytest.raises(InputError, match="cannot be written"):
        opened()
    assert (store.entries(), revision(store)) == (before, latest)
    assert differences(store) == []


def test_a_newer_schema_is_refused(
    opened: Open, next_release: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context():
        next_release("pass")
        opened()
        monkeypatch.undo()
    with pytest.raises(InputError, match=r"schema 9999, which is newer.* Install the release"):
        opened()


def test_a_current_schema_is_left_alone(store: Store, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command opens the store."""
    monkeypatch.setattr("intertwine.server.store.upgrade", None)
    assert opened().entries() == store.entries()


def test_many_open_an_empty_database_at_once(home: Home, opened: Open) -> None:
    script = (
        "import pathlib, sys;"
        "from intertwine.server.home import Home; from intertwine.server.store import Store;"
        "home = Home(pathlib.Path(sys.argv[1])); sys.stdin.read(); Store(home, home.signing_key)"
    )
    command = [sys.executable, "-W", "error", "-c", script, str(home.path)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: opened(), range(4)))
    for process in processes:
        assert process.stderr is not None
        with process.stderr:
            assert (process.stderr.read(), process.wait()) == (b"", 0)
    assert {store.size() for store in stores} == {1}
    assert differences(stores[0]) == []


# Whose it is


def test_another_coordinators_database_is_refused(store: Store, tmp_path: Path, home: Home) -> None:
    other = Home.create(tmp_path / "other", home.settings)
    if not home.settings.database_url:
        for file in home.path.glob(f"{home.database.name}*"):
            shutil.copy(file, other.path)
    with pytest.raises(InputError, match="does not hold this coordinator's log"):
        Store(other, other.signing_key)
    assert store.size() == 1


def test_a_log_is_begun_once(store: Store, opened: Open, home: Home) -> None:
    """A lost database, or a forgotten URL, must not become a second log under the same key."""
    store.record(failure(store, 1))
    with store.transaction() as session:
        session.execute(text("DELETE FROM entries"))
    with pytest.raises(InputError, match="log was begun in"):
        opened()
    with store.transaction() as session:
        Base.metadata.drop_all(session.connection())
        session.execute(text("DROP TABLE alembic_version"))
    with pytest.raises(InputError, match=r"log was begun in .* restore the database from a backup"):
        opened()
