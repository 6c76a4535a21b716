"""The database behind the store: SQLite in the coordinator's home, or PostgreSQL by URL.

Both keep the same promises to every process that uses them. Writers take their turns, from the first
statement of a transaction to its end; a reader sees one moment and waits for nobody; what is committed is
on disk.
"""

import os
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from intertwine.protocols.errors import InputError, StorageError, missing_package
from intertwine.server.home import Home

URL_VARIABLE = "INTERTWINE_DATABASE_URL"
"""Environment variable that says which database, so that its password need not lie in a file."""

_PATIENCE_S = 30
"""How long a writer waits for its turn."""
_CONNECT_S = 10
_TURN = 0x696E74657274
"""Key of the lock that PostgreSQL's writers take turns by; such locks are the database's own."""


def database_url(home: Home) -> URL:
    """Which database the home's coordinator uses: the environment's, else the settings', else its own file.

    InputError if it is not a URL of PostgreSQL.
    """
    if given := os.environ.get(URL_VARIABLE):
        return postgresql_url(given, URL_VARIABLE)
    if given := home.settings.database_url:
        return postgresql_url(given, "database_url in settings.toml")
    return URL.create("sqlite", database=str(home.database))


def postgresql_url(text: str, source: str) -> URL:
    """Read a database URL. source: what it comes from, for messages, which never show the URL."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.drivername not in ("postgresql", "postgresql+psycopg"):
        raise InputError(
            f"{source} is not the URL of a PostgreSQL database.",
            "Write it as postgresql+psycopg://USER:PASSWORD@HOST:5432/DATABASE.",
        )
    return url.set(drivername="postgresql+psycopg")


class Database:
    """Transactions on one database, of either kind; StorageError if they fail.

    where: what messages call it; without user and password.
    """

    def __init__(self, url: URL) -> None:
        if url.drivername == "sqlite":
            connect, self.where = _sqlite, str(url.database)
            self._needs = "there is space and the file is sound"
        else:
            connect, self.where = _postgresql, f"{url.host or 'local'}:{url.port or 5432}/{url.database}"
            self._needs = "the server runs, has space and admits this user"
        self._writer, self._reader = connect(url, writes=True), connect(url, writes=False)
        for engine in (self._writer, self._reader):
            weakref.finalize(self, engine.dispose)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction beside which no other writes: all of it lands, or nothing."""
        with self._refusing("written"), _session(self._writer) as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent view of the database, which never waits for a writer."""
        with self._refusing("read"), _session(self._reader) as session:
            yield session

    def check(self) -> None:
        """StorageError if it cannot be reached."""
        with self.reading() as session:
            session.connection()

    @contextmanager
    def _refusing(self, what: str) -> Iterator[None]:
        """Say why the database does not do it, without any value that it was given."""
        try:
            yield
        except IntegrityError:
            raise  # not the database's failure
        except DataError as error:
            raise InputError(
                "A value does not fit into the database.", "Leave out control characters."
            ) from error
        except PoolTimeoutError as error:
            raise StorageError("The coordinator's database is too busy.", "Try again in a minute.") from error
        except DBAPIError as error:
            raise StorageError(
                f"The coordinator's database {self.where} cannot be {what}: {_reason(error)}.",
                f"See that {self._needs}, then try again.",
            ) from error


@contextmanager
def _session(engine: Engine) -> Iterator[Session]:
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


def _reason(error: DBAPIError) -> str:
    """The first line of what the database says."""
    lines = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
    return lines[0].strip().rstrip(".")


def _sqlite(url: URL, *, writes: bool) -> Engine:
    """BEGIN IMMEDIATE takes the one lock of writers; a deferred transaction reads a snapshot of the WAL."""
    engine = create_engine(url, connect_args={"timeout": _PATIENCE_S}, **_options(writes))
    begin = f"BEGIN {'IMMEDIATE' if writes else 'DEFERRED'}"
    event.listen(engine, "do_connect", _create_private)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _create_private(_dialect: object, _record: object, arguments: list[Any], _options: object) -> None:
    """Make the file with mode 0600, which SQLite gives its -wal and -shm too; the log's nonces are secret.

    Not opened: closing it would end the locks that this process has on it. What fails, SQLite reports.
    """
    with suppress(OSError):
        os.mknod(arguments[0], 0o600)


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # leave BEGIN to the event
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _postgresql(url: URL, *, writes: bool) -> Engine:
    """Writers begin with one lock; a repeatable read has one snapshot.

    READ COMMITTED looks anew with every statement, and so sees what was written before the lock was had.
    """
    try:
        engine = create_engine(
            url,
            connect_args={"connect_timeout": _CONNECT_S},
            isolation_level="READ COMMITTED" if writes else "REPEATABLE READ",
            pool_pre_ping=True,  # a server that was restarted is connected to anew
            **_options(writes),
        )
    except ImportError as error:
        raise missing_package("PostgreSQL's driver is not installed.", "postgresql") from error
    event.listen(engine, "connect", _configure_writer if writes else _configure_reader)
    if writes:
        turn = f"SELECT pg_advisory_xact_lock({_TURN})"
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(turn))
    return engine


def _configure_writer(connection: Any, _record: object) -> None:
    connection.execute("SET synchronous_commit = on")
    connection.execute(f"SET lock_timeout = '{_PATIENCE_S}s'")
    connection.commit()


def _configure_reader(connection: Any, _record: object) -> None:
    connection.execute("SET default_transaction_read_only = on")
    connection.commit()


def _options(writes: bool) -> dict[str, Any]:
    """Writers of this process queue for one connection of their own, so they leave the others to readers."""
    queue = {"pool_size": 1, "max_overflow": 0, "pool_timeout": _PATIENCE_S} if writes else {}
    return {"hide_parameters": True, **queue}
