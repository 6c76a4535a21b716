"""What is enrolled of each task's records, and the secrets behind the commitments to them.

A task's data is a chain of documents (`intertwine.protocols.dataset`). At most one document a task is
unfinished; its seed is kept before anything is proven with it, so that a second try gives the same bytes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from intertwine.client.ledger import DatasetPageRow, DatasetRow, Ledger
from intertwine.protocols.encoding import sha256
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.mechanism import ReleaseMechanism
from intertwine.protocols.plan import Plan
from intertwine.zk.dataset import Dataset, DatasetOpening, Shape, commit_dataset
from intertwine.zk.dataset_proof import Chain
from intertwine.zk.kzg import POINT_BYTES
from intertwine.zk.round_proof import planned_shape


@dataclass(frozen=True, eq=False)
class Records:
    """A participant's records as integers.

    features: shape (n, shape.columns); labels: shape (n,), or None if the shape has none. record_norm: the
    real norm that shape.row_bound stands for, a decimal string.
    """

    features: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    shape: Shape
    record_norm: str

    def __len__(self) -> int:
        return len(self.features)

    def slice(self, start: int, stop: int) -> "Records":
        """Records `start` to `stop`."""
        labels = None if self.labels is None else self.labels[start:stop]
        return Records(self.features[start:stop], labels, self.shape, self.record_norm)

    def same(self, other: "Records") -> bool:
        """Whether both hold the same records in the same order, in the same units."""
        return (
            (self.shape, self.record_norm) == (other.shape, other.record_norm)
            and np.array_equal(self.features, other.features)
            and _column(self.labels) == _column(other.labels)
        )


class Datasets:
    """The dataset documents in one agent's ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def all(self) -> list[DatasetRow]:
        """Every document, by task and in order."""
        with self._ledger.transaction() as session:
            return list(session.scalars(select(DatasetRow).order_by(DatasetRow.task, DatasetRow.sequence)))

    def unfinished(self, task: str) -> DatasetRow | None:
        """The task's document that the coordinator has not accepted yet."""
        with self._ledger.transaction() as session:
            rows = select(DatasetRow).where(DatasetRow.task == task, DatasetRow.enrolled.is_(False))
            return session.scalars(rows).first()

    def head(self, task: str) -> DatasetRow | None:
        """The task's document that was enrolled last."""
        with self._ledger.transaction() as session:
            rows = select(DatasetRow).where(DatasetRow.task == task, DatasetRow.enrolled)
            return session.scalars(rows.order_by(DatasetRow.sequence.desc())).first()

    def chain(self, head: str) -> list[DatasetRow]:
        """The documents from a chain's first to the one with digest `head`; none for an empty one."""
        rows: list[DatasetRow] = []
        with self._ledger.transaction() as session:
            while head:
                rows.insert(0, _row(session, head))
                head = rows[0].previous
        return rows

    def begin(self, task: str, added: Records, previous: str, seed: bytes) -> DatasetRow:
        """Keep records and seed for a new document; nothing has been proven with them yet."""
        last = self.head(task)
        row = DatasetRow(
            task=task,
            sequence=last.sequence + 1 if last else 1,
            previous=previous,
            columns=added.shape.columns,
            row_bound=added.shape.row_bound,
            label=added.shape.label,
            entries=added.shape.entries,
            record_norm=added.record_norm,
            seed=seed,
            features=added.features.astype("<i2").tobytes(),
            labels=_column(added.labels),
        )
        with self._ledger.transaction() as session:
            session.add(row)
        return row

    def proofs(self, row: DatasetRow) -> dict[int, bytes]:
        """The proofs made so far, by page."""
        with self._ledger.transaction() as session:
            pages = session.scalars(select(DatasetPageRow).where(DatasetPageRow.dataset == row.id))
            return {page.page: page.proof for page in pages}

    def keep_proof(self, row: DatasetRow, page: int, proof: bytes) -> None:
        """Keep a page's proof; the same one again changes nothing."""
        with self._ledger.transaction() as session:
            session.merge(DatasetPageRow(dataset=row.id, page=page, proof=proof))

    def keep_document(self, row: DatasetRow, document: bytes, public: Dataset) -> DatasetRow:
        """Keep the signed document, and the points that it is about, before it is sent."""
        with self._ledger.transaction() as session:
            kept = session.get_one(DatasetRow, row.id)
            kept.document, kept.digest = document, sha256(document)
            kept.commitments = b"".join(point for page in public.pages for point in page.commitments)
            return kept

    def accept(self, row: DatasetRow) -> None:
        """Note that the coordinator has accepted the document; its proofs are not needed any more."""
        with self._ledger.transaction() as session:
            session.get_one(DatasetRow, row.id).enrolled = True
            for page in session.scalars(select(DatasetPageRow).where(DatasetPageRow.dataset == row.id)):
                session.delete(page)

    def discard(self, row: DatasetRow) -> None:
        """Forget a document that was never enrolled, and its secrets."""
        with self._ledger.transaction() as session:
            session.delete(session.get_one(DatasetRow, row.id))


