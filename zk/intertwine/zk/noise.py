"""Proven noise, shared by the statements that add it: randomness fixed before the beacon, its constraints.

A vector of d entries takes ceil(d/4088) pages; page p holds the entries from 4088·p on, one a row. Rows below
the last entry are ordinary rows with u = b = 0: an honest r is 0 there and gives no noise.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from py_arkworks_bls12381 import G1Point

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import kzg, reference_string
from intertwine.zk.circuit import Gate, Lookup, Table
from intertwine.zk.domain import BLINDING_ROWS, DATA_ROWS
from intertwine.zk.expression import Cell, Expression, total
from intertwine.zk.randomness import Randomness
from intertwine.zk.sampler import SIGMAS, Sampler, sampler

MAX_DIMENSION = 131_072
"""Entries of a vector."""

MAX_PROOFS = 3
"""Distinct proofs for one commitment: each opens its columns once more, and eight random rows hide them."""

LIMB_BITS = 11
LIMBS = 5
RANGE = Table("range", 0, tuple((value,) for value in range(1 << LIMB_BITS)))

_BEACON_TAG = b"intertwine/beacon-bits/1"
_PURPOSE = b"release-noise"


class NoiseOpening:
    """The secret behind `commitments`, derived from the seed: random bits and blinding rows.

    commitments: one compressed G1 point of 48 bytes a page and level. proven: digests of the statements
    proven with it so far; keep it with the seed, and hand it back after a restart, so that no more than
    MAX_PROOFS distinct proofs ever leave. InputError for a bad seed, dimension or sigma.
    """

    def __init__(self, dimension: int, sigma: int, seed: bytes, proven: Collection[bytes] = ()) -> None:
        require_32_bytes("seed", seed)
        if sigma not in SIGMAS or not 1 <= dimension <= MAX_DIMENSION:
            raise InputError(
                f"There is no noise of deviation {sigma} for {dimension} entries.",
                f"Choose sigma from {', '.join(map(str, SIGMAS))} and 1 to {MAX_DIMENSION} entries.",
            )
        self.dimension, self.sigma = dimension, sigma
        self.proven = frozenset(proven)
        self.secrets: tuple[bytes, ...] = (seed, sigma.to_bytes(8, "little"), dimension.to_bytes(8, "little"))
        source = Randomness(b"noise", *self.secrets)
        chosen = sampler(sigma)
        self.random_bits = np.stack(
            [
                _low_bits(source.stream(f"r{level}", 8 * dimension), sigma)
                for level in range(len(chosen.steps))
            ]
        )
        """Shape (levels, d), uint64 below 2^B."""
        self.columns = {
            name: blinded_column(name, rows, source)
            for name, rows in noise_columns("r", self.random_bits).items()
        }
        self.commitments = commit_columns(self.columns.values())

    def __repr__(self) -> str:
        return f"NoiseOpening(dimension={self.dimension}, sigma={self.sigma}, secrets hidden)"

    def register(self, statement_digest: bytes) -> None:
        """Count a statement before it is proven; InputError for one distinct statement too many."""
        self.proven = register_proof(self.proven, statement_digest)

    def noise(self, beacon: bytes, slot: bytes) -> NDArray[np.int64]:
        """The noise z, shape (d,), that commitment and beacon determine."""
        return sampler(self.sigma).sample(self.uniform(beacon, slot))

    def uniform(self, beacon: bytes, slot: bytes) -> NDArray[np.uint64]:
        """(r + b) mod 2^B, shape (levels, d)."""
        shared = public_randomness(beacon, slot, self.dimension, self.sigma)
        return add_bits(self.random_bits, shared, sampler(self.sigma).bits)


def register_proof(proven: frozenset[bytes], statement_digest: bytes) -> frozenset[bytes]:
    """`proven` with one more statement; InputError if it would be the fourth distinct one."""
    if statement_digest not in proven and len(proven) >= MAX_PROOFS:
        raise InputError(
            f"this commitment has already served {MAX_PROOFS} distinct proofs.",
            "Resend an earlier proof, or let the slot fail and commit anew in the next one.",
        )
    return proven | {statement_digest}


def public_randomness(beacon: bytes, slot: bytes, dimension: int, sigma: int) -> NDArray[np.uint64]:
    """The bits b: shape (levels, dimension), uint64 below 2^B.

    Each page of each level takes 8 bytes an entry, little-endian and cut to B bits, from SHAKE256(tag ‖
    beacon ‖ slot ‖ purpose ‖ level ‖ page).
    """
    streams = [
        b"".join(
            beacon_stream(beacon, slot, _PURPOSE, level, page, 8 * size)
            for page, size in enumerate(page_sizes(dimension))
        )
        for level in range(len(sampler(sigma).steps))
    ]
    return np.stack([_low_bits(stream, sigma) for stream in streams])


def beacon_stream(beacon: bytes, slot: bytes, purpose: bytes, level: int, page: int, length: int) -> bytes:
    """Public randomness for one page of one purpose."""
    require_32_bytes("beacon", beacon)
    require_32_bytes("slot", slot)
    material = _BEACON_TAG + beacon + slot + purpose + bytes([level]) + page.to_bytes(4, "little")
    return hashlib.shake_256(material).digest(length)


def page_sizes(dimension: int) -> list[int]:
    """How many entries each page holds."""
    return [min(DATA_ROWS, dimension - start) for start in range(0, dimension, DATA_ROWS)]


def noise_pages(dimension: int, sigma: int) -> int:
    """How many commitments the randomness of a vector takes: one a page and level."""
    return len(page_sizes(dimension)) * len(sampler(sigma).steps)


def page_columns(name: str, values: Sequence[int]) -> dict[str, list[int]]:
    """A vector cut into the pages of a column."""
    starts = range(0, len(values), DATA_ROWS)
    return {f"{name}[{page}]": list(values[start : start + DATA_ROWS]) for page, start in enumerate(starts)}


def noise_columns(name: str, levels: NDArray[np.uint64] | NDArray[np.int64]) -> dict[str, list[int]]:
    """Values of shape (levels, d) as columns, page by page and level by level."""
    starts = range(0, levels.shape[1], DATA_ROWS)
    return {
        f"{name}[{page},{level}]": row[start : start + DATA_ROWS].tolist()
        for page, start in enumerate(starts)
        for level, row in enumerate(levels)
    }


def blinded_column(name: str, rows: Sequence[int], source: Randomness) -> list[int]:
    """A column of 4096 rows: entries, zeros, random blinding rows."""
    return [*rows, *[0] * (DATA_ROWS - len(rows)), *source.scalars(name, BLINDING_ROWS)]


def commit_columns(columns: Collection[Sequence[int]]) -> tuple[bytes, ...]:
    """The commitment to each column, 48 bytes."""
    lagrange = reference_string.load().lagrange
    return tuple(kzg.encode_point(kzg.commit_column(lagrange, column)) for column in columns)


# Constraints


def randomness_names(dimension: int, sigma: int) -> tuple[str, ...]:
    """The columns r, in the order of their commitments."""
    return tuple(f"r[{block}]" for block in _blocks(dimension, sigma))


def noise_witness_names(dimension: int, sigma: int) -> tuple[str, ...]:
    """The witness columns of the noise, page by page and level by level."""
    limbs = (*_limb_names("below"), *_limb_names("above"))
    return tuple(
        f"{name}[{block}]"
        for block in _blocks(dimension, sigma)
        for name in ("carry", "sign", "size", *limbs)
    )


def noise_gates(dimension: int, sigma: int) -> list[Gate]:
    """carry and sign are bits, and u - g = Σ k_l·(1 - 2·sign)·size."""
    steps = sampler(sigma).steps
    gates = []
    for page in range(len(page_sizes(dimension))):
        noise: Expression = Cell(f"u[{page}]") - Cell(f"g[{page}]")
        for level, step in enumerate(steps):
            carry, sign, size = (Cell(f"{name}[{page},{level}]") for name in ("carry", "sign", "size"))
            gates.append(Gate(f"carry_boolean[{page},{level}]", carry * carry - carry))
            gates.append(Gate(f"sign_boolean[{page},{level}]", sign * sign - sign))
            noise = noise - step * size + (2 * step) * (sign * size)
        gates.append(Gate(f"noise[{page}]", noise))
    return gates


def noise_lookups(dimension: int, sigma: int) -> list[Lookup]:
    """T_lo ≤ t′ < T_hi for the row (size, T_lo, T_hi).

    t′ = r + b - carry·2^B - sign·2^(B-1). As t′ - below = T_lo and t′ + 1 + above = T_hi with both
    differences in [0, 2^55), t′ is an integer in its interval; the intervals are disjoint and lie in [0,
    2^(B-1)), so r + b determines carry, sign and size.
    """
    return [lookup for block in _blocks(dimension, sigma) for lookup in _block_lookups(block, sampler(sigma))]


def _block_lookups(block: str, chosen: Sampler) -> Iterator[Lookup]:
    r, b, carry, sign = (Cell(f"{name}[{block}]") for name in ("r", "b", "carry", "sign"))
    remainder = r + b - (1 << chosen.bits) * carry - (1 << (chosen.bits - 1)) * sign
    for name in (*_limb_names("below"), *_limb_names("above")):
        yield Lookup(f"{name}[{block}]", RANGE, (Cell(f"{name}[{block}]"),))
    below, above = (
        compose([Cell(f"{limb}[{block}]") for limb in _limb_names(name)]) for name in ("below", "above")
    )
    interval = (Cell(f"size[{block}]"), remainder - below, remainder + 1 + above)
    yield Lookup(f"interval[{block}]", chosen.table, interval)


def noise_public(beacon: bytes, slot: bytes, update: NDArray[np.int64], sigma: int) -> dict[str, list[int]]:
    """The public columns u and b."""
    shared = public_randomness(beacon, slot, len(update), sigma)
    return page_columns("u", update.tolist()) | noise_columns("b", shared)


def noise_witness(opening: NoiseOpening, beacon: bytes, slot: bytes) -> dict[str, list[int]]:
    """The witness columns of the noise, all data rows of them."""
    chosen = sampler(opening.sigma)
    padding = -opening.dimension % DATA_ROWS
    random_bits = np.pad(opening.random_bits, ((0, 0), (0, padding)))
    uniform = np.pad(opening.uniform(beacon, slot), ((0, 0), (0, padding)))
    columns: dict[str, list[int]] = {}
    for level, values in enumerate(uniform):
        signs, remainders, rows = chosen.signs_and_magnitudes(values)
        table = np.array(chosen.table.rows, dtype=np.uint64)[rows]
        vectors = {
            "carry": (values < random_bits[level]).astype(np.int64),
            "sign": signs,
            "size": table[:, 0].astype(np.int64),
        }
        below = remainders - table[:, 1].astype(np.int64)
        above = (table[:, 2] - np.uint64(1)).astype(np.int64) - remainders
        vectors |= dict(zip(_limb_names("below"), split(below), strict=True))
        vectors |= dict(zip(_limb_names("above"), split(above), strict=True))
        for name, vector in vectors.items():
            for page, start in enumerate(range(0, len(vector), DATA_ROWS)):
                columns[f"{name}[{page},{level}]"] = vector[start : start + DATA_ROWS].tolist()
    return columns


def add_bits(left: NDArray[np.uint64], right: NDArray[np.uint64], bits: int) -> NDArray[np.uint64]:
    """(left + right) mod 2^bits; both below 2^bits, bits ≤ 64."""
    return (left + right) & np.uint64((1 << bits) - 1)


def compose(limbs: Sequence[Expression]) -> Expression:
    """Σ 2^(11j)·limb_j."""
    return total([(1 << (LIMB_BITS * index)) * limb for index, limb in enumerate(limbs)])


def split(values: NDArray[np.int64], limbs: int = LIMBS) -> list[NDArray[np.int64]]:
    """The limbs of values in [0, 2^(11·limbs))."""
    return [(values >> (LIMB_BITS * index)) & ((1 << LIMB_BITS) - 1) for index in range(limbs)]


# Checks


def require_bytes(name: str, value: bytes) -> None:
    """Raise InputError unless `value` is bytes."""
    if not isinstance(value, bytes):
        raise InputError(f"{name} is not a string of bytes.", "Pass its canonical encoding.")


def require_32_bytes(name: str, value: bytes) -> None:
    """Raise InputError unless `value` is 32 bytes."""
    if not isinstance(value, bytes) or len(value) != 32:
        raise InputError(f"{name} is not a string of 32 bytes.", "Pass exactly 32 bytes.")


def check_public(context: bytes, beacon: bytes, slot: bytes, sigma: int) -> None:
    """What every statement about a round begins with; InputError, or VerificationError `sigma_supported`."""
    require_bytes("context", context)
    require_32_bytes("beacon", beacon)
    require_32_bytes("slot", slot)
    check_sigma(sigma)


def check_sigma(sigma: int) -> None:
    """Raise VerificationError `sigma_supported` unless there is a sampler for σ."""
    if type(sigma) is not int or sigma not in SIGMAS:
        raise VerificationError(
            "sigma_supported", f"sigma is {sigma}.", f"Choose one of {', '.join(map(str, SIGMAS))}."
        )


def check_vector(name: str, vector: NDArray[np.int64], bound: int) -> None:
    """Raise VerificationError `update_encoding` or `update_range` for a vector that a proof cannot hold.

    bound: what every entry must stay below in absolute value.
    """
    encoded = isinstance(vector, np.ndarray) and vector.dtype == np.int64 and vector.ndim == 1
    if not encoded or not 1 <= len(vector) <= MAX_DIMENSION:
        raise VerificationError(
            "update_encoding",
            f"the {name} is not a vector of 1 to {MAX_DIMENSION} signed 64-bit integers.",
            "Convert it to numpy int64 with one axis.",
        )
    if vector.max() >= bound or vector.min() <= -bound:
        raise VerificationError(
            "update_range",
            f"an entry of the {name} is not below {bound} in absolute value.",
            "Use a coarser scale.",
        )


def check_count(points: Sequence[bytes], expected: int) -> None:
    """Raise VerificationError `commitment_count` unless there are so many commitments."""
    if not isinstance(points, Sequence):
        raise VerificationError("commitment_count", "the commitments are not a sequence.")
    if len(points) != expected:
        raise VerificationError("commitment_count", f"{len(points)} commitments instead of {expected}.")


def decode_commitments(names: Sequence[str], points: Sequence[bytes]) -> dict[str, G1Point]:
    """Commitments by column; VerificationError `commitment_count` or `point_encoding`."""
    check_count(points, len(names))
    try:
        return {name: kzg.decode_point(data) for name, data in zip(names, points, strict=True)}
    except ValueError as error:
        raise VerificationError("point_encoding", f"a commitment is invalid: {error}.") from error


def _blocks(dimension: int, sigma: int) -> list[str]:
    levels = range(len(sampler(sigma).steps))
    return [f"{page},{level}" for page in range(len(page_sizes(dimension))) for level in levels]


def _limb_names(name: str) -> list[str]:
    return [f"{name}_{index}" for index in range(LIMBS)]


def _low_bits(stream: bytes, sigma: int) -> NDArray[np.uint64]:
    mask = np.uint64((1 << sampler(sigma).bits) - 1)
    return np.frombuffer(stream, dtype="<u8").astype(np.uint64) & mask
