"""Proof files: one statement and its proof, by themselves, for anybody to verify.

A proof file is canonical JSON; its fields are those of PROOF_FILE.md. What a file says may be false or out of
range: that is for the numbered checks of its statement.
"""

from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from intertwine.protocols.document import Document, Hex32, Point
from intertwine.protocols.encoding import decode as decode_canonical
from intertwine.protocols.errors import InputError
from intertwine.zk import dataset, glm, release, statistics
from intertwine.zk.dataset import Dataset, Page, PageStatement, Shape
from intertwine.zk.glm import GlmStatement, Model
from intertwine.zk.instance import Check, Instance
from intertwine.zk.release import Commitments, ReleaseStatement
from intertwine.zk.statistics import StatisticsStatement

MAX_FILE_BYTES = 1 << 26
MAX_ITEMS = 1 << 20
"""Commas of a file: what the parser may build is bounded before it runs."""
MAX_CONTEXT_BYTES = 1 << 16
MAX_PAGES = 1024

Statement: TypeAlias = ReleaseStatement | PageStatement | StatisticsStatement | GlmStatement
Kind: TypeAlias = Literal["release", "dataset", "statistics", "glm"]

CHECKS: dict[Kind, tuple[Check, ...]] = {
    "release": release.CHECKS,
    "dataset": dataset.CHECKS,
    "statistics": statistics.CHECKS,
    "glm": glm.CHECKS,
}
"""The numbered checks of a statement."""

_Bytes: TypeAlias = Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$")]
_Context: TypeAlias = Annotated[_Bytes, Field(max_length=2 * MAX_CONTEXT_BYTES)]
_Text: TypeAlias = Annotated[str, Field(pattern=r"^[ -~]{0,128}$")]


class _File(Document):
    version: Literal["intertwine/proof/1"] = "intertwine/proof/1"
    context: _Context
    proof: _Bytes


class _Noised(_File):
    beacon: Hex32
    slot: Hex32
    sigma: int
    randomness: list[Point]
    update: _Bytes


class _Page(Document):
    rows: int
    commitments: list[Point]

    def parsed(self) -> Page:
        return Page(self.rows, _points(self.commitments))


class _DataBound(_Noised):
    columns: int
    row_bound: int
    label: _Text
    entries: _Text
    pages: Annotated[list[_Page], Field(max_length=MAX_PAGES)]

    def dataset(self) -> Dataset:
        return Dataset(_shape(self), tuple(page.parsed() for page in self.pages))


class ReleaseFile(_Noised):
    """A release."""

    statement: Literal["release"] = "release"
    norm_bound: int
    gradient: list[Point]

    def parsed(self) -> Statement:
        """What the file states."""
        return ReleaseStatement(
            *_public_randomness(self),
            norm_bound=self.norm_bound,
            commitments=Commitments(_points(self.randomness), _points(self.gradient)),
            update=_vector(self.update),
        )


class DatasetFile(_File):
    """A page of an enrolled dataset."""

    statement: Literal["dataset"] = "dataset"
    rows: int
    columns: int
    row_bound: int
    label: _Text
    entries: _Text
    commitments: list[Point]

    def parsed(self) -> Statement:
        """What the file states."""
        page = Page(self.rows, _points(self.commitments))
        return PageStatement(bytes.fromhex(self.context), _shape(self), page)


class StatisticsFile(_DataBound):
    """A noised sum over an enrolled dataset."""

    statement: Literal["statistics"] = "statistics"
    moment: _Text
    weights: _Text

    def parsed(self) -> Statement:
        """What the file states."""
        moment: Any = self.moment  # for instance_of to check
        weights: Any = self.weights
        return StatisticsStatement(
            *_public_randomness(self),
            dataset=self.dataset(),
            moment=moment,
            weights=weights,
            randomness=_points(self.randomness),
            update=_vector(self.update),
        )


class GlmFile(_DataBound):
    """A step of a generalised linear model."""

    statement: Literal["glm"] = "glm"
    link: _Text
    residual_bound: int
    record_norm: _Text
    label_unit: _Text
    residual_norm: _Text
    exponent: int
    lot: int
    weights: list[int]
    lot_randomness: list[Point]

    def parsed(self) -> Statement:
        """What the file states."""
        link: Any = self.link  # for instance_of to check
        model = Model(
            link=link,
            residual_bound=self.residual_bound,
            record_norm=self.record_norm,
            lot=self.lot,
            label_unit=self.label_unit,
            residual_norm=self.residual_norm,
        )
        return GlmStatement(
            *_public_randomness(self),
            dataset=self.dataset(),
            model=model,
            weights=tuple(self.weights),
            exponent=self.exponent,
            randomness=_points(self.randomness),
            lot_randomness=_points(self.lot_randomness),
            update=_vector(self.update),
        )


