"""A coordinator that keeps its state in PostgreSQL: a run beside other writers, and operators' mistakes."""

import stat
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from intertwine.protocols.cli import main
from intertwine.protocols.entries import (
    Act,
    InvitationIssued,
    ModelEntry,
    Outcome,
    Publication,
    RunStopped,
    decode_entry,
)
from intertwine.protocols.errors import InputError, StorageError
from intertwine.server.database import URL_VARIABLE
from intertwine.server.enrolment import invite
from intertwine.server.home import CoordinatorSettings, Home
from intertwine.server.rounds import RunDriver
from intertwine.server.store import Store
from tests.federation import MemoryFederation, untouched
from tests.postgres import PASSWORD, Cluster
from tests.serving import served
from tests.toy import write_points

WRITERS, EACH = 4, 200


def test_a_run_beside_other_writers(postgresql: Cluster, tmp_path: Path, toy: str) -> None:
    """Every entry is there, in one sequence without gaps, and an auditor accepts all of it."""
    federation = MemoryFederation(tmp_path, database_url=postgresql.create())
    for name in ("alder", "birch-co"):
        federation.add(name, {toy: write_points(tmp_path / f"{name}.csv", 30, seed=len(name))})
    plan = federation.plan(toy, "spring")

    def write(writer: int) -> None:
        store = Store(federation.home, federation.key)
        for number in range(EACH):
            invite(federation.home, store, f"guest-{writer}-{number}", "security", [toy], 3600)

    with ThreadPoolExecutor(WRITERS) as pool:
        writing = pool.map(write, range(WRITERS))
        federation.execute(plan)
        list(writing)

    log = [decode_entry(data) for data in federation.store.entries()]
    with federation.store.reading() as session:
        positions = list(session.scalars(text("SELECT position FROM entries ORDER BY position")))
    assert positions == list(range(len(log)))
    acts = [entry.act for entry in log if isinstance(entry, Act)]
    invitations = [act for act in acts if isinstance(act, InvitationIssued)]
    assert [act.number for act in invitations] == list(range(1, 2 + WRITERS * EACH + 1))
    assert len({act.participant for act in invitations}) == 2 + WRITERS * EACH
    (model,) = [entry for entry in log if isinstance(entry, ModelEntry)]
    assert model.accepted == ["alder", "birch-co"]
    assert len([entry for entry in log if isinstance(entry, Publication)]) == 1
    assert federation.store.run("spring").state == "finished"
    assert not federation.home.database.exists()
    federation.assert_passes()


def test_an_outage_blames_no_participant(postgresql: Cluster, tmp_path: Path, toy: str) -> None:
    """The driver ends instead, and the next one goes on where the log stops."""
    federation = MemoryFederation(tmp_path, database_url=postgresql.create())
    name = database(federation.store)
    for member in ("alder", "birch-co"):
        federation.add(member, {toy: write_points(tmp_path / f"{member}.csv", 30, seed=len(member))})
    plan = federation.plan(toy, "spring", quorum=1)

    def outage(participant: str, kind: str, reply: bytes) -> bytes:
        """Just while the first release is logged."""
        if kind == "release":
            postgresql.admit(name, anybody=participant != "alder")
        return reply

    federation.tamper = outage
    with pytest.raises(StorageError, match="not currently accepting connections"):
        federation.execute(plan)
    with served(federation.home, federation.store, lambda _key: 1) as client:
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert name not in answer.text
    postgresql.admit(name, anybody=True)
    federation.tamper = untouched
    RunDriver(federation.store, federation.key, plan, federation).execute()
    log = [decode_entry(data) for data in federation.store.entries()]
    assert [entry.verdict for entry in log if isinstance(entry, Outcome)] == ["accepted"] * 2
    assert federation.store.run("spring").state == "finished"


@pytest.fixture
def store(postgresql: Cluster, tmp_path: Path) -> Store:
    home = Home.create(tmp_path / "home", CoordinatorSettings(database_url=postgresql.create()))
    return Store(home, home.signing_key)


def database(store: Store) -> str:
    with store.reading() as session:
        name: str = session.scalar(text("SELECT current_database()"))
    return name


def test_commits_are_on_disk_and_isolation_is_ours(store: Store) -> None:
    """Whatever the server's own defaults are: those of the tests' server are others."""
    with store.transaction() as session:
        assert session.scalar(text("SHOW synchronous_commit")) == "on"
        assert session.scalar(text("SHOW transaction_isolation")) == "read committed"
    with store.reading() as session:
        assert session.scalar(text("SHOW transaction_read_only")) == "on"
        assert session.scalar(text("SHOW transaction_isolation")) == "repeatable read"


