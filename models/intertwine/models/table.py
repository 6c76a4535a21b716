"""Participants' CSV files: bounded in size, checked cell by cell, refused with the row, column and remedy."""

import csv
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NoReturn, TextIO

from intertwine.protocols.errors import InputError
from intertwine.protocols.files import check_bounded

MAX_BYTES = 2 * 2**30
"""Largest participant file that is read, in bytes."""
MAX_LINE = 2**18
"""Longest line, in characters."""
MAX_ROW_LINES = 100
"""Most lines that the quoted cells of one row may span."""
MAX_CELL = 200
"""Longest cell, in characters."""
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True)
class Row:
    """One row of a file. line: its line in the file, the header being line 1."""

    path: Path
    line: int
    cells: dict[str, str]

    def error(self, column: str, problem: str, remedy: str) -> InputError:
        """An InputError that says where: `problem` completes the sentence begun by the place."""
        return InputError(f"{self.path}, row {self.line}, column {column}: {problem}.", remedy)

    def text(self, column: str) -> str:
        """The cell, which must not be empty."""
        cell = self.cells[column]
        if not cell:
            raise self.error(column, "the cell is empty", f"Give a value for {column} or remove the row.")
        if len(cell) > MAX_CELL:
            raise self.error(column, f"the cell is longer than {MAX_CELL} characters", "Shorten it.")
        if "\0" in cell:
            raise self.error(column, "the cell holds a NUL character", "Export the data again.")
        return cell

    def choice(self, column: str, choices: Sequence[str]) -> int:
        """The index of the cell among `choices`, letter case ignored."""
        cell = self.text(column).lower()
        if cell not in choices:
            raise self.error(column, f"{cell!r} is not known", f"Use one of: {', '.join(choices)}.")
        return choices.index(cell)

    def day(self, column: str) -> date:
        """The cell as a date, written YYYY-MM-DD and in no other of the forms of ISO 8601."""
        cell = self.text(column)
        try:
            if _DAY.fullmatch(cell):
                return date.fromisoformat(cell)
        except ValueError:
            pass  # a day that no month has
        raise self.error(column, f"{cell!r} is not a date", "Write dates as YYYY-MM-DD.")

    def number(self, column: str, least: float, most: float) -> float:
        """The cell as a number from `least` to `most`, in decimal or scientific notation."""
        cell = self.text(column)
        value = float(cell) if _NUMBER.fullmatch(cell) else math.nan
        if not least <= value <= most:
            problem = f"{cell!r} is not a number from {least:g} to {most:g}"
            raise self.error(column, problem, "Correct the number or remove the row.")
        return value

    def count(self, column: str, limit: int) -> int:
        """The cell as a whole number from 0 to `limit`."""
        cell = self.text(column)
        if not (cell.isascii() and cell.isdigit() and len(cell) <= len(str(limit)) and int(cell) <= limit):
            problem = f"{cell!r} is not a whole number from 0 to {limit}"
            raise self.error(column, problem, "Correct the number or remove the row.")
        return int(cell)


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a CSV file that has at least `columns`; cells lose the space around them.

    The file is read as a stream, in memory that does not depend on its size. InputError if it is too large,
    is not UTF-8, lacks a column, has no rows, or has a ragged row; those before it have been yielded then.
    """
    with _lines(path) as lines:
        reader = csv.reader(lines, strict=True)
        try:
            header = [name.strip().lower() for name in next(reader, [])]
            _check_header(path, header, columns)
            empty = True
            for cells in reader:
                lines.end_row()
                if not cells:
                    continue
                if len(cells) != len(header):
                    problem = f"{path}, row {lines.number} has {len(cells)} cells, the header {len(header)}."
                    raise InputError(problem, "Check the commas and quotes in that row.")
                empty = False
                yield Row(path, lines.number, dict(zip(header, map(str.strip, cells), strict=True)))
        except csv.Error as error:
            problem = f"{path}, row {lines.number} is not valid CSV: {error}."
            raise InputError(problem, "Check the quotes in that row.") from error
    if empty:
        raise InputError(f"{path} has no rows below its header.", "Export the data again.")


class _Lines:
    """The lines of an open text file, bounded in length, in UTF-8, and only so many a row.

    number: of the last line, from 1.
    """

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path, self._file = path, file
        self.number = 0
        self._row_end = 1  # the header

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._file.readline(MAX_LINE + 1)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > MAX_LINE:
            self._refuse(f"is longer than {MAX_LINE} characters", "Check that it is the right file.")
        if self.number - self._row_end > MAX_ROW_LINES:
            self._refuse(f"goes on for more than {MAX_ROW_LINES} lines", "Check the quotes in that row.")
        if not line.isascii() and not _encodable(line):
            self._refuse("is not UTF-8 text", "Save the file as UTF-8 CSV.")
        return line

    def end_row(self) -> None:
        """Note that the last line ended a row."""
        self._row_end = self.number

    def _refuse(self, problem: str, remedy: str) -> NoReturn:
        raise InputError(f"{self._path}, row {self.number} {problem}.", remedy)


@contextmanager
def _lines(path: Path) -> Iterator[_Lines]:
    """Open a file for `_Lines`; bytes that are not UTF-8 become surrogates, which it finds in their line."""
    try:
        check_bounded(path, MAX_BYTES)
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            yield _Lines(path, file)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{path} cannot be read: {reason}.", "Check the path and its permissions."
        ) from error


def _encodable(line: str) -> bool:
    """Whether a line came from UTF-8 as a whole."""
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_header(path: Path, header: list[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in header]
    if missing:
        problem = f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}."
        raise InputError(problem, f"The first row must name the columns {', '.join(columns)}.")
    if len(set(header)) != len(header):
        raise InputError(f"{path} names a column twice.", "Remove the duplicate.")
