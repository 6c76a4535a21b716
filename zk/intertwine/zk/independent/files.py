"""Proof files: one statement with its proof as canonical JSON, from the page to a verdict.

A proof file is UTF-8 JSON with sorted keys and no white space; bytes are lower-case hexadecimal, decimals are
text. Everything is bounded before it is parsed.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Protocol

from intertwine.protocols.errors import InputError
from intertwine.zk.independent import argument
from intertwine.zk.independent.circuit import Statement
from intertwine.zk.independent.curve import POINT_BYTES
from intertwine.zk.independent.dataset import Dataset, Page, Shape
from intertwine.zk.independent.glm import Glm
from intertwine.zk.independent.records import Records
from intertwine.zk.independent.release import Release
from intertwine.zk.independent.residual import Model
from intertwine.zk.independent.statistics import Statistics

VERSION = "intertwine/proof/1"
MAX_FILE_BYTES = 64 << 20
MAX_PAGES = 1024
# No string of a proof file contains a bracket, so that counting them bounds depth and number of containers.
MAX_BRACKETS = 2 * MAX_PAGES + 16
MAX_ITEMS = 1 << 20
MAX_CONTEXT_BYTES = 1 << 16
MAX_TEXT = 128
MAX_INTEGER = (1 << 53) - 1
DIGEST_BYTES = 32
HEX = re.compile(r"(?:[0-9a-f]{2})*")
REMEDY = "Ask whoever made the file for the original."


class _Checked(Protocol):
    """Public inputs that can check themselves and state what is proven."""

    def check(self) -> None: ...
    def statement(self) -> Statement: ...


def verify_file(data: bytes) -> None:
    """Verify one proof file.

    InputError: the bytes are not a proof file. VerificationError: a check failed, named as the pages name it.
    """
    fields = _Fields(_parse(data), "the proof file")
    version, kind = fields.text("version"), fields.text("statement")
    if version != VERSION:
        raise InputError(f"The version is not {VERSION}.", "Use the verifier that fits the file.")
    if kind not in READERS:
        raise InputError(f"The statement is none of {', '.join(READERS)}.", REMEDY)
    inputs = READERS[kind](fields)
    proof = fields.data("proof")
    fields.end()
    inputs.check()
    argument.verify(inputs.statement(), proof)


def _parse(data: bytes) -> Any:
    """The JSON value of canonical bytes."""
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"A proof file has at most {MAX_FILE_BYTES} bytes, not {len(data)}.", REMEDY)
    if data.count(b"[") + data.count(b"{") > MAX_BRACKETS or data.count(b",") > MAX_ITEMS:
        raise InputError("The file has more lists, objects or items than a proof file.", REMEDY)
    try:
        value = json.loads(data.decode())
        canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InputError("The file is not JSON.", REMEDY) from error
    if canonical != data:
        raise InputError("The file is not canonical JSON.", REMEDY)
    return value


class _Fields:
    """An object's fields, each taken once and checked for its type and size."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise InputError(f"There is no object where {where} should be.", REMEDY)
        self._rest = dict(value)
        self._where = where

    def end(self) -> None:
        """InputError if a field was not taken."""
        if self._rest:
            raise InputError(f"Field {min(self._rest)[:MAX_TEXT]!r} of {self._where} is unknown.", REMEDY)

    def number(self, name: str) -> int:
        """An integer below 2^53 in absolute value."""
        return self._number(name, self._take(name))

    def numbers(self, name: str) -> tuple[int, ...]:
        """A list of such integers."""
        return tuple(self._number(name, item) for item in self._list(name))

    def text(self, name: str) -> str:
        """Printable ASCII, at most 128 characters."""
        value = self._take(name)
        if not (
            isinstance(value, str) and len(value) <= MAX_TEXT and value.isascii() and value.isprintable()
        ):
            raise self._error(name, f"printable ASCII of at most {MAX_TEXT} characters")
        return value

    def data(self, name: str, size: int | None = None, limit: int = MAX_FILE_BYTES) -> bytes:
        """Bytes, exactly `size` of them if given, never more than `limit`."""
        return self._data(name, self._take(name), size, limit)

    def points(self, name: str) -> tuple[bytes, ...]:
        """A list of strings of 48 bytes."""
        return tuple(self._data(name, item, POINT_BYTES, POINT_BYTES) for item in self._list(name))

    def objects(self, name: str, limit: int) -> list["_Fields"]:
        """A list of objects, at most `limit` of them."""
        items = self._list(name)
        if len(items) > limit:
            raise self._error(name, f"a list of at most {limit} objects")
        return [_Fields(item, f"each of {name}") for item in items]

    def _take(self, name: str) -> Any:
        if name not in self._rest:
            raise InputError(f"Field {name!r} of {self._where} is missing.", REMEDY)
        return self._rest.pop(name)

    def _list(self, name: str) -> list[Any]:
        value = self._take(name)
        if not isinstance(value, list):
            raise self._error(name, "a list")
        return value

    def _number(self, name: str, value: Any) -> int:
        if type(value) is not int or abs(value) > MAX_INTEGER:
            raise self._error(name, "an integer below 2^53")
        return value

    def _data(self, name: str, value: Any, size: int | None, limit: int) -> bytes:
        if not isinstance(value, str) or not HEX.fullmatch(value):
            raise self._error(name, "bytes in lower-case hexadecimal")
        if len(value) > 2 * limit or (size is not None and len(value) != 2 * size):
            raise self._error(name, f"{f'at most {limit}' if size is None else size} bytes")
        return bytes.fromhex(value)

    def _error(self, name: str, kind: str) -> InputError:
        return InputError(f"Field {name!r} of {self._where} is not {kind}.", REMEDY)


