"""Framing of a message: one signed document and its binary attachments.

    "ITW1" | u32 document length | document | u8 attachment count | (u32 length | bytes)*

Integers are little-endian. Sizes are checked against the caller's limits before anything is copied.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from intertwine.protocols.encoding import MAX_DOCUMENT_BYTES
from intertwine.protocols.errors import InputError

_MAGIC = b"ITW1"


@dataclass(frozen=True)
class Envelope:
    """A document's canonical bytes and what is attached to it."""

    document: bytes
    attachments: tuple[bytes, ...] = ()

    def to_bytes(self) -> bytes:
        """The framed message."""
        parts = [_MAGIC, struct.pack("<I", len(self.document)), self.document]
        parts.append(struct.pack("<B", len(self.attachments)))
        for attachment in self.attachments:
            parts += [struct.pack("<I", len(attachment)), attachment]
        return b"".join(parts)

    def expect(self, count: int) -> tuple[bytes, ...]:
        """The attachments, if there are exactly `count`; InputError otherwise."""
        if len(self.attachments) != count:
            raise InputError(f"A message has {len(self.attachments)} attachments where {count} belong.")
        return self.attachments

    @classmethod
    def from_bytes(
        cls, data: bytes, attachment_limits: Sequence[int], document_limit: int = MAX_DOCUMENT_BYTES
    ) -> "Envelope":
        """Parse a message with at most these attachments, each of at most so many bytes.

        document_limit: bytes of the document; parsing takes a time in proportion to them. InputError for
        another frame, more attachments, larger parts, or bytes left over.
        """
        reader = _Reader(data)
        if reader.take(4) != _MAGIC:
            raise InputError(
                "A message does not start with the frame's mark.", "Use the same version on both ends."
            )
        document = reader.block(document_limit)
        count = reader.take(1)[0]
        if count > len(attachment_limits):
            raise InputError(f"A message has {count} attachments, more than {len(attachment_limits)}.")
        attachments = tuple(reader.block(limit) for limit in attachment_limits[:count])
        if not reader.exhausted:
            raise InputError("A message has bytes after its end.")
        return cls(document, attachments)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._position = 0

    @property
    def exhausted(self) -> bool:
        return self._position == len(self._data)

    def take(self, count: int) -> bytes:
        end = self._position + count
        if end > len(self._data):
            raise InputError("A message is cut off.")
        part = bytes(self._data[self._position : end])
        self._position = end
        return part

    def block(self, limit: int) -> bytes:
        (length,) = struct.unpack("<I", self.take(4))
        if length > limit:
            raise InputError(f"A part of a message has {length} bytes, more than the {limit} allowed.")
        return self.take(length)
