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
    Ledger(path, begun=True)
    assert version(path) == SCHEMA
    assert Ledger(path).find("0" * 64) is None


def test_a_newer_ledger_is_refused_and_left_alone(path: Path) -> None:
    Ledger(path, begun=True)
    version(path, SCHEMA + 1)
    before = path.read_bytes()
    with pytest.raises(InputError, match="newer release"):
        Ledger(path)
    assert path.read_bytes() == before


def test_a_ledger_of_schema_1_is_brought_up_to_date(path: Path) -> None:
    Ledger(path, begun=True).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE slots DROP COLUMN origin")
        connection.execute("DROP TABLE log")
        columns = (
            "slot, run, task, number, plan, nonce_digest, parameters, 'values', seed, gradient, 'commit'"
        )
        columns = columns.replace("'", '"') + ", proven, beacon, release, prove_s"
        values = "'ab', 'one', 'toy', 1, x'00', '', '', x'', x'07', x'', x'', '[]', '', x'08', 1.0"
        connection.execute(f"INSERT INTO slots ({columns}) VALUES ({values})")  # noqa: S608
        connection.commit()
    version(path, 1)
    ledger = Ledger(path)
    assert version(path) == SCHEMA
    (row,) = ledger.released("toy")
    assert (row.slot, row.seed, row.origin) == ("ab", b"\x07", "own")
    assert (ledger.compared().size, ledger.compared().restored) == (0, False)


def test_a_ledger_that_is_gone_is_not_one_that_was_begun(path: Path) -> None:
    with closing(Ledger(path, begun=True)) as ledger:
        assert not ledger.compared().restored
    path.unlink()
    with pytest.raises(InputError, match="is missing"):
        Ledger(path)
    path.touch()  # as a crash leaves it that comes before the tables are made
    with closing(Ledger(path, anew=True)) as ledger:
        assert ledger.compared().restored