_FILES: dict[object, type[ReleaseFile | DatasetFile | StatisticsFile | GlmFile]] = {
    "release": ReleaseFile,
    "dataset": DatasetFile,
    "statistics": StatisticsFile,
    "glm": GlmFile,
}


def encode(statement: Statement, proof: bytes) -> bytes:
    """The canonical bytes of a proof file."""
    match statement:
        case ReleaseStatement():
            own: dict[str, object] = {
                "norm_bound": statement.norm_bound,
                "gradient": _hex(statement.commitments.gradient),
                **_noised_fields(statement, statement.commitments.randomness),
            }
        case PageStatement():
            own = {**vars(statement.shape), **_page_fields(statement.page)}
        case StatisticsStatement():
            own = {
                "moment": statement.moment,
                "weights": statement.weights,
                **_data_bound_fields(statement),
            }
        case GlmStatement():
            own = {
                **vars(statement.model),
                "exponent": statement.exponent,
                "weights": list(statement.weights),
                "lot_randomness": _hex(statement.lot_randomness),
                **_data_bound_fields(statement),
            }
    fields = {**own, "context": statement.context.hex(), "proof": proof.hex()}
    return _FILES[kind_of(statement)].model_validate(fields).encode()


def decode(data: bytes) -> tuple[Statement, bytes]:
    """Statement and proof; InputError for what is not a proof file."""
    if data.count(b",") > MAX_ITEMS:
        raise InputError(f"The file has more than {MAX_ITEMS} items.", "Check that it is the right file.")
    value = decode_canonical(data, MAX_FILE_BYTES)
    kind = value.get("statement") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in _FILES:
        raise InputError(f"The file states none of {', '.join(CHECKS)}.", "Check that it is a proof file.")
    file = _FILES[kind].parse(value)
    return file.parsed(), bytes.fromhex(file.proof)


def kind_of(statement: Statement) -> Kind:
    """The file's name for the kind of statement."""
    match statement:
        case ReleaseStatement():
            return "release"
        case PageStatement():
            return "dataset"
        case StatisticsStatement():
            return "statistics"
        case GlmStatement():
            return "glm"


def instance_of(statement: Statement) -> Instance:
    """The statement's instance, after its own checks; VerificationError names the first that fails."""
    match statement:
        case ReleaseStatement():
            return release.instance_of(statement)
        case PageStatement():
            return dataset.instance_of(statement)
        case StatisticsStatement():
            return statistics.instance_of(statement)
        case GlmStatement():
            return glm.instance_of(statement)


def verify_file(data: bytes) -> None:
    """Verify a proof file; InputError if it is none, VerificationError naming the first check that fails."""
    statement, proof = decode(data)
    instance_of(statement).verify(proof)


def _public_randomness(file: _Noised) -> tuple[bytes, bytes, bytes, int]:
    return bytes.fromhex(file.context), bytes.fromhex(file.beacon), bytes.fromhex(file.slot), file.sigma


def _shape(file: DatasetFile | _DataBound) -> Shape:
    text: Any = (file.label, file.entries)  # for instance_of to check
    return Shape(file.columns, file.row_bound, *text)


def _points(encoded: list[str]) -> tuple[bytes, ...]:
    return tuple(map(bytes.fromhex, encoded))


def _vector(encoded: str) -> NDArray[np.int64]:
    """The entries; what is not a number of 8 bytes stays bytes, which no statement takes for a vector."""
    data = bytes.fromhex(encoded)
    return np.frombuffer(data, dtype=np.uint8 if len(data) % 8 else "<i8")


def _update(vector: NDArray[np.int64]) -> bytes:
    """The inverse of `_vector`."""
    return (vector.astype("<i8") if vector.dtype == np.int64 else vector).tobytes()


def _hex(points: tuple[bytes, ...]) -> list[str]:
    return [point.hex() for point in points]


def _noised_fields(
    statement: ReleaseStatement | StatisticsStatement | GlmStatement, randomness: tuple[bytes, ...]
) -> dict[str, object]:
    return {
        "beacon": statement.beacon.hex(),
        "slot": statement.slot.hex(),
        "sigma": statement.sigma,
        "randomness": _hex(randomness),
        "update": _update(statement.update).hex(),
    }


def _data_bound_fields(statement: StatisticsStatement | GlmStatement) -> dict[str, object]:
    return {
        **_noised_fields(statement, statement.randomness),
        **vars(statement.dataset.shape),
        "pages": [_page_fields(page) for page in statement.dataset.pages],
    }


def _page_fields(page: Page) -> dict[str, object]:
    return {"rows": page.rows, "commitments": _hex(page.commitments)}
