"""The pages of an enrolled dataset as statistics and glm use them (`DATASET.md`)."""

from collections.abc import Sequence
from dataclasses import dataclass

from intertwine.protocols.errors import VerificationError
from intertwine.zk.independent.dataset import Page, Shape
from intertwine.zk.independent.domain import pages_of


@dataclass(frozen=True)
class Records:
    """A dataset: its shape and its pages."""

    shape: Shape
    pages: tuple[Page, ...]

    def check(self) -> None:
        """VerificationError `dataset_shape` or `commitment_count`."""
        self.shape.check()
        if not self.pages:
            raise VerificationError("dataset_shape", "the dataset has no pages.")
        for page in self.pages:
            page.check_rows()
        for page in self.pages:
            page.check_count(self.shape)

    @property
    def count(self) -> int:
        """How many records there are."""
        return sum(page.rows for page in self.pages)

    @property
    def rows(self) -> list[int]:
        """The number of records of every page."""
        return [page.rows for page in self.pages]

    @property
    def rows_text(self) -> str:
        """The rows as the circuit's name gives them."""
        return ",".join(map(str, self.rows))

    @property
    def points(self) -> list[bytes]:
        """All commitments, page by page."""
        return [point for page in self.pages for point in page.commitments]

    def public(self) -> dict[str, Sequence[int]]:
        """Rows of rows[q], 1 on every record."""
        return {f"rows[{q}]": [1] * page.rows for q, page in enumerate(self.pages)}


def weight_columns(coefficients: Sequence[int]) -> dict[str, Sequence[int]]:
    """Rows of weight[p]: the coefficients of g's entries, page by page."""
    return {f"weight[{page}]": entries for page, entries in enumerate(pages_of(coefficients))}
