"""The agent's own record of every slot: what it committed to, what it released, what that cost.

It works whatever the coordinator says of history. A slot is written before its commit leaves the agent,
and its cost is written before its release does; each slot has one commit and one release.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import LargeBinary, create_engine, event, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from intertwine.protocols.accounting import Assurance, Guarantee, guarantee
from intertwine.protocols.errors import InputError
from intertwine.protocols.files import write_private


class _Base(DeclarativeBase):
    """Declarative base of the table below."""


class SlotRow(_Base):
    """One slot. `seed` and `gradient` are secret, and wiped once the release exists."""

    __tablename__ = "slots"

    slot: Mapped[str] = mapped_column(primary_key=True)
    run: Mapped[str]
    task: Mapped[str]
    number: Mapped[int]
    plan: Mapped[bytes] = mapped_column(LargeBinary)
    nonce_digest: Mapped[str]
    parameters: Mapped[str]
    seed: Mapped[bytes] = mapped_column(LargeBinary)
    gradient: Mapped[bytes] = mapped_column(LargeBinary)
    commit: Mapped[bytes] = mapped_column(LargeBinary)
    beacon: Mapped[str] = mapped_column(default="")
    release: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    delta: Mapped[float]
    participant_rho: Mapped[float]
    record_rho: Mapped[float]
    eta: Mapped[float]
    prove_s: Mapped[float] = mapped_column(default=0.0)


@dataclass(frozen=True)
class Spent:
    """What one task has cost so far, at one level of assurance."""

    task: str
    assurance: Assurance
    releases: int
    guarantee: Guarantee


class Ledger:
    """The ledger of one agent."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            write_private(path, b"")
        self._engine = create_engine(f"sqlite:///{path}")
        event.listen(self._engine, "connect", _configure)
        _Base.metadata.create_all(self._engine)

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

    def release(self, slot: str, beacon: str, release: bytes, prove_s: float) -> None:
        """Record the one release of a slot, and its cost, before it is sent; its secrets are wiped.

        prove_s: seconds that making the proof took.
        """
        with self.transaction() as session:
            row = session.get_one(SlotRow, slot)
            row.beacon, row.release, row.prove_s = beacon, release, prove_s
            row.seed = row.gradient = b""

    def first_plan(self, run: str) -> bytes | None:
        """The plan under which the agent first took part in this run."""
        with self.transaction() as session:
            statement = select(SlotRow.plan).where(SlotRow.run == run).order_by(SlotRow.number)
            return session.scalars(statement).first()

    def slots(self, task: str) -> list[SlotRow]:
        """Every slot of a task: released ones are spent, and open ones may still be asked for."""
        with self.transaction() as session:
            return list(session.scalars(select(SlotRow).where(SlotRow.task == task)))

    def released(self, task: str) -> list[SlotRow]:
        """Every released slot of a task: what counts as spent."""
        return [row for row in self.slots(task) if row.release]

    def spent(self, task: str) -> list[Spent]:
        """The task's cost: proven for the whole participant, attested for each record."""
        rows = self.released(task)
        if not rows:
            return []
        delta, eta = max(row.delta for row in rows), sum(row.eta for row in rows)
        levels = {
            Assurance.PROVEN_PARTICIPANT: sum(row.participant_rho for row in rows),
            Assurance.ATTESTED_RECORD: sum(row.record_rho for row in rows),
        }
        return [
            Spent(task, assurance, len(rows), guarantee(rho, delta, eta)) for assurance, rho in levels.items()
        ]


def _configure(connection: object, _record: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]
