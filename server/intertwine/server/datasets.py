"""Enrolment of records: from a participant's envelope to a log entry, and back to the chain that rounds use.

Checks before a document is logged, besides those of `intertwine.zk.dataset_proof.verify_dataset`:

    dataset_owner       the document is of this deployment, and of the sender, who is enrolled for the task
    duplicate_dataset   nobody else, and no other chain of the participant's, holds the same records
    copied_commitment   no point was ever used before

The same bytes sent again are accepted again, and change nothing.
"""

import threading

from sqlalchemy import select
from sqlalchemy.orm import Session

from intertwine.protocols.dataset import (
    MAX_COMMITMENTS_BYTES,
    MAX_PAGE_PROOF_BYTES,
    MAX_PAGES_ADDED,
    Dataset,
)
from intertwine.protocols.encoding import MAX_DOCUMENT_BYTES
from intertwine.protocols.entries import DatasetEntry
from intertwine.protocols.envelope import Envelope
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.mechanism import ReleaseMechanism
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Signed
from intertwine.server.membership import require_active
from intertwine.server.store import DatasetRow, Participant, Store, now
from intertwine.zk.dataset_proof import Chain, document_shape, extend, verify_dataset
from intertwine.zk.round_proof import planned_shape

MAX_ENVELOPE_BYTES = (
    16 + MAX_DOCUMENT_BYTES + MAX_PAGES_ADDED * (8 + MAX_COMMITMENTS_BYTES + MAX_PAGE_PROOF_BYTES)
)
_ATTACHMENT_LIMITS = (MAX_COMMITMENTS_BYTES, MAX_PAGE_PROOF_BYTES) * MAX_PAGES_ADDED
# Proofs are verified one document at a time, so that enrolments never take more than one core from rounds.
_verifying = threading.Lock()


def enrol_dataset(store: Store, participant: str, data: bytes) -> str:
    """Verify and log a document that `participant` sent; returns its digest.

    data: an envelope with commitments and proof of each page, in turn. InputError or VerificationError says
    why it is refused; nothing is kept then.
    """
    envelope = Envelope.from_bytes(data, _ATTACHMENT_LIMITS)
    signed = Signed[Dataset].decode(envelope.document)
    digest = signed.digest()
    sender = store.participant(participant)
    _check_owner(store, sender, signed)
    with _verifying:
        with store.reading() as session:
            if session.get(DatasetRow, digest) is not None:
                return digest
            _refuse_duplicate(session, signed.body)
        attachments = envelope.expect(2 * len(signed.body.pages))
        commitments, proofs = attachments[::2], attachments[1::2]
        before = enrolled_chain(store, sender.name, signed.body.task)
        chain = verify_dataset(signed, sender.signing_key, commitments, proofs, before)
        for blob in attachments:
            store.put_blob(blob)
        _log(store, signed, chain)
    return digest


def enrolled_chain(store: Store, participant: str, task: str, head: str = "") -> Chain | None:
    """A participant's records for a task as of the document with digest `head`, by default the latest.

    None if there is no such document.
    """
    chain = None
    for signed in _documents(store, participant, task):
        chain = extend(chain, signed, [store.blob(page.commitments) for page in signed.body.pages])
        if chain.head == head:
            return chain
    return None if head else chain


def unprepared(store: Store, plan: Plan) -> dict[str, InputError]:
    """Participants of a data-bound plan that have not enrolled records of its form, and what they lack."""
    mechanism = plan.mechanism
    if isinstance(mechanism, ReleaseMechanism):
        return {}
    wanted = planned_shape(plan, mechanism)
    remedy = f"Let it run: intertwine agent dataset commit {plan.task}"
    found = {}
    for name in plan.participants:
        documents = _documents(store, name, plan.task)
        shape = document_shape(documents[-1].body) if documents else None
        problem = f"records of the form {shape}; the plan needs {wanted}"
        if shape is None:
            problem = f"no records for task {plan.task!r}"
        if shape != wanted:
            found[name] = InputError(f"Participant {name!r} has enrolled {problem}.", remedy)
    return found


def _documents(store: Store, participant: str, task: str) -> list[Signed[Dataset]]:
    """Every document of a participant for a task, in order."""
    rows = select(DatasetRow.document).where(DatasetRow.participant == participant, DatasetRow.task == task)
    with store.reading() as session:
        documents = list(session.scalars(rows.order_by(DatasetRow.sequence)))
    return [Signed[Dataset].decode(document) for document in documents]


def _check_owner(store: Store, sender: Participant, signed: Signed[Dataset]) -> None:
    signed.open(sender.signing_key)
    body = signed.body
    if (body.deployment, body.participant) != (
        store.deployment,
        sender.name,
    ) or body.task not in sender.tasks:
        raise VerificationError(
            "dataset_owner",
            f"{sender.name!r} may not enrol records as {body.participant!r} for task {body.task!r} here.",
        )


def _refuse_duplicate(session: Session, body: Dataset) -> None:
    """Refuse records that another participant has enrolled, or that the chain to be extended holds already.

    The owner may start a new chain with records it enrolled before: every release counts in its account
    whichever chain it used. The same records in two tasks are two uses of them, each with its own account.
    """
    owners = session.scalars(select(DatasetRow.participant).where(DatasetRow.content == body.content))
    held = _chain_contents(session, body.participant, body.task) if body.previous else set()
    if set(owners) - {body.participant} or body.content in held:
        raise VerificationError(
            "duplicate_dataset",
            "the same records are enrolled already.",
            "Enrol records of your own, each once.",
        )


def _chain_contents(session: Session, participant: str, task: str) -> set[str]:
    """The contents of the documents in the chain in force."""
    rows = select(DatasetRow.document).where(DatasetRow.participant == participant, DatasetRow.task == task)
    contents: set[str] = set()
    for document in session.scalars(rows.order_by(DatasetRow.sequence)):
        body = Signed[Dataset].decode(document).body
        contents = {body.content} | (contents if body.previous else set())
    return contents


def _log(store: Store, signed: Signed[Dataset], chain: Chain) -> None:
    body = signed.body
    points = [point.hex() for page in chain.dataset.pages[-len(body.pages) :] for point in page.commitments]
    row = DatasetRow(
        digest=chain.head,
        participant=body.participant,
        task=body.task,
        sequence=body.sequence,
        content=body.content,
        document=signed.encode(),
    )
    with store.transaction() as session:
        require_active(session, body.participant, signed.key)
        _refuse_duplicate(session, body)
        store.claim_points(session, points)
        session.add(row)
        store.append(session, DatasetEntry(time=now(), dataset=signed))