def _release(fields: _Fields) -> Release:
    return Release(
        *_public_randomness(fields),
        norm_bound=fields.number("norm_bound"),
        randomness=fields.points("randomness"),
        gradient=fields.points("gradient"),
        update=fields.data("update"),
    )


def _dataset(fields: _Fields) -> Dataset:
    return Dataset(fields.data("context", limit=MAX_CONTEXT_BYTES), _shape(fields), _page(fields))


def _statistics(fields: _Fields) -> Statistics:
    return Statistics(
        *_public_randomness(fields),
        records=_records(fields),
        moment=fields.text("moment"),
        weights=fields.text("weights"),
        randomness=fields.points("randomness"),
        update=fields.data("update"),
    )


def _glm(fields: _Fields) -> Glm:
    return Glm(
        *_public_randomness(fields),
        records=_records(fields),
        model=Model(
            link=fields.text("link"),
            residual_bound=fields.number("residual_bound"),
            record_norm=fields.text("record_norm"),
            label_unit=fields.text("label_unit"),
            residual_norm=fields.text("residual_norm"),
            exponent=fields.number("exponent"),
            lot=fields.number("lot"),
            weights=fields.numbers("weights"),
        ),
        randomness=fields.points("randomness"),
        lot_randomness=fields.points("lot_randomness"),
        update=fields.data("update"),
    )


def _public_randomness(fields: _Fields) -> tuple[bytes, bytes, bytes, int]:
    """context, beacon, slot, sigma."""
    return (
        fields.data("context", limit=MAX_CONTEXT_BYTES),
        fields.data("beacon", DIGEST_BYTES),
        fields.data("slot", DIGEST_BYTES),
        fields.number("sigma"),
    )


def _shape(fields: _Fields) -> Shape:
    return Shape(
        fields.number("columns"), fields.number("row_bound"), fields.text("label"), fields.text("entries")
    )


def _page(fields: _Fields) -> Page:
    return Page(fields.number("rows"), fields.points("commitments"))


def _records(fields: _Fields) -> Records:
    shape, pages = _shape(fields), []
    for page in fields.objects("pages", MAX_PAGES):
        pages.append(_page(page))
        page.end()
    return Records(shape, tuple(pages))


READERS: dict[str, Callable[[_Fields], _Checked]] = {
    "release": _release,
    "dataset": _dataset,
    "statistics": _statistics,
    "glm": _glm,
}
