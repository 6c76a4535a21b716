"""The structured reference string: powers of a secret τ in G1, from Ethereum's KZG ceremony (PROVENANCE.md).

Exactly 4096 powers in G1 are known to anyone, so a committed polynomial has degree at most 4095: never load a
longer string for the same τ. The file's digest is checked at every load; the pairing checks on its points run
once per machine and leave an empty marker file named by the digest.
"""

import contextlib
import hashlib
import os
import secrets
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path

from py_arkworks_bls12381 import GT, G1Point, G2Point

from intertwine.protocols.errors import VerificationError
from intertwine.zk import domain, field
from intertwine.zk.kzg import POINT_BYTES, multiexp

DIGEST = "5aefd83bf05f874e9fde509c79d03ee4af53ede1fa15d1a61af3313d7ffae24c"
"""SHA-256 of reference_string.bin."""

_G1_BYTES = domain.SIZE * POINT_BYTES
_G2_BYTES = 96


@dataclass(frozen=True)
class ReferenceString:
    """The points: `lagrange[i]` commits to row i, `powers[i]` to X^i; [1] and [τ] of G2 serve the pairing."""

    data: bytes

    @cached_property
    def lagrange(self) -> list[G1Point]:
        """4096 commitments to the Lagrange polynomials of the domain, in the order of its rows."""
        return self._points(0)

    @cached_property
    def powers(self) -> list[G1Point]:
        """4096 commitments [τ^i], i = 0..4095."""
        return self._points(_G1_BYTES)

    @cached_property
    def g2(self) -> G2Point:
        """The generator of G2."""
        return G2Point()

    @cached_property
    def g2_tau(self) -> G2Point:
        """[τ] in G2."""
        return G2Point.from_compressed_bytes(self.data[2 * _G1_BYTES + _G2_BYTES :])

    def _points(self, start: int) -> list[G1Point]:
        stops = range(start, start + _G1_BYTES, POINT_BYTES)
        return [G1Point.from_compressed_bytes_unchecked(self.data[i : i + POINT_BYTES]) for i in stops]


@cache
def load() -> ReferenceString:
    """The shipped reference string; VerificationError `reference_string` if it is not the published one."""
    data = resources.files(__package__).joinpath("reference_string.bin").read_bytes()
    if hashlib.sha256(data).hexdigest() != DIGEST:
        raise _refused("its digest is not the pinned one")
    marker = cache_folder() / f"reference-string-{DIGEST}.checked"
    if not marker.exists():
        check_points(data)
        with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch(mode=0o600)
    return ReferenceString(data)


def check_points(data: bytes) -> None:
    """Check every point, by two random linear combinations (error below 2^-250); raises VerificationError.

    All points lie in their subgroups; consecutive powers differ by the factor τ of G2; the Lagrange points
    are those of the powers on the domain, in the order of its rows.
    """
    if len(data) != 2 * (_G1_BYTES + _G2_BYTES):
        raise _refused("its length is wrong")
    try:
        points = [
            G1Point.from_compressed_bytes(data[i : i + POINT_BYTES])
            for i in range(0, 2 * _G1_BYTES, POINT_BYTES)
        ]
        g2, g2_tau = (G2Point.from_compressed_bytes(part) for part in (data[-192:-96], data[-96:]))
    except ValueError as error:
        raise _refused("it contains an invalid point") from error
    lagrange, powers = points[: domain.SIZE], points[domain.SIZE :]
    weights = [secrets.randbelow(field.MODULUS) for _ in range(domain.SIZE)]
    lower, upper = multiexp(powers[:-1], weights[:-1]), multiexp(powers[1:], weights[:-1])
    if powers[0] != G1Point() or g2 != G2Point() or not GT.pairing_check([upper, -lower], [g2, g2_tau]):
        raise _refused("its powers are not the powers of one secret")
    coefficients = [int(value) for value in domain.interpolate(weights).coeffs()]
    if multiexp(lagrange, weights) != multiexp(powers[: len(coefficients)], coefficients):
        raise _refused("its Lagrange points do not belong to its powers")


def cache_folder() -> Path:
    """Where what was once found right is noted down, so that it need not be checked again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "intertwine"


def _refused(problem: str) -> VerificationError:
    return VerificationError(
        "reference_string", f"reference_string.bin cannot be used: {problem}.", "Reinstall intertwine."
    )
