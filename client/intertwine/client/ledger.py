"""The agent's own record: every slot it took part in, and every dataset that it enrolled.

It works whatever the coordinator says of history. A slot is written before its commit leaves the agent,
and its cost is written before its release does; each slot has one commit and one release. What the
coordinator's log knows of us and the ledger does not is added by `comparison`; nothing is ever taken away.
"""

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

from sqlalchemy import JSON, Connection, ForeignKey, LargeBinary, create_engine, event, select
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from intertwine.protocols.errors import BudgetError, InputError
from intertwine.protocols.files import lock, write_private
from intertwine.protocols.mechanism import Entries, Label

SCHEMA = 2
"""`PRAGMA user_version` of a ledger with these tables. 1 had no `origin` of slots, and no table `log`."""
Origin: TypeAlias = Literal["own", "log", "closed"]
"""Where a slot is known from: our own commit; the log, or a copy of the ledger, so that its secrets are gone
and its cost counts; or the log as one that we must not commit to any more, which costs nothing."""
NOT_COMPARED = (
    "The ledger was restored or made anew, and is not compared with the coordinator's log since: more may be "
    "spent than it says.",
    "Start the agent: `intertwine agent run` adds what the ledger lacks before it commits to anything.",
)
"""What is wrong with a ledger whose `LogRow.restored` is set, and what to do about it."""
MAX_PROOFS = 3
"""Distinct proofs for one commit: each opens its columns once more, and their blinding is finite."""


class _Base(DeclarativeBase):
    """Declarative base of the tables below."""


class SlotRow(_Base):
    """One slot.

    seed, gradient: secret, and wiped once the release exists. gradient is empty for data-bound statements.
    values: the parameter vector that the digest `parameters` names, kept while the release needs it.
    proven: digests of the contexts under which a proof was begun.
    """

    __tablename__ = "slots"

    slot: Mapped[str] = mapped_column(primary_key=True)
    run: Mapped[str]
    task: Mapped[str]
    number: Mapped[int]
    plan: Mapped[bytes] = mapped_column(LargeBinary)
    nonce_digest: Mapped[str]
    parameters: Mapped[str]
    values: Mapped[bytes] = mapped_column(LargeBinary)
    seed: Mapped[bytes] = mapped_column(LargeBinary)
    gradient: Mapped[bytes] = mapped_column(LargeBinary)
    commit: Mapped[bytes] = mapped_column(LargeBinary)
    proven: Mapped[list[str]] = mapped_column(JSON, default=list)
    beacon: Mapped[str] = mapped_column(default="")
    release: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    prove_s: Mapped[float] = mapped_column(default=0.0)
    origin: Mapped[Origin] = mapped_column(default="own", server_default="own")


class LogRow(_Base):
    """How far the log was compared with this ledger; the only row has id 1.

    size, roots: of its `Frontier`. restored: the ledger may have forgotten something since then.
    """

    __tablename__ = "log"

    id: Mapped[int] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(default=0)
    roots: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    restored: Mapped[bool] = mapped_column(default=False)


class DatasetRow(_Base):
    """One dataset document of a task, enrolled or still being made.

    seed, features, labels: secret. features and labels are little-endian 16-bit integers, labels empty if
    there are none. record_norm: the real norm that row_bound stands for. digest: of `document`, the
    Signed[Dataset], commitments: its points; empty until every page is proven. enrolled: the coordinator has
    accepted it.
    """

    __tablename__ = "datasets"

    id: Mapped[int] = mapped_column(primary_key=True)
    task: Mapped[str]
    sequence: Mapped[int]
    previous: Mapped[str]
    columns: Mapped[int]
    row_bound: Mapped[int]
    label: Mapped[Label]
    entries: Mapped[Entries]
    record_norm: Mapped[str]
    seed: Mapped[bytes] = mapped_column(LargeBinary)
    features: Mapped[bytes] = mapped_column(LargeBinary)
    labels: Mapped[bytes] = mapped_column(LargeBinary)
    document: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    digest: Mapped[str] = mapped_column(default="", index=True)
    commitments: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    enrolled: Mapped[bool] = mapped_column(default=False)


class DatasetPageRow(_Base):
    """One proven page of a dataset document; `page` counts from 0."""

    __tablename__ = "dataset_pages"

    dataset: Mapped[int] = mapped_column(ForeignKey(DatasetRow.id, ondelete="CASCADE"), primary_key=True)
    page: Mapped[int] = mapped_column(primary_key=True)
    proof: Mapped[bytes] = mapped_column(LargeBinary)


