"""What a participant fixes before the beacon: commitments to its vector and its random bits."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import kzg, reference_string
from intertwine.zk.domain import ACTIVE_ROWS, BLINDING_ROWS
from intertwine.zk.randomness import Randomness
from intertwine.zk.release_circuit import add_bits, page_columns, page_sizes
from intertwine.zk.sampler import SIGMAS, sampler

MAX_DIMENSION = 131_072
"""Entries of a vector."""

MAX_ENTRY = 1 << 20
"""Entries of updates and gradients are below this in absolute value."""

MAX_PROOFS = 3
"""Distinct proofs for one commitment: each opens its columns once more, and seven random rows hide them."""

_BEACON_TAG = b"intertwine/beacon-bits/1"
_PURPOSE = b"release-noise"
_LEVEL = 0


@dataclass(frozen=True)
class Commitments:
    """One compressed G1 point of 48 bytes a page for the random bits r, and one for the vector g.

    Raises VerificationError `commitment_count` or `point_encoding` for anything else.
    """

    randomness: tuple[bytes, ...]
    gradient: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.randomness) == len(self.gradient) <= len(page_sizes(MAX_DIMENSION)):
            raise VerificationError("commitment_count", "randomness and gradient need equally many points.")
        try:
            for data in (*self.randomness, *self.gradient):
                kzg.decode_point(data)
        except ValueError as error:
            raise VerificationError("point_encoding", f"a commitment is invalid: {error}.") from error


class Opening:
    """The secret behind `commitments`: vector, random bits and blinding rows, derived from seed and vector.

    proven: digests of the statements proven with it so far. Keep it with seed and vector, and hand it back to
    `commit` after a restart, so that no more than MAX_PROOFS distinct proofs ever leave.
    """

    def __init__(
        self, gradient: NDArray[np.int64], sigma: int, seed: bytes, proven: Collection[bytes] = ()
    ) -> None:
        self.sigma = sigma
        self.gradient = gradient
        self.proven = frozenset(proven)
        self.secrets = (seed, sigma.to_bytes(8, "little"), gradient.astype("<i8").tobytes())
        source = Randomness(b"opening", *self.secrets)
        self.random_bits = _low_bits(source.stream("r", 8 * len(gradient)), sigma)
        self.columns = {
            **_blinded_pages("r", self.random_bits.tolist(), source),
            **_blinded_pages("g", gradient.tolist(), source),
        }
        self.commitments = Commitments(self._commit("r"), self._commit("g"))

    def __repr__(self) -> str:
        return f"Opening(dimension={len(self.gradient)}, sigma={self.sigma}, secrets hidden)"

    def register(self, statement_digest: bytes) -> None:
        """Count a statement before it is proven; InputError for one distinct statement too many."""
        if statement_digest not in self.proven and len(self.proven) >= MAX_PROOFS:
            raise InputError(
                f"this commitment has already served {MAX_PROOFS} distinct proofs.",
                "Resend an earlier proof, or let the slot fail and commit anew in the next one.",
            )
        self.proven |= {statement_digest}

    def _commit(self, name: str) -> tuple[bytes, ...]:
        lagrange = reference_string.load().lagrange
        columns = [column for label, column in self.columns.items() if label.startswith(f"{name}[")]
        return tuple(kzg.encode_point(kzg.commit_column(lagrange, column)) for column in columns)


def commit(gradient: NDArray[np.int64], sigma: int, seed: bytes, proven: Collection[bytes] = ()) -> Opening:
    """Fix a vector and its future noise.

    gradient: shape (d,), int64, |entries| < 2^20; seed: 32 secret bytes, fresh for every commitment; proven:
    see Opening. Raises InputError.
    """
    require_32_bytes("seed", seed)
    try:
        check_sigma(sigma)
        check_vector("gradient", gradient)
    except VerificationError as error:
        raise InputError(error.problem, error.remedy) from error
    return Opening(gradient.copy(), sigma, seed, proven)


def public_randomness(beacon: bytes, slot: bytes, dimension: int, sigma: int) -> NDArray[np.uint64]:
    """The bits b: shape (dimension,), uint64 below 2^B.

    Each page takes 8 bytes an entry, little-endian and cut to B bits, from SHAKE256(tag ‖ beacon ‖ slot ‖
    purpose ‖ level ‖ page).
    """
    require_32_bytes("beacon", beacon)
    require_32_bytes("slot", slot)
    prefix = _BEACON_TAG + beacon + slot + _PURPOSE + bytes([_LEVEL])
    stream = b"".join(
        hashlib.shake_256(prefix + page.to_bytes(4, "little")).digest(8 * size)
        for page, size in enumerate(page_sizes(dimension))
    )
    return _low_bits(stream, sigma)


def noise(opening: Opening, beacon: bytes, slot: bytes) -> NDArray[np.int64]:
    """The noise z, shape (d,), that commitment and beacon determine."""
    chosen = sampler(opening.sigma)
    shared = public_randomness(beacon, slot, len(opening.gradient), opening.sigma)
    return chosen.sample(add_bits(opening.random_bits, shared, chosen.bits))


def require_32_bytes(name: str, value: bytes) -> None:
    """Raise InputError unless `value` is 32 bytes."""
    if not isinstance(value, bytes) or len(value) != 32:
        raise InputError(f"{name} is not a string of 32 bytes.", "Pass exactly 32 bytes.")


def check_sigma(sigma: int) -> None:
    """Raise VerificationError `sigma_supported` unless there is a table for σ."""
    if type(sigma) is not int or sigma not in SIGMAS:
        raise VerificationError(
            "sigma_supported", f"sigma is {sigma}.", f"Choose one of {', '.join(map(str, SIGMAS))}."
        )


def check_vector(name: str, vector: NDArray[np.int64]) -> None:
    """Raise VerificationError `update_encoding` or `update_range` for a vector that a release cannot hold."""
    encoded = isinstance(vector, np.ndarray) and vector.dtype == np.int64 and vector.ndim == 1
    if not encoded or not 1 <= len(vector) <= MAX_DIMENSION:
        raise VerificationError(
            "update_encoding",
            f"the {name} is not a vector of 1 to {MAX_DIMENSION} signed 64-bit integers.",
            "Convert it to numpy int64 with one axis.",
        )
    if vector.max() >= MAX_ENTRY or vector.min() <= -MAX_ENTRY:
        raise VerificationError(
            "update_range",
            f"an entry of the {name} is not below 2^20 in absolute value.",
            "Use a coarser scale.",
        )


def _low_bits(stream: bytes, sigma: int) -> NDArray[np.uint64]:
    mask = np.uint64((1 << sampler(sigma).bits) - 1)
    return np.frombuffer(stream, dtype="<u8").astype(np.uint64) & mask


def _blinded_pages(name: str, values: list[int], source: Randomness) -> dict[str, list[int]]:
    """The pages of a vector as full columns: entries, zeros, random blinding rows."""
    return {
        label: [*page, *[0] * (ACTIVE_ROWS - len(page)), *source.scalars(label, BLINDING_ROWS)]
        for label, page in page_columns(name, values).items()
    }