class EnrolledDatasets:
    """The enrolled records as rounds use them; openings are kept in memory."""

    def __init__(self, ledger: Ledger) -> None:
        self._datasets = Datasets(ledger)
        self._openings: dict[str, DatasetOpening] = {}

    def head(self, plan: Plan) -> str:
        """The digest of the document whose chain a commit to this plan uses; empty for a release."""
        head = None if isinstance(plan.mechanism, ReleaseMechanism) else self._datasets.head(plan.task)
        return head.digest if head else ""

    def check(self, plan: Plan) -> None:
        """Refuse a data-bound plan that our enrolled records are not made for."""
        mechanism = plan.mechanism
        if isinstance(mechanism, ReleaseMechanism):
            return
        head = self._datasets.head(plan.task)
        if head is None:
            raise InputError(
                f"No records are enrolled for task {plan.task!r}.",
                f"Run: intertwine agent dataset commit {plan.task}",
            )
        wanted = asdict(planned_shape(plan, mechanism)) | {"record_norm": plan.record_norm}
        for field, value in wanted.items():
            if getattr(head, field) != value:
                raise VerificationError(
                    "request_dataset",
                    f"the plan is for records with {field} {value}; ours are enrolled with "
                    f"{getattr(head, field)}.",
                )

    def opening(self, head: str) -> DatasetOpening:
        """What opens the commitments of the chain up to the document with this digest."""
        if head not in self._openings:
            self._openings[head] = opening_of(self._datasets.chain(head))
        return self._openings[head]

    def public(self, head: str) -> Chain:
        """What everybody knows of the same chain."""
        return Chain(head, self._datasets.chain(head)[-1].sequence, self.opening(head).dataset)


def records_of(rows: Sequence[DatasetRow]) -> Records:
    """The records of one or more documents of a chain, in order."""
    parts = [_records(row) for row in rows]
    first = parts[0]
    labels = None if first.labels is None else np.concatenate([_present(part.labels) for part in parts])
    features = np.concatenate([part.features for part in parts])
    return Records(features, labels, first.shape, first.record_norm)


def opening_of(rows: Sequence[DatasetRow]) -> DatasetOpening:
    """What opens the commitments of one or more documents of a chain.

    A document that is not signed yet takes seconds for every thousand columns of a page.
    """
    openings = []
    for row in rows:
        records, data = _records(row), row.commitments
        known = [data[start : start + POINT_BYTES] for start in range(0, len(data), POINT_BYTES)]
        openings.append(commit_dataset(records.features, records.labels, records.shape, row.seed, known))
    return openings[0] if len(openings) == 1 else DatasetOpening.concatenate(openings)


def _records(row: DatasetRow) -> Records:
    features = np.frombuffer(row.features, "<i2").astype(np.int64).reshape(-1, row.columns)
    labels = np.frombuffer(row.labels, "<i2").astype(np.int64) if row.label != "none" else None
    return Records(
        features, labels, Shape(row.columns, row.row_bound, row.label, row.entries), row.record_norm
    )


def _row(session: Session, digest: str) -> DatasetRow:
    row = session.scalars(select(DatasetRow).where(DatasetRow.digest == digest)).first()
    if row is None:
        raise InputError(
            f"The ledger lacks the dataset document {digest[:16]}….", "Restore the ledger from a backup."
        )
    return row


def _column(labels: NDArray[np.int64] | None) -> bytes:
    return b"" if labels is None else labels.astype("<i2").tobytes()


def _present(labels: NDArray[np.int64] | None) -> NDArray[np.int64]:
    return np.empty(0, np.int64) if labels is None else labels
