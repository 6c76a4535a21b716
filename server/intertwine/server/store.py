"""The coordinator's durable state: log entries, participants and their keys, invitations, runs and blobs.

Every change and the log entry that records it are one transaction. Several processes (control plane,
round driver, command line) share one database; writers take their turn. A change of the tables here needs
a migration in `migrations/versions/`.
"""

import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import JSON, BigInteger, LargeBinary, MetaData, func, inspect, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, validates

from intertwine.protocols.bundle import MAX_BLOB_BYTES
from intertwine.protocols.checkpoint import Checkpoint, log_verifier, sign_checkpoint
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import Act, Entry, LogCreated, Publication, blobs_of, decode_entry, run_of
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.files import read_bounded, write_atomic
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.protocols.round import InclusionProof
from intertwine.protocols.signing import SigningKey
from intertwine.server.database import URL_VARIABLE, Database, database_url
from intertwine.server.home import Home
from intertwine.server.schema import is_current, upgrade

_MAX_PLACE_BYTES = 4096
_POINTS_AT_ONCE = 500
"""Points in one query: SQLite bounds a statement's parameters."""


class Base(DeclarativeBase):
    """Declarative base of the tables below. Constraints have names, so that migrations can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
        }
    )


class LogRow(Base):
    """One log entry; `position` counts from 0. run: the run that it is about, if any."""

    __tablename__ = "entries"

    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)
    run: Mapped[str] = mapped_column(index=True)


class NamedBlob(Base):
    """A blob that an entry names, and that everybody may therefore have."""

    __tablename__ = "named_blobs"

    digest: Mapped[str] = mapped_column(primary_key=True)


class PublicationRow(Base):
    """Where in the log a model was published."""

    __tablename__ = "publications"

    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    task: Mapped[str] = mapped_column(index=True)


class CosignedNote(Base):
    """A checkpoint with co-signatures that satisfied the policy."""

    __tablename__ = "cosigned_notes"

    size: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    note: Mapped[str]


class Participant(Base):
    """An enrolled participant; role and tasks are what the coordinator invited it for.

    signing_key: the one in force.
    """

    __tablename__ = "participants"

    name: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    tasks: Mapped[list[str]] = mapped_column(JSON)
    signing_key: Mapped[str] = mapped_column(unique=True)
    node_key: Mapped[str] = mapped_column(unique=True)
    node_id: Mapped[str]  # Flower's 64-bit id in decimal: too large for an SQL integer
    access_digest: Mapped[str] = mapped_column(unique=True)


class KeyChangeRow(Base):
    """A participant's change of key; sequence counts them from 1. document: the Signed[NewKey]."""

    __tablename__ = "key_changes"

    participant: Mapped[str] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    old_key: Mapped[str] = mapped_column(unique=True)
    new_key: Mapped[str] = mapped_column(unique=True)
    document: Mapped[bytes] = mapped_column(LargeBinary)


class RevocationRow(Base):
    """A participant whose membership has ended."""

    __tablename__ = "revocations"

    participant: Mapped[str] = mapped_column(primary_key=True)


class Invitation(Base):
    """A one-time token, kept as the digest of its secret."""

    __tablename__ = "invitations"

    secret_digest: Mapped[str] = mapped_column(primary_key=True)
    participant: Mapped[str]
    role: Mapped[str]
    tasks: Mapped[list[str]] = mapped_column(JSON)
    expires: Mapped[int] = mapped_column(BigInteger)
    used: Mapped[bool] = mapped_column(default=False)


class AccessGrant(Base):
    """A bearer token of an administrator or auditor, kept as its digest. number: counts grants from 1.

    ended: revoked before it expired.
    """

    __tablename__ = "access_grants"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(index=True)
    role: Mapped[str]
    token_digest: Mapped[str] = mapped_column(unique=True)
    expires: Mapped[int] = mapped_column(BigInteger)
    ended: Mapped[bool] = mapped_column(default=False)


class CommitmentPoint(Base):
    """A commitment that was used; the log never takes it twice."""

    __tablename__ = "commitment_points"

    point: Mapped[str] = mapped_column(primary_key=True)


class DatasetRow(Base):
    """A dataset document that was enrolled. document: the Signed[Dataset]; digest: of it."""

    __tablename__ = "datasets"

    digest: Mapped[str] = mapped_column(primary_key=True)
    participant: Mapped[str] = mapped_column(index=True)
    task: Mapped[str]
    sequence: Mapped[int]
    content: Mapped[str] = mapped_column(index=True)
    document: Mapped[bytes] = mapped_column(LargeBinary)


class RoundNonce(Base):
    """The secret that a round's beacon is drawn from, kept so that a round survives its driver."""

    __tablename__ = "round_nonces"

    run: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    nonce: Mapped[str]


class Rejection(Base):
    """A slot whose reply failed this check and is therefore not in the log; a repetition is the same row."""

    __tablename__ = "rejections"

    run: Mapped[str] = mapped_column(primary_key=True)
    round: Mapped[int] = mapped_column(primary_key=True)
    participant: Mapped[str] = mapped_column(primary_key=True)
    check: Mapped[str] = mapped_column(primary_key=True)


