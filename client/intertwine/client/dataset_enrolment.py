"""Enrolling a task's records: commit to what is new, prove every page, send the document.

An interrupted enrolment is resumed with the same bytes: seed, records and finished proofs are in the ledger.
"""

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from intertwine.client.datasets import Datasets, Records, opening_of, records_of
from intertwine.client.identity import Identity
from intertwine.client.ledger import DatasetRow
from intertwine.protocols.dataset import (
    MAX_DATASET_PAGES,
    MAX_PAGES_ADDED,
    PAGE_ROWS,
    Dataset,
    DatasetContext,
    DatasetPage,
    content_digest,
)
from intertwine.protocols.encoding import sha256
from intertwine.protocols.envelope import Envelope
from intertwine.protocols.errors import InputError
from intertwine.protocols.round import Signed
from intertwine.zk.dataset import DatasetOpening, PageStatement, prove_page

# Carries an envelope to the coordinator; InputError if it refuses, FederationError if it cannot be reached.
Send = Callable[[bytes], None]
# Called with the number of the page from 1, the number of pages, and the part of that page that is done.
Progress = Callable[[int, int, float], None]
# Called with a sentence for the user.
Tell = Callable[[str], None]

_log = logging.getLogger(__name__)

_MAX_ADDED = MAX_PAGES_ADDED * PAGE_ROWS


def enrol_records(
    datasets: Datasets,
    identity: Identity,
    task: str,
    records: Records,
    send: Send,
    tell: Tell = lambda _sentence: None,
    progress: Progress = lambda _page, _pages, _part: None,
) -> int:
    """Enrol what of `records` is not enrolled yet; returns how many records that was.

    Records that start with the enrolled ones are appended to their chain; others start a new chain, which
    takes the old one's place. What the coordinator refuses stays unfinished and is sent again next time,
    unless the records have changed by then.
    """
    if not len(records):
        raise InputError(f"The data file of task {task!r} has no records to enrol.", "Add some.")
    _check_length(len(records))
    _settle(datasets, task, _missing(datasets, task, records), send)
    enrolled = 0
    while len((missing := _missing(datasets, task, records)).records):
        row = datasets.unfinished(task)
        if row is None:
            if missing.notice:
                tell(missing.notice)
            row = datasets.begin(task, missing.records, missing.previous, secrets.token_bytes(32))
        _finish(datasets, identity, row, send, progress)
        enrolled += len(missing.records)
    return enrolled


@dataclass(frozen=True)
class _Missing:
    """The records to enrol next, the document that they follow, and what to tell if they follow none."""

    records: Records
    previous: str = ""
    notice: str = ""


def _missing(datasets: Datasets, task: str, records: Records) -> _Missing:
    head, anew = datasets.head(task), records.slice(0, _MAX_ADDED)
    if head is None:
        return _Missing(anew)
    chain = datasets.chain(head.digest)
    known = records_of(chain)
    if not known.same(records.slice(0, len(known))):
        notice = f"The file does not start with the {len(known)} enrolled records: a new chain replaces them."
        return _Missing(anew, notice=notice)
    added = records.slice(len(known), len(known) + _MAX_ADDED)
    if sum(_pages(records_of([row])) for row in chain) + _pages(added) > MAX_DATASET_PAGES:
        return _Missing(anew, notice=f"The chain of {len(known)} records is full: a new one replaces it.")
    return _Missing(added, head.digest)


def _pages(records: Records) -> int:
    return -(-len(records) // PAGE_ROWS)


def _settle(datasets: Datasets, task: str, missing: _Missing, send: Send) -> None:
    """End an unfinished document that is not what is missing now.

    A signed one may have arrived, so it is sent again. If it is refused or was never signed, it is forgotten.
    """
    row = datasets.unfinished(task)
    if row is None or (row.previous == missing.previous and records_of([row]).same(missing.records)):
        return
    try:
        if row.document:
            send(_envelope(datasets, row, opening_of([row])))
            datasets.accept(row)
            return
    except InputError as error:
        _log.info("an earlier document was refused: %s", error)
    datasets.discard(row)


def _check_length(count: int) -> None:
    if count > MAX_DATASET_PAGES * PAGE_ROWS:
        raise InputError(
            f"{count} records are more than the {MAX_DATASET_PAGES * PAGE_ROWS} that a dataset can hold.",
            "Enrol a part of them.",
        )


def _finish(datasets: Datasets, identity: Identity, row: DatasetRow, send: Send, progress: Progress) -> None:
    """Prove the pages that are left, sign, send."""
    opening = opening_of([row])
    if not row.document:
        _prove_pages(datasets, identity, row, opening, progress)
        row = datasets.keep_document(row, _sign(datasets, identity, row, opening), opening.dataset)
    send(_envelope(datasets, row, opening))
    datasets.accept(row)


def _prove_pages(
    datasets: Datasets, identity: Identity, row: DatasetRow, opening: DatasetOpening, progress: Progress
) -> None:
    pages, done = opening.dataset.pages, datasets.proofs(row)
    for index, page in enumerate(pages):
        number = index + 1
        if index not in done:
            context = _context(identity, row, index).encode()
            statement = PageStatement(context, opening.dataset.shape, page)
            proof = prove_page(statement, opening, index, partial(progress, number, len(pages)))
            datasets.keep_proof(row, index, proof)
        progress(number, len(pages), 1.0)


def _context(identity: Identity, row: DatasetRow, page: int) -> DatasetContext:
    return DatasetContext(
        deployment=identity.deployment,
        participant=identity.participant,
        participant_key=identity.key.public,
        task=row.task,
        sequence=row.sequence,
        previous=row.previous,
        page=page,
    )


def _sign(datasets: Datasets, identity: Identity, row: DatasetRow, opening: DatasetOpening) -> bytes:
    proofs = datasets.proofs(row)
    body = Dataset.parse(
        {
            "version": "intertwine/dataset/v1",
            "deployment": identity.deployment,
            "participant": identity.participant,
            "task": row.task,
            "sequence": row.sequence,
            "previous": row.previous,
            "columns": row.columns,
            "row_bound": row.row_bound,
            "label": row.label,
            "entries": row.entries,
            "content": content_digest(identity.deployment, opening.features, opening.labels),
            "pages": [
                DatasetPage(
                    rows=page.rows,
                    commitments=sha256(b"".join(page.commitments)),
                    proof=sha256(proofs[index]),
                ).model_dump()
                for index, page in enumerate(opening.dataset.pages)
            ],
        }
    )
    return Signed[Dataset].create(body, identity.key).encode()


def _envelope(datasets: Datasets, row: DatasetRow, opening: DatasetOpening) -> bytes:
    proofs = datasets.proofs(row)
    attachments: list[bytes] = []
    for index, page in enumerate(opening.dataset.pages):
        attachments += [b"".join(page.commitments), proofs[index]]
    return Envelope(row.document, tuple(attachments)).to_bytes()
