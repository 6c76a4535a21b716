"""What a proof says, in the order of its bytes (`ARGUMENT.md` section 3)."""

from collections.abc import Iterable
from dataclasses import dataclass

from intertwine.protocols.errors import VerificationError
from intertwine.zk.independent import curve
from intertwine.zk.independent.circuit import Circuit
from intertwine.zk.independent.domain import MODULUS

SCALAR_BYTES = 32
CHUNKS = 4
OPENINGS = 2


@dataclass(frozen=True)
class Proof:
    """A proof's messages: points as encodings, scalars as integers.

    first, second, chunks, openings: the messages of steps 3, 4, 5 and 7. values: at ζ, by column.
    linear: the linear value ℓ. next_sum: `sum` at ωζ.
    """

    first: list[bytes]
    second: list[bytes]
    chunks: list[bytes]
    values: dict[str, int]
    linear: int
    next_sum: int
    openings: list[bytes]

    @classmethod
    def parse(cls, circuit: Circuit, data: bytes) -> "Proof":
        """Cut a proof into its messages; VerificationError `proof_length` for another total length."""
        first, second, opened = len(circuit.first_message), len(circuit.second_message), circuit.opened
        head = curve.POINT_BYTES * (first + second + CHUNKS)
        tail = head + SCALAR_BYTES * (len(opened) + 2)
        length = tail + curve.POINT_BYTES * OPENINGS
        if len(data) != length:
            raise VerificationError("proof_length", f"the proof has {len(data)} bytes, not {length}.")
        points = _cut(data[:head], curve.POINT_BYTES)
        scalars = [int.from_bytes(part, "little") for part in _cut(data[head:tail], SCALAR_BYTES)]
        return cls(
            first=points[:first],
            second=points[first:-CHUNKS],
            chunks=points[-CHUNKS:],
            values=dict(zip(opened, scalars[:-2], strict=True)),
            linear=scalars[-2],
            next_sum=scalars[-1],
            openings=_cut(data[tail:], curve.POINT_BYTES),
        )

    @property
    def points(self) -> list[bytes]:
        """Every point."""
        return [*self.first, *self.second, *self.chunks, *self.openings]

    @property
    def evaluations(self) -> list[int]:
        """Every scalar, in the order of step 6."""
        return [*self.values.values(), self.linear, self.next_sum]

    def check_scalars(self) -> None:
        """VerificationError `scalar_canonical` unless every scalar is below r."""
        if any(value >= MODULUS for value in self.evaluations):
            raise VerificationError("scalar_canonical", "an evaluation is not below the group order.")


def decode_points(encodings: Iterable[bytes]) -> dict[bytes, curve.Point]:
    """Every point by its encoding; VerificationError `point_encoding` at the first that is not one."""
    points: dict[bytes, curve.Point] = {}
    for position, encoding in enumerate(encodings):
        if encoding not in points:
            try:
                points[encoding] = curve.decode(encoding)
            except ValueError as error:
                raise VerificationError("point_encoding", f"point {position} is {error}.") from error
    return points


def _cut(data: bytes, size: int) -> list[bytes]:
    """The data in pieces of one size."""
    return [data[start : start + size] for start in range(0, len(data), size)]