class Run(Base):
    """A launched run. state: launched, running, finished, failed or stopped.

    flower_run: Flower's id of the latest process that was started to drive it; driver: of the latest that
    has begun to.
    """

    __tablename__ = "runs"

    name: Mapped[str] = mapped_column(primary_key=True)
    task: Mapped[str]
    plan: Mapped[bytes] = mapped_column(LargeBinary)
    launched: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str]
    detail: Mapped[str] = mapped_column(default="")
    finished_rounds: Mapped[int] = mapped_column(default=0)
    flower_run: Mapped[str] = mapped_column(default="")
    driver: Mapped[str] = mapped_column(default="")

    @validates("detail")
    def _storable(self, _column: str, detail: str) -> str:
        """Details may quote what a participant sent, and PostgreSQL takes no NUL."""
        return detail.replace("\0", "\ufffd")

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen in this run."""
        return self.state in ("finished", "failed", "stopped")


@dataclass(frozen=True)
class LogView:
    """The log at one moment: a checkpoint, how many entries it covers, and proofs that lead to it."""

    checkpoint: str
    size: int
    tree: Tree

    def inclusion(self, position: int) -> InclusionProof:
        """The proof that entry `position` is covered."""
        path = self.tree.inclusion(position, self.size)
        return InclusionProof(index=position, path=[node.hex() for node in path])


class Store:
    """Access to one coordinator's database and blobs."""

    def __init__(self, home: Home, key: SigningKey) -> None:
        self._blobs = home.blobs
        self._key = key
        self._created = LogCreated(log_key=key.public)
        self._tree = Tree()
        self._growing = threading.Lock()
        self._database = open_database(home)
        self._open(home)

    def _open(self, home: Home) -> None:
        """Bring the schema up to date, begin a new log, and see that the log is this coordinator's.

        InputError for a newer schema, and for another coordinator's log.
        """
        with self.reading() as session:
            current = is_current(session.connection())
        if not current:
            with self.transaction() as session:
                upgrade(session.connection())
                if _length(session) == 0:
                    self.append(session, Act(time=now(), act=self._created))
        first = [decode_entry(data) for data in self.entries(0, 1)]
        if not any(isinstance(entry, Act) and entry.act == self._created for entry in first):
            raise InputError(
                f"The database {self._database.where} does not hold this coordinator's log.",
                "Give each coordinator a database of its own.",
            )
        if not home.log_begun.exists():
            write_atomic(home.log_begun, self._database.where.encode())

    @property
    def deployment(self) -> str:
        """The identifier of this deployment: its signing key."""
        return self._key.public

    @property
    def origin(self) -> str:
        """The name of the log."""
        return log_verifier(self._key.public).name

    def transaction(self) -> AbstractContextManager[Session]:
        """A write transaction: all of it lands, or nothing. StorageError if it fails, as on a full disk."""
        return self._database.writing()

    def reading(self) -> AbstractContextManager[Session]:
        """One consistent view of the database, which never waits for a writer. StorageError if it fails."""
        return self._database.reading()

    def append(self, session: Session, entry: Entry) -> int:
        """Add an entry to the log within `session`'s transaction; returns its position."""
        data = entry.encode()
        position = _length(session)
        session.add(LogRow(position=position, data=data, leaf=leaf_hash(data), run=run_of(entry)))
        for digest in blobs_of(entry):
            session.merge(NamedBlob(digest=digest))
        if isinstance(entry, Publication):
            session.add(PublicationRow(position=position, task=entry.round.task))
        session.flush()
        return position

    def record(self, entry: Entry) -> int:
        """Add one entry in a transaction of its own."""
        with self.transaction() as session:
            return self.append(session, entry)

    def claim_points(self, session: Session, points: Sequence[str]) -> None:
        """Mark commitments as used; VerificationError `copied_commitment` if one was used before."""
        used = len(set(points)) != len(points)
        for start in range(0, len(points), _POINTS_AT_ONCE):
            some = points[start : start + _POINTS_AT_ONCE]
            known = select(CommitmentPoint.point).where(CommitmentPoint.point.in_(some))
            used = used or session.scalars(known).first() is not None
        if used:
            raise VerificationError("copied_commitment", "a commitment of it was used before.")
        session.add_all(CommitmentPoint(point=point) for point in points)

    def entries(self, start: int = 0, end: int | None = None) -> list[bytes]:
        """The canonical bytes of the entries from position `start` up to, not including, `end`, in order."""
        rows = select(LogRow.data).where(LogRow.position >= start).order_by(LogRow.position)
        with self.reading() as session:
            return list(session.scalars(rows if end is None else rows.where(LogRow.position < end)))

    def run_entries(self, run: str) -> list[tuple[int, Entry]]:
        """The entries that are about a run, in order, each with its position."""
        rows = select(LogRow.position, LogRow.data).where(LogRow.run == run).order_by(LogRow.position)
        with self.reading() as session:
            return [(row.position, decode_entry(row.data)) for row in session.execute(rows)]

    def size(self) -> int:
        """How many entries the log has."""
        with self.reading() as session:
            return _length(session)

    def publication(self, task: str) -> tuple[int, Publication] | None:
        """Where in the log the task's newest published model is, and its entry; None if there is none."""
        rows = (
            select(LogRow.position, LogRow.data)
            .join(PublicationRow, PublicationRow.position == LogRow.position)
            .where(PublicationRow.task == task)
            .order_by(LogRow.position.desc())
        )
        with self.reading() as session:
            row = session.execute(rows.limit(1)).first()
        entry = decode_entry(row.data) if row else None
        return (row.position, entry) if row and isinstance(entry, Publication) else None

    def names(self, digest: str) -> bool:
        """Whether an entry names this blob."""
        with self.reading() as session:
            return session.get(NamedBlob, digest) is not None

    def cosigned(self, limit: int) -> list[tuple[int, str]]:
        """Sizes and notes of the newest checkpoints that witnesses have co-signed, the newest first."""
        rows = select(CosignedNote.size, CosignedNote.note).order_by(CosignedNote.size.desc())
        with self.reading() as session:
            return [(row.size, row.note) for row in session.execute(rows.limit(limit))]

    def keep_cosigned(self, size: int, note: str) -> None:
        """Keep a co-signed note, unless one of a larger size, or a longer one of this size, is there."""
        with self.transaction() as session:
            newest = session.scalars(select(CosignedNote).order_by(CosignedNote.size.desc()).limit(1)).first()
            if newest is None or (newest.size, len(newest.note)) < (size, len(note)):
                session.merge(CosignedNote(size=size, note=note))

    def view(self) -> "LogView":
        """The log as it is now, under a fresh checkpoint."""
        with self._growing:
            with self.reading() as session:
                new = select(LogRow.leaf).where(LogRow.position >= len(self._tree)).order_by(LogRow.position)
                for leaf in session.scalars(new):
                    self._tree.append(leaf)
            size = len(self._tree)
        note = sign_checkpoint(Checkpoint(self.origin, size, self._tree.root(size)), self._key)
        return LogView(note, size, self._tree)

    def rejections(self) -> dict[str, int]:
        """How many slots' replies failed each check and are therefore not in the log."""
        rows = select(Rejection.check, func.count().label("slots")).group_by(Rejection.check)
        with self.reading() as session:
            return {row.check: row.slots for row in session.execute(rows)}

    def put_blob(self, data: bytes) -> str:
        """Keep bytes under their digest, which is returned."""
        digest = sha256(data)
        path = self.blob_path(digest)
        if not path.exists():
            write_atomic(path, data)
        return digest

    def blob_path(self, digest: str) -> Path:
        """Where the bytes with this digest lie."""
        return self._blobs / digest

    def blob(self, digest: str) -> bytes:
        """The bytes with this digest; InputError if they are not here."""
        return read_bounded(self.blob_path(digest), MAX_BLOB_BYTES)

    def participant(self, name: str) -> Participant:
        """An enrolled participant; InputError if there is none of that name."""
        with self.reading() as session:
            participant = session.get(Participant, name)
        if participant is None:
            raise InputError(
                f"Participant {name!r} is not enrolled.", "Invite it first: intertwine coordinator invite."
            )
        return participant

    def participants(self) -> list[Participant]:
        """Everyone who is enrolled, by name."""
        with self.reading() as session:
            return sorted(session.scalars(select(Participant)), key=lambda member: member.name)

    def run(self, name: str) -> Run:
        """A run; InputError if there is none of that name."""
        with self.reading() as session:
            run = session.get(Run, name)
        if run is None:
            raise InputError(f"There is no run {name!r}.", "See: intertwine coordinator status")
        return run

    def runs(self) -> list[Run]:
        """Every run, in the order of launching."""
        with self.reading() as session:
            return sorted(session.scalars(select(Run)), key=lambda run: (run.launched, run.name))

    def update_run(self, name: str, **values: str | int) -> None:
        """Change columns of a run's row."""
        with self.transaction() as session:
            run = session.get_one(Run, name)
            for column, value in values.items():
                setattr(run, column, value)


def open_database(home: Home) -> Database:
    """The home's database; nothing is created in it yet, nor its schema changed.

    InputError if it has no log and the home's was begun before: two logs under one key are what witnesses
    refuse.
    """
    url = database_url(home)
    database = Database(url)
    absent = url.drivername == "sqlite" and not home.database.exists()
    if home.log_begun.exists() and (absent or not _has_log(database)):
        place = read_bounded(home.log_begun, _MAX_PLACE_BYTES).decode(errors="replace")
        raise InputError(
            f"This coordinator's log was begun in {place}, and {database.where} has none of it.",
            f"Set {URL_VARIABLE} or database_url as it was, or restore the database from a backup.",
        )
    return database


def now() -> int:
    """The time that goes into entries: whole seconds since 1970, UTC."""
    return int(time.time())


def _has_log(database: Database) -> bool:
    with database.reading() as session:
        return inspect(session.connection()).has_table(LogRow.__tablename__) and _length(session) > 0


def _length(session: Session) -> int:
    """How many entries the log has: positions have no gaps."""
    last = session.scalar(select(func.max(LogRow.position)))
    return 0 if last is None else last + 1
