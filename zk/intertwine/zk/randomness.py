"""Deterministic secret randomness: the same secret, statement and witness give the same bytes.

A prover that draws fresh randomness at each retry spends hiding at each retry; one that derives it repeats
itself.
"""

import hashlib

from intertwine.protocols.encoding import length_prefixed
from intertwine.zk import field


class Randomness:
    """A pseudo-random function keyed by all parts it was made from; one stream of field elements a label."""

    def __init__(self, *parts: bytes) -> None:
        self._key = hashlib.shake_256(length_prefixed(b"intertwine/zk/randomness/1", *parts))

    def stream(self, label: str, length: int) -> bytes:
        """`length` bytes for this label."""
        keyed = self._key.copy()
        keyed.update(length_prefixed(label.encode("ascii")))
        return keyed.digest(length)

    def scalars(self, label: str, count: int) -> list[int]:
        """`count` uniform field elements for this label."""
        data = self.stream(label, 64 * count)
        return [field.reduce_uniform(data[64 * index : 64 * index + 64]) for index in range(count)]
