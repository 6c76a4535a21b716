"""Honest proofs with altered bytes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from py_arkworks_bls12381 import G1Point

from intertwine.zk import proof_file
from intertwine.zk.circuit import CHUNKS, Circuit
from intertwine.zk.field import MODULUS
from tests.conformance.forgery.cases import IDENTITY, OPENING, add
from tests.conformance.forgery.honest_cases import honest
from tests.conformance.forgery.plays import Forged, encoded_generator

KINDS = ("release", "dataset", "statistics", "glm")
POINT, SCALAR = 48, 32


@dataclass(frozen=True)
class Layout:
    """Where a proof's parts lie."""

    circuit: Circuit

    @property
    def chunks(self) -> int:
        """Offset of the first chunk's commitment."""
        return POINT * (len(self.circuit.early) + len(self.circuit.after))

    @property
    def scalars(self) -> int:
        return self.chunks + POINT * CHUNKS

    @property
    def openings(self) -> int:
        return self.scalars + SCALAR * (len(self.circuit.columns) + 2)

    def value(self, column: str) -> int:
        """Offset of a column's value at ζ."""
        return self.scalars + SCALAR * self.circuit.columns.index(column)

    @property
    def linear(self) -> int:
        return self.openings - 2 * SCALAR


Alter = Callable[[bytes, Layout], bytes]


def put(proof: bytes, start: int, part: bytes) -> bytes:
    return proof[:start] + part + proof[start + len(part) :]


def add_to_scalar(where: Callable[[Layout], int], amount: int) -> Alter:
    def alter(proof: bytes, layout: Layout) -> bytes:
        start = where(layout)
        value = int.from_bytes(proof[start : start + SCALAR], "little") + amount
        return put(proof, start, (value % 2**256).to_bytes(SCALAR, "little"))

    return alter


def set_point(where: Callable[[Layout], int], point: bytes) -> Alter:
    return lambda proof, layout: put(proof, where(layout), point)


def swap_points(where: Callable[[Layout], int]) -> Alter:
    def alter(proof: bytes, layout: Layout) -> bytes:
        start = where(layout)
        first, second = proof[start : start + POINT], proof[start + POINT : start + 2 * POINT]
        return put(proof, start, second + first)

    return alter


def point_outside_subgroup() -> bytes:
    """A point of the curve that is not in the subgroup."""
    for x in range(1, 100):
        data = bytes([0x80]) + x.to_bytes(47, "big")
        try:
            point = G1Point.from_compressed_bytes_unchecked(data)
        except ValueError:
            continue
        if not point.is_in_subgroup():
            return data
    raise ValueError("no such point found")


INFINITY = bytes([0xC0]) + bytes(47)
BAD_POINTS = (
    ("opening_identity", "", INFINITY, "is the identity"),
    ("infinity_encodings", "sign", bytes([0xE0]) + bytes(47), "is the identity with a sign"),
    ("infinity_encodings", "ones", b"\xff" * 48, "has every bit set"),
    ("infinity_encodings", "trailing-bit", bytes([0xC0]) + bytes(46) + b"\1", "is the identity and one bit"),
    ("infinity_encodings", "uncompressed", bytes([0x40]) + bytes(47), "is the identity, not compressed"),
    ("non_subgroup_point", "", point_outside_subgroup(), "is not in the subgroup"),
    ("point_not_on_curve", "", bytes([0x80]) + bytes(46) + b"\1", "is not on the curve"),
    ("point_not_reduced", "", bytes([0x9A]) + b"\xff" * 47, "has a coordinate that is not reduced"),
    ("point_not_reduced", "zero", bytes(48), "is all zeros"),
)
PLACES = {
    "commitment": lambda layout: 0,
    "chunk": lambda layout: layout.chunks,
    "opening": lambda layout: layout.openings + POINT,
}


ROLES: dict[str, Callable[[Circuit], tuple[str, ...]]] = {
    "committed": lambda circuit: circuit.committed,
    "witness": lambda circuit: circuit.witness,
    "multiplicity": lambda circuit: circuit.multiplicities,
    "late": lambda circuit: circuit.late,
    "helper": lambda circuit: circuit.helpers,
    "sum": lambda circuit: circuit.after[-1:],
}


def altered(kind: str, alter: Alter) -> Forged:
    good = honest(kind)
    return replace(good, proof=alter(good.proof, Layout(proof_file.instance_of(good.statement).circuit)))


def add_altered(kind: str, name: str, check: str, why: str, alter: Alter, variant: str = "") -> None:
    add(kind, name, check, why, partial(altered, kind, alter), variant=variant)


def add_byte_cases(kind: str) -> None:
    short, extra = (lambda proof, layout: proof[:-1]), (lambda proof, layout: proof + bytes(1))
    add_altered(kind, "truncated", "proof_length", "The proof lacks its last byte.", short)
    add_altered(kind, "trailing_bytes", "proof_length", "A zero byte follows the proof.", extra)
    for role, columns in ROLES.items():
        if role == "late" and kind in ("release", "dataset"):
            continue
        alter = add_to_scalar(lambda layout, columns=columns: layout.value(columns(layout.circuit)[0]), 1)
        why = f"The value of the first {role} column is 1 more."
        add_altered(kind, "evaluation_changed", IDENTITY, why, alter, role)
    alter = add_to_scalar(lambda layout: layout.openings - SCALAR, 1)
    add_altered(
        kind, "evaluation_changed", IDENTITY, "The next value of the sum is 1 more.", alter, "next-sum"
    )
    alter = add_to_scalar(lambda layout: layout.linear, 1)
    add_altered(kind, "linear_value_changed", IDENTITY, "The linear value is 1 more.", alter)
    for variant, where in (("", lambda layout: layout.scalars), ("linear", lambda layout: layout.linear)):
        alter = add_to_scalar(where, MODULUS)
        why = "A scalar is larger by the group's order."
        add_altered(kind, "scalar_not_reduced", "scalar_canonical", why, alter, variant)
    alter = swap_points(lambda layout: layout.chunks)
    add_altered(kind, "chunk_swapped", IDENTITY, "The first two chunks' commitments trade places.", alter)
    alter = swap_points(lambda layout: layout.openings)
    add_altered(kind, "opening_swapped", OPENING, "The two opening points trade places.", alter)
    for place, where in PLACES.items():
        check = OPENING if place == "opening" else IDENTITY
        why = f"The {place} is another valid point."
        add_altered(kind, "point_changed", check, why, set_point(where, encoded_generator()), place)


def add_point_cases(kind: str, places: tuple[str, ...]) -> None:
    for name, variant, point, problem in BAD_POINTS:
        for place in places:
            why = f"The {place}'s point {problem}."
            own = "-".join(filter(None, (variant, place)))
            add_altered(kind, name, "point_encoding", why, set_point(PLACES[place], point), own)


for kind in KINDS:
    add_byte_cases(kind)
    add_point_cases(kind, tuple(PLACES) if kind == "release" else ("opening",))
