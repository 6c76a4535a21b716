"""From dataset documents to the records that the statements of a round are about.

Coordinator, agent and auditor follow a participant's documents here and nowhere else. The checks of
`verify_dataset`, in this order:

    signature            the document is signed with the participant's key
    dataset_chain        it is numbered next, and adds to the chain in force or starts a new one
    commitments_digest   the commitments are the ones it names
    commitment_count     every page has one point a column, label and weight included, if there are any
    point_encoding       every point is canonical, in the subgroup and not the identity
    copied_commitment    no point occurs twice in the document
    proof_digest         the proofs are the ones it names
    and then, page by page, those of `intertwine.zk.dataset.CHECKS`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from intertwine.protocols.dataset import MAX_DATASET_PAGES, Dataset, DatasetContext
from intertwine.protocols.encoding import sha256
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.round import Signed
from intertwine.zk import dataset as dataset_statement
from intertwine.zk import kzg
from intertwine.zk.dataset import Page, PageStatement, Shape


@dataclass(frozen=True)
class Chain:
    """A participant's records for a task as of one document, in the form that statements take.

    head: digest of that Signed[Dataset]; sequence: its number; dataset: all pages of the chain, in order.
    """

    head: str
    sequence: int
    dataset: dataset_statement.Dataset


def verify_dataset(
    signed: Signed[Dataset],
    public: str,
    commitments: Sequence[bytes],
    proofs: Sequence[bytes],
    chain: Chain | None,
) -> Chain:
    """Check a document and the proofs of its pages; the chain that is in force from now on.

    public: the participant's enrolled key. commitments, proofs: one attachment each a page. chain: the one in
    force for this participant and task, None if there is none. Raises VerificationError with the name of the
    first check that fails. Does not check that the participant is enrolled for the task, that its points were
    never used before or that its records were not enrolled by somebody else: those are checks of the log.
    """
    signed.open(public)
    extended = extend(chain, signed, commitments)
    verify_pages(signed, extended, proofs)
    return extended


def document_shape(document: Dataset) -> Shape:
    """The form of the records that a document enrols."""
    return Shape(document.columns, document.row_bound, document.label, document.entries)


def extend(chain: Chain | None, signed: Signed[Dataset], commitments: Sequence[bytes]) -> Chain:
    """The chain after a document: the checks of `verify_dataset` from dataset_chain to copied_commitment."""
    body = signed.body
    shape = document_shape(body)
    before = _pages_before(chain, body, shape)
    if len(before) + len(body.pages) > MAX_DATASET_PAGES:
        raise VerificationError(
            "dataset_chain", f"the chain has more than {MAX_DATASET_PAGES} pages.", "Start a new chain."
        )
    names = [page.commitments for page in body.pages]
    if [sha256(data) for data in commitments] != names:
        raise VerificationError("commitments_digest", "the commitments are not those the document names.")
    pages = tuple(
        Page(page.rows, _points(data, len(shape.names)))
        for page, data in zip(body.pages, commitments, strict=True)
    )
    points = [point for page in pages for point in page.commitments]
    if len(set(points)) != len(points):
        raise VerificationError("copied_commitment", "a commitment occurs twice in the document.")
    return Chain(signed.digest(), body.sequence, dataset_statement.Dataset(shape, before + pages))


def verify_pages(signed: Signed[Dataset], extended: Chain, proofs: Sequence[bytes]) -> None:
    """The checks of `verify_dataset` from proof_digest on; `extended` is the chain after the document."""
    for statement, proof in page_statements(signed, extended, proofs):
        dataset_statement.verify_page(statement, proof)


def page_statements(
    signed: Signed[Dataset], extended: Chain, proofs: Sequence[bytes]
) -> list[tuple[PageStatement, bytes]]:
    """What is proven of each page that a document adds, with its proof; check proof_digest."""
    body = signed.body
    if [sha256(proof) for proof in proofs] != [page.proof for page in body.pages]:
        raise VerificationError("proof_digest", "the proofs are not those the document names.")
    pages = extended.dataset.pages[-len(body.pages) :]
    statements = []
    for index, (page, proof) in enumerate(zip(pages, proofs, strict=True)):
        context = DatasetContext.create(body, signed.key, index)
        statements.append((PageStatement(context.encode(), extended.dataset.shape, page), proof))
    return statements


def _pages_before(chain: Chain | None, body: Dataset, shape: Shape) -> tuple[Page, ...]:
    """The pages that a document adds to; none if it starts a new chain."""
    expected = 1 if chain is None else chain.sequence + 1
    if body.sequence != expected:
        raise VerificationError("dataset_chain", f"the document is number {body.sequence}, not {expected}.")
    if not body.previous:
        return ()
    if chain is None or body.previous != chain.head:
        raise VerificationError("dataset_chain", "the document does not follow the one in force.")
    if shape != chain.dataset.shape:
        raise VerificationError(
            "dataset_chain", "its records have another form than the chain's.", "Start a new chain."
        )
    return chain.dataset.pages


def _points(data: bytes, count: int) -> tuple[bytes, ...]:
    """A page's points; VerificationError `commitment_count` or `point_encoding`."""
    if len(data) != count * kzg.POINT_BYTES:
        raise VerificationError("commitment_count", f"a page has not the {count} commitments of its form.")
    points = tuple(data[start : start + kzg.POINT_BYTES] for start in range(0, len(data), kzg.POINT_BYTES))
    for point in points:
        check_point(point)
    return points


def check_point(data: bytes) -> None:
    """VerificationError `point_encoding` unless this is a canonical point other than the identity."""
    try:
        kzg.decode_point(data)
    except ValueError as error:
        raise VerificationError("point_encoding", f"a commitment is invalid: {error}.") from error
