"""Fiat–Shamir: every challenge is a hash of everything that was said before it.

A transcript is one SHAKE256 stream of items, each preceded by the lengths of its label and of its data, so
that no two sequences of items give the same stream.
"""

import hashlib
from collections.abc import Iterable

from intertwine.protocols.encoding import length_prefixed
from intertwine.zk import field


class Transcript:
    """What prover and verifier absorb alike, and the challenges that follow from it."""

    def __init__(self, domain_tag: bytes) -> None:
        self._stream = hashlib.shake_256()
        self.absorb("protocol", domain_tag)

    def absorb(self, label: str, data: bytes) -> None:
        """Append one item."""
        self._stream.update(length_prefixed(label.encode("ascii"), data))

    def absorb_all(self, label: str, items: Iterable[bytes]) -> None:
        """Append a list of items and, before them, how many there are."""
        items = list(items)
        self.absorb(label, len(items).to_bytes(8, "little"))
        for item in items:
            self.absorb(label, item)

    def challenge(self, label: str) -> int:
        """A field element that depends on everything absorbed so far, and on earlier challenges' labels."""
        self.absorb("challenge", label.encode("ascii"))
        return field.reduce_uniform(self._stream.copy().digest(64))

    def digest(self) -> bytes:
        """32 bytes that identify everything absorbed so far."""
        return self._stream.copy().digest(32)
