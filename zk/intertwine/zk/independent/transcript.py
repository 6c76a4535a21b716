"""The Fiat–Shamir transcript (`ARGUMENT.md` section 3): one SHAKE256 stream."""

import hashlib
from collections.abc import Sequence
from typing import TypeAlias

from intertwine.zk.independent.domain import MODULUS

Input: TypeAlias = bytes | str | int | Sequence[bytes] | Sequence[int]


def number(value: int) -> bytes:
    """8 bytes, little-endian, two's complement."""
    return value.to_bytes(8, "little", signed=True)


class Transcript:
    """Everything that was said so far; challenges depend on all of it."""

    def __init__(self) -> None:
        self._stream = hashlib.shake_256()

    def absorb(self, label: str, value: Input) -> None:
        """Append bytes, ASCII text, a number, or a list (its length, then each item) under one label."""
        if isinstance(value, bytes):
            for part in (label.encode("ascii"), value):
                self._stream.update(number(len(part)) + part)
        elif isinstance(value, str):
            self.absorb(label, value.encode("ascii"))
        elif isinstance(value, int):
            self.absorb(label, number(value))
        else:
            self.absorb(label, len(value))
            for item in value:
                self.absorb(label, item)

    def challenge(self, name: str) -> int:
        """A scalar: 64 bytes of the stream so far, little-endian, mod r."""
        self.absorb("challenge", name)
        return int.from_bytes(self._stream.digest(64), "little") % MODULUS
