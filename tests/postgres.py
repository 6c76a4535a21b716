"""A PostgreSQL cluster that is thrown away: on a free port of this machine, with a password, not as root."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

PASSWORD = "correct horse"  # noqa: S105
USER = "keeper"
_START_S = 30.0
# Names sort as in a dictionary, which is not how Python sorts them.
_INITDB = ["--locale-provider=icu", "--icu-locale=en", "--encoding=UTF8", "--no-sync", "--auth=scram-sha-256"]
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # nothing here has to survive the machine
    "default_transaction_isolation": "serializable",  # no defaults that our connections could be lucky with
    "synchronous_commit": "off",
}


@dataclass
class Cluster:
    """A running server."""

    port: int
    process: "subprocess.Popen[bytes]"
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def url(self, database: str, password: str = PASSWORD) -> str:
        """The URL of a database, existing or not."""
        quoted = password.replace(" ", "%20")
        return f"postgresql+psycopg://{USER}:{quoted}@127.0.0.1:{self.port}/{database}"

    def create(self) -> str:
        """The URL of a new, empty database."""
        name = f"fresh_{next(self._numbers)}"
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def admit(self, database: str, *, anybody: bool) -> None:
        """Take connections to a database, or end those that there are and refuse new ones."""
        with self.connect("postgres") as connection:
            connection.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS {anybody}")
            if not anybody:
                ending = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
                connection.execute(ending, [database])

    def connect(self, database: str) -> "psycopg.Connection[Any]":
        """A connection that commits at once."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database, autocommit=True
        )


def binaries() -> Path | None:
    """The folder with the newest server's programs on this machine; None without one."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return max(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None
    )


@contextmanager
def cluster(programs: Path) -> Iterator[Cluster]:
    """Start a server, and end it."""
    with tempfile.TemporaryDirectory(prefix="intertwine-postgresql-") as folder:
        account = _account(Path(folder))
        data, password = Path(folder, "data"), Path(folder, "password")
        password.write_text(PASSWORD)
        password.chmod(0o644)  # in a folder that only the account may enter
        initdb = [programs / "initdb", "--pgdata", data, "--username", USER, "--pwfile", password, *_INITDB]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **account)
        port = _free_port()
        settings = {**_SETTINGS, "port": str(port), "unix_socket_directories": folder}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, *options], stdout=log, stderr=log, cwd=folder, **account
            )
        try:
            server = Cluster(port, process)
            _wait(server, Path(folder, "log"))
            yield server
        finally:
            process.send_signal(signal.SIGQUIT)  # ends at once; nothing of it is kept
            process.wait()


def _account(folder: Path) -> dict[str, Any]:
    """Whom the server runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _wait(server: Cluster, log: Path) -> None:
    until = time.monotonic() + _START_S
    while True:
        try:
            server.connect("postgres").close()
            return
        except psycopg.OperationalError:
            if server.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(log.read_text()) from None
            time.sleep(0.05)
