"""What is wrong with a log, and where."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from intertwine.protocols.errors import IntertwineError


@dataclass(frozen=True)
class Finding:
    """A rule that entry `index` breaks; None if no single entry does."""

    index: int | None
    problem: str


class FindingError(Exception):
    """A check said no."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding


@contextmanager
def blaming(index: int) -> Iterator[None]:
    """Lay any error of the block at the door of entry `index`."""
    try:
        yield
    except IntertwineError as error:
        raise FindingError(Finding(index, error.problem)) from error
