"""Copies of the ledger: one file that is whole, and that resets nothing when it comes back.

A copy is an envelope of a `LedgerBackup` and an SQLite database. What was done after it was made is found in
the coordinator's log (`comparison`), before the agent commits to anything.
"""

import fcntl
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from intertwine.client.home import Home
from intertwine.client.ledger import (
    NOT_COMPARED,
    Ledger,
    LogRow,
    give_up_open_slots,
    hold_ledger,
    is_there,
)
from intertwine.protocols.document import Document, Hex32, Name, Timestamp
from intertwine.protocols.encoding import sha256
from intertwine.protocols.envelope import Envelope
from intertwine.protocols.errors import InputError
from intertwine.protocols.files import read_bounded, sync_folder, write_private

MAX_LEDGER_BYTES = 1 << 30
_OVERHEAD_BYTES = 1 << 16


class LedgerBackup(Document):
    """What a copy is of. log_size: entries of the log that it was compared with. sha256: of the database."""

    version: Literal["intertwine/ledger-backup/v1"] = "intertwine/ledger-backup/v1"
    deployment: Hex32
    participant: Name
    time: Timestamp
    log_size: Annotated[int, Field(ge=0, le=2**48)]
    sha256: Hex32


def back_up(home: Home, path: Path) -> LedgerBackup:
    """Write a copy of the ledger as it is now (mode 0600), while the agent runs or not.

    A file that is there is replaced. InputError if the ledger is missing, damaged or not compared with the
    log since it was restored, or if the file cannot be written.
    """
    settings = home.settings
    with (
        closing(Ledger(home.ledger)) as ledger,
        closing(sqlite3.connect(home.ledger)) as source,
        closing(sqlite3.connect(":memory:")) as copy,
    ):
        compared = ledger.compared()
        if compared.restored:
            raise InputError(*NOT_COMPARED)
        source.backup(copy)
        check_integrity(copy, home.ledger)
        data = copy.serialize()
    document = LedgerBackup(
        deployment=settings.deployment,
        participant=settings.participant,
        time=int(time.time()),
        log_size=compared.size,
        sha256=sha256(data),
    )
    write_private(path, Envelope(document.encode(), (data,)).to_bytes())
    return document


def restore(home: Home, path: Path) -> tuple[LedgerBackup, int]:
    """Put a copy in the ledger's place; also how many slots without a release were given up.

    InputError, and nothing changes, if the file is no whole copy of this participant's ledger, if anything
    uses the ledger, or if the one in place knows of something that the copy does not.
    """
    document, data = _read(home, path)
    fresh = home.ledger.with_name("restoring.db")
    try:
        write_private(fresh, data)
        restored = Ledger(fresh)
        if is_there(home.ledger):
            _require_nothing_new(home.ledger, restored)
        with restored.transaction() as session:
            session.get_one(LogRow, 1).restored = True
            given_up = give_up_open_slots(session)
        restored.close()
        _replace(home.ledger, fresh)
    finally:
        for name in ("restoring.db", "restoring.db-wal", "restoring.db-shm", "restoring.lock"):
            home.ledger.with_name(name).unlink(missing_ok=True)
    return document, given_up


def check_integrity(connection: sqlite3.Connection, path: Path) -> None:
    """InputError if SQLite finds the database damaged."""
    try:
        ((answer,),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
    except sqlite3.DatabaseError as error:
        answer = str(error)
    if answer != "ok":
        raise InputError(
            f"The ledger {path} is damaged: {answer}.", "Restore it: intertwine agent restore FILE"
        )


def _read(home: Home, path: Path) -> tuple[LedgerBackup, bytes]:
    """The parts of a copy, if it is whole and of this participant."""
    settings, content = home.settings, read_bounded(path, MAX_LEDGER_BYTES + _OVERHEAD_BYTES)
    try:
        envelope = Envelope.from_bytes(content, (MAX_LEDGER_BYTES,))
        document, (data,) = LedgerBackup.decode(envelope.document), envelope.expect(1)
    except InputError as error:
        raise InputError(
            f"{path} is no whole copy of a ledger: {error.problem}", "Take another copy."
        ) from error
    if (document.deployment, document.participant) != (settings.deployment, settings.participant):
        raise InputError(f"{path} is a copy of the ledger of {document.participant!r}.", "Take your own.")
    if sha256(data) != document.sha256:
        raise InputError(f"{path} is damaged.", "Take another copy.")
    return document, data


def _require_nothing_new(path: Path, restored: Ledger) -> None:
    """InputError if the ledger in place is newer than the copy, or cannot be read."""
    ledger = Ledger(path)
    missing = ledger.made() - restored.made()
    ledger.close()
    if missing:
        raise InputError(
            f"The ledger {path} holds {len(missing)} things that the copy does not.",
            "Keep it. If it is of no use all the same, move it away and run this again.",
        )


def _replace(path: Path, fresh: Path) -> None:
    """Put a file in the ledger's place while nothing uses that."""
    lock = hold_ledger(path, fcntl.LOCK_EX)
    try:
        # What belongs to another database would be replayed into this one.
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        fresh.replace(path)
        sync_folder(path.parent)
    finally:
        os.close(lock)