def test_a_server_that_was_restarted_is_found_again(store: Store, postgresql: Cluster) -> None:
    before = store.entries()
    name = database(store)
    postgresql.admit(name, anybody=False)
    postgresql.admit(name, anybody=True)
    assert store.entries() == before


def test_a_connection_that_breaks_says_so_and_writes_nothing(store: Store, postgresql: Cluster) -> None:
    before = store.size()
    complaint = r"cannot be written: .*See that the server runs"
    with pytest.raises(InputError, match=complaint), store.transaction() as session:
        process = session.scalar(text("SELECT pg_backend_pid()"))
        store.append(session, Act(time=1, act=RunStopped(run="spring")))
        with postgresql.connect("postgres") as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", [process])
    assert store.size() == before


def test_text_that_the_database_does_not_take_is_the_askers_mistake(store: Store) -> None:
    with pytest.raises(InputError, match="control characters"):
        store.publication("\0")


# What operators get wrong

Init = Callable[..., tuple[int, str]]


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Init:
    """Runs `coordinator init` with these options; returns exit code and everything it printed."""

    def run(*options: str) -> tuple[int, str]:
        home = ["--home", str(tmp_path / "home")]
        monkeypatch.setattr(sys, "argv", ["intertwine", "coordinator", "init", *home, *options])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), " ".join((printed.out + printed.err).split())

    return run


def test_init_keeps_the_url_to_itself(init: Init, postgresql: Cluster, tmp_path: Path) -> None:
    code, printed = init("--database", postgresql.create())
    assert code == 0
    assert PASSWORD not in printed
    home = Home.open(tmp_path / "home")
    assert PASSWORD not in repr(home.settings)
    assert stat.S_IMODE(home.settings_file.stat().st_mode) == 0o600
    assert not home.database.exists()
    assert Store(home, home.signing_key).size() == 1


def test_the_environment_goes_before_the_settings(
    init: Init, postgresql: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL_VARIABLE, postgresql.create().replace("+psycopg", ""))
    assert init()[0] == 0
    home = Home.open(tmp_path / "home")
    assert home.settings.database_url == ""
    assert Store(home, home.signing_key).size() == 1
    monkeypatch.delenv(URL_VARIABLE)
    with pytest.raises(InputError, match=rf"log was begun in 127\.0\.0\.1:.*{URL_VARIABLE}"):
        Store(home, home.signing_key)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        pytest.param(lambda c: c.url("postgres", "wrong secret"), "password authentication", id="password"),
        pytest.param(lambda c: c.url("absent"), '"absent" does not exist', id="database"),
        pytest.param(lambda c: c.url("postgres").replace(str(c.port), "1"), "refused", id="port"),
        pytest.param(lambda c: c.url("postgres") + "?colour=red", 'option "colour"', id="option"),
        pytest.param(lambda c: c.url("postgres").replace("+psycopg", "+asyncpg"), "postgresql+", id="driver"),
        pytest.param(lambda c: f"keeper:{PASSWORD}@127.0.0.1", "postgresql+psycopg://USER", id="no-url"),
        pytest.param(lambda c: f"postgresql://keeper:{PASSWORD}@host:port/x", "//USER", id="no-port"),
    ],
)
def test_a_url_that_leads_nowhere(
    init: Init, postgresql: Cluster, tmp_path: Path, wrong: Callable[[Cluster], str], said: str
) -> None:
    code, printed = init("--database", wrong(postgresql))
    assert code == 2
    assert said in printed
    assert "Traceback" not in printed
    for secret in (PASSWORD, PASSWORD.replace(" ", "%20"), "wrong secret"):
        assert secret not in printed
    assert not (tmp_path / "home").exists()


def test_no_password_in_what_an_error_came_from(postgresql: Cluster, tmp_path: Path) -> None:
    url = postgresql.url("postgres", "wrong secret")
    home = Home.create(tmp_path / "home", CoordinatorSettings(database_url=url))
    with pytest.raises(InputError) as caught:
        Store(home, home.signing_key)
    assert "wrong" not in "".join(traceback.format_exception(caught.value))


def test_a_user_that_may_not_create_tables(postgresql: Cluster, init: Init) -> None:
    url = postgresql.create()
    with postgresql.connect("postgres") as connection:
        connection.execute("CREATE USER reader PASSWORD 'other horse'")
    code, printed = init("--database", url.replace("keeper:correct", "reader:other"))
    assert code == 2
    assert "permission denied" in printed


def test_a_missing_driver(init: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    code, printed = init("--database", "postgresql://keeper@127.0.0.1/x")
    assert code == 2
    assert 'pip install --constraint deploy/constraints.txt ".[postgresql]"' in printed
