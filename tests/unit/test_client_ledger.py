"""The agent's ledger as a file: which release may open it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from intertwine.client.ledger import SCHEMA, Ledger
from intertwine.protocols.errors import InputError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def version(path: Path, new: int | None = None) -> int:
    with closing(sqlite3.connect(path)) as connection:
        if new is not None:
            connection.execute(f"PRAGMA user_version = {new}")
        found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def test_a_ledger_says_which_tables_it_has(path: Path) -> None:
    Ledger(path)
    assert version(path) == SCHEMA
    assert Ledger(path).find("0" * 64) is None


def test_a_newer_ledger_is_refused_and_left_alone(path: Path) -> None:
    Ledger(path)
    version(path, SCHEMA + 1)
    before = path.read_bytes()
    with pytest.raises(InputError, match="newer release"):
        Ledger(path)
    assert path.read_bytes() == before
