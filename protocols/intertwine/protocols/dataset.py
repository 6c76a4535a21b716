"""Enrolment of records: the documents that fix a participant's data before a data-bound run uses them.

A participant's data for a task is a chain of documents, each adding pages of at most 4088 records. The
statements of a run are about all pages of the chain, in order. A document travels with two attachments per
page: its commitments (48-byte points, a column each, in the order of `zk/DATASET.md`) and the proof that the
records behind them have the stated form.
"""

from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from intertwine.protocols.document import Document, Hex32, Hex32OrEmpty, Name
from intertwine.protocols.encoding import tagged_digest
from intertwine.protocols.mechanism import MAX_COLUMNS, Entries, Label, RowBound

PAGE_ROWS = 4088
MAX_PAGES_ADDED = 64
"""Pages of one document."""
MAX_DATASET_PAGES = 256
"""Pages of a whole chain."""
MAX_COMMITMENTS_BYTES = 48 * (MAX_COLUMNS + 2)  # with a label and a weight
MAX_PAGE_PROOF_BYTES = 1 << 18


class DatasetPage(Document):
    """One page. commitments: SHA-256 of its points, concatenated; proof: SHA-256 of its proof."""

    rows: Annotated[int, Field(ge=1, le=PAGE_ROWS)]
    commitments: Hex32
    proof: Hex32


class Dataset(Document):
    """A participant commits to records; the pages are those that this document adds.

    sequence: counts the participant's documents for the task from 1, over all its chains. previous: digest
    of the Signed[Dataset] before this one, whose pages stay in use; empty starts a new chain, and the old
    one is no longer used. columns, row_bound, label, entries: of every record; the same throughout a chain.
    content: `content_digest` of the records that are added, by which a second enrolment is noticed.
    """

    version: Literal["intertwine/dataset/v1"] = "intertwine/dataset/v1"
    deployment: Hex32
    participant: Name
    task: Name
    sequence: Annotated[int, Field(ge=1, le=2**32)]
    previous: Hex32OrEmpty
    columns: Annotated[int, Field(ge=1, le=MAX_COLUMNS)]
    row_bound: RowBound
    label: Label
    entries: Entries
    content: Hex32
    pages: Annotated[list[DatasetPage], Field(min_length=1, max_length=MAX_PAGES_ADDED)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.previous and self.sequence == 1:
            raise ValueError("previous: must be empty in a participant's first document")
        return self


class DatasetContext(Document):
    """What the proof of a page is bound to, besides its shape and commitments.

    page: its position in the document, from 0. The proof absorbs the canonical bytes of this document, so
    it fits no other participant, task or place in a chain.
    """

    version: Literal["intertwine/dataset-statement/v1"] = "intertwine/dataset-statement/v1"
    deployment: Hex32
    participant: Name
    participant_key: Hex32
    task: Name
    sequence: Annotated[int, Field(ge=1, le=2**32)]
    previous: Hex32OrEmpty
    page: Annotated[int, Field(ge=0, lt=MAX_PAGES_ADDED)]

    @classmethod
    def create(cls, document: Dataset, key: str, page: int) -> Self:
        """The context of one page of a document that `key` signs."""
        return cls(
            deployment=document.deployment,
            participant=document.participant,
            participant_key=key,
            task=document.task,
            sequence=document.sequence,
            previous=document.previous,
            page=page,
        )


def content_digest(deployment: str, features: NDArray[np.int64], labels: NDArray[np.int64] | None) -> str:
    """The digest of a set of records in any order: features of shape (n, d), labels of shape (n,) or None.

    Entries are 16-bit integers; a record's label comes after its features. Equal records in one deployment
    have equal digests, whoever enrols them: that shows duplicates, and it lets somebody who can guess *all*
    records confirm the guess.
    """
    columns = features if labels is None else np.column_stack([features, labels])
    records = sorted(row.tobytes() for row in columns.astype("<i2"))
    return tagged_digest("intertwine/dataset-content/v1", bytes.fromhex(deployment), *records).hex()