class Ledger:
    """The ledger of one agent. InputError if a newer release has written it: what it says may be misread.

    InputError, too, if it is not there, unless it is `begun`, with nothing done before, or made `anew`: then
    it counts as one that has forgotten everything. Nobody can replace the file while this object lives.
    """

    def __init__(self, path: Path, *, begun: bool = False, anew: bool = False) -> None:
        there = is_there(path)
        if not (there or begun or anew):
            raise InputError(
                f"The privacy ledger {path} is {'empty' if path.exists() else 'missing'}: "
                "what is spent is not known.",
                "Restore a copy: intertwine agent restore FILE. Without one, `intertwine agent run` makes a "
                "new ledger, and counts what the coordinator's log holds of yours as spent.",
            )
        self._unlock = weakref.finalize(self, os.close, hold_ledger(path, fcntl.LOCK_SH))
        if not there:
            write_private(path, b"")
        self._engine = create_engine(f"sqlite:///{path}")
        event.listen(self._engine, "connect", _configure)
        try:
            with self._engine.begin() as connection:
                _prepare(connection, path, lost=not (there or begun))
        except DatabaseError as error:
            raise InputError(
                f"The privacy ledger {path} cannot be opened: {error.orig}.",
                "If it is damaged, move it away and restore a copy: intertwine agent restore FILE",
            ) from error

    def close(self) -> None:
        """Bring everything into the one file, and let others replace it."""
        self._engine.dispose()
        self._unlock()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """All of it is durable when the block ends, or nothing is. InputError if the disk is full."""
        try:
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                yield session
        except OperationalError as error:
            raise InputError(
                f"The privacy ledger cannot be written: {error.orig}.",
                "Free some space; nothing was released and nothing was spent.",
            ) from error

    def find(self, slot: str) -> SlotRow | None:
        """The slot with this identifier (hexadecimal), if the agent took part in it."""
        with self.transaction() as session:
            return session.get(SlotRow, slot)

    def commit(self, row: SlotRow) -> None:
        """Record a slot before its commit is sent."""
        with self.transaction() as session:
            session.add(row)

    def begin_proof(self, slot: str, context: str) -> None:
        """Count a proof before it is made: `context` is the digest of what it is bound to.

        The same context again is the same proof. BudgetError for one distinct context too many: another
        proof would wear out the blinding that hides what the slot's commitments are to.
        """
        with self.transaction() as session:
            row = session.get_one(SlotRow, slot)
            if context in row.proven:
                return
            if len(row.proven) >= MAX_PROOFS:
                raise BudgetError(
                    f"the slot's commitments have served {MAX_PROOFS} proofs already.",
                    "Let this slot fail; the next one has new commitments.",
                )
            row.proven = [*row.proven, context]

    def release(self, slot: str, beacon: str, release: bytes, prove_s: float) -> None:
        """Record the one release of a slot, and its cost, before it is sent; its secrets are wiped.

        prove_s: seconds that making the proof took.
        """
        with self.transaction() as session:
            row = session.get_one(SlotRow, slot)
            row.beacon, row.release, row.prove_s = beacon, release, prove_s
            row.seed = row.gradient = row.values = b""

    def first_plan(self, run: str) -> bytes | None:
        """The plan under which the agent first took part in this run."""
        with self.transaction() as session:
            rows = select(SlotRow.plan).where(SlotRow.run == run, SlotRow.origin != "closed")
            return session.scalars(rows.order_by(SlotRow.number)).first()

    def tasks(self) -> list[str]:
        """Every task that has a slot which counts, whatever the settings say of it now."""
        with self.transaction() as session:
            names = select(SlotRow.task).where(SlotRow.origin != "closed").distinct()
            return list(session.scalars(names.order_by(SlotRow.task)))

    def slots(self, task: str) -> list[SlotRow]:
        """Every slot of a task that counts: released ones are spent, open ones may still be asked for."""
        with self.transaction() as session:
            rows = select(SlotRow).where(SlotRow.task == task, SlotRow.origin != "closed")
            return list(session.scalars(rows))

    def unreleased(self) -> list[SlotRow]:
        """The latest slot of each run, if it has no release: earlier ones will not be asked for any more."""
        with self.transaction() as session:
            rows = select(SlotRow).where(SlotRow.origin == "own").order_by(SlotRow.number)
            latest = {row.run: row for row in session.scalars(rows)}
        return [row for row in latest.values() if not row.release]

    def released(self, task: str) -> list[SlotRow]:
        """Every released slot of a task: what counts as spent."""
        return [row for row in self.slots(task) if row.release]

    # The coordinator's log, and copies

    def compared(self) -> LogRow:
        """How far the log was compared with this ledger."""
        with self.transaction() as session:
            return session.get_one(LogRow, 1)

    def made(self) -> set[str]:
        """What was done here: a word for each commit, each release and each enrolled document."""
        with self.transaction() as session:
            rows = session.scalars(select(SlotRow).where(SlotRow.origin == "own")).all()
            documents = session.scalars(select(DatasetRow.digest)).all()
        released = {f"release {row.slot}" for row in rows if row.release}
        return (
            {f"commit {row.slot}" for row in rows} | released | {f"dataset {digest}" for digest in documents}
        )


def is_there(path: Path) -> bool:
    """Whether a ledger was made here, so that its file is not empty."""
    return path.is_file() and path.stat().st_size > 0


def give_up_open_slots(session: Session) -> int:
    """Wipe the secrets of every slot without a release; they go on counting. Returns how many there were.

    A ledger that has forgotten something cannot know whether they were released already, with what proofs
    and under which beacon.
    """
    rows = session.scalars(select(SlotRow).where(SlotRow.origin == "own", SlotRow.release == b"")).all()
    for row in rows:
        row.origin = "log"
        row.seed = row.gradient = row.values = b""
    return len(rows)


def hold_ledger(path: Path, operation: int) -> int:
    """Lock a ledger: shared to use it, exclusively to replace it. Returns the descriptor that holds the lock.

    InputError if it is locked in the other way.
    """
    try:
        return lock(path.with_suffix(".lock"), operation)
    except BlockingIOError as error:
        raise InputError(
            f"The privacy ledger {path} is in use.", "Stop the agent, and everything else that uses its home."
        ) from error


def _prepare(connection: Connection, path: Path, lost: bool) -> None:
    """Make the tables, or bring those of schema 1 up to date. lost: there was a ledger, and it is gone."""
    found = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if found > SCHEMA:
        raise InputError(
            f"The privacy ledger {path} was written by a newer release.",
            "Install that release, or a later one.",
        )
    if found == SCHEMA:
        return
    if found == 1:
        connection.exec_driver_sql("ALTER TABLE slots ADD COLUMN origin VARCHAR NOT NULL DEFAULT 'own'")
    _Base.metadata.create_all(connection)
    with Session(connection) as session:
        session.add(LogRow(id=1, restored=lost))
        session.flush()
    connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")


def _configure(connection: object, _record: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]
