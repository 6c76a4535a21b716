"""Envelopes that are wrong in some way, and how a receiver takes them.

Half of them are damaged as bytes: flipped, cut, spliced, with lengths that lie. The others are well-formed
documents with a value, a type or a name changed, of which some are signed anew, so that they reach the checks
behind the signature.
"""

import json
import random
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from intertwine.protocols.envelope import Envelope
from intertwine.protocols.errors import IntertwineError
from intertwine.protocols.signing import SigningKey

_LARGE = 1 << 23
_BOMB_BYTES = 1 << 17
_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1.5, 2**53, 2**70, float("nan")),
    *("", "a", "A" * 64, "0" * 64, "f" * 96, "\x00", "\ud800", "é" * 500, "../../etc", "1e-400"),
    *([], {}, [[]], {"": []}, [0] * 5000, {"kind": "CommitRequest"}),
)


@dataclass
class Fuzzer:
    """Makes wrong envelopes from right ones. messages: the right ones; key: that of their author."""

    messages: Sequence[bytes]
    key: SigningKey
    generator: random.Random

    def __post_init__(self) -> None:
        limits = (_LARGE, _LARGE)
        self._envelopes = [Envelope.from_bytes(message, limits) for message in self.messages]
        self._damages = (self._flip, self._cut, self._splice, self._lie, self._repeat)
        self._changes = (self._retype, self._sign_anew, self._nest, self._attach, self._not_canonical)

    def envelopes(self, count: int) -> Iterator[bytes]:
        """So many wrong envelopes; the same ones for the same messages and seed."""
        for _ in range(count):
            yield self.generator.choice(self.generator.choice((self._damages, self._changes)))()

    # Bytes

    def _flip(self) -> bytes:
        data = bytearray(self._message())
        for _ in range(self.generator.choice((1, 1, 2, 16))):
            data[self.generator.randrange(len(data))] ^= 1 << self.generator.randrange(8)
        return bytes(data)

    def _cut(self) -> bytes:
        data = self._message()
        return data[: self.generator.randrange(len(data))]

    def _splice(self) -> bytes:
        first, second = self._message(), self._message()
        return first[: self._place(first)] + second[self._place(second) :]

    def _lie(self) -> bytes:
        """A length that is too small, too large, or as large as can be."""
        envelope = self._envelope()
        data, place = bytearray(envelope.to_bytes()), self.generator.choice((4, 9 + len(envelope.document)))
        struct.pack_into(
            "<I", data, min(place, len(data) - 4), self.generator.choice((0, 1, 2**31, 2**32 - 1))
        )
        return bytes(data)

    def _repeat(self) -> bytes:
        data = self._message()
        place, length = self._place(data), self.generator.choice((1, 4, 100))
        return data[:place] + data[place : place + length] * 2 + data[place + length :]

    # Documents

    def _retype(self) -> bytes:
        envelope = self._envelope()
        changed = self._changed(json.loads(envelope.document))
        return Envelope(_encode(changed), envelope.attachments).to_bytes()

    def _sign_anew(self) -> bytes:
        envelope = self._envelope()
        document = json.loads(envelope.document)
        document["body"] = self._changed(document["body"])
        document["signature"] = self.key.sign(document["kind"], _encode(document["body"]))
        return Envelope(_encode(document), envelope.attachments).to_bytes()

    def _nest(self) -> bytes:
        """Brackets: as deep as they go, side by side, or in a field."""
        envelope = self._envelope()
        bracket = self.generator.choice((b"[", b'{"a":', b"[]," * 2, b'"', b'\\"'))
        bomb = bracket * (_BOMB_BYTES // len(bracket))
        if self.generator.random() < 0.5:
            return Envelope(bomb, envelope.attachments).to_bytes()
        return Envelope(envelope.document.replace(b'"body":', b'"body":' + bomb, 1)).to_bytes()

    def _attach(self) -> bytes:
        """Attachments that are missing, too many, empty, too large, or another's."""
        envelope, size = self._envelope(), self.generator.choice((0, 1, 7, 8, 4096, 1 << 20))
        count = self.generator.choice((0, 1, 2, 3, 255))
        return Envelope(envelope.document, (bytes(size if count < 4 else 1),) * count).to_bytes()

    def _not_canonical(self) -> bytes:
        envelope = self._envelope()
        document = json.loads(envelope.document)
        text = self.generator.choice(
            (
                json.dumps(document),
                json.dumps(document, indent=1),
                json.dumps(dict(reversed(document.items())), separators=(",", ":")),
                envelope.document.decode().replace("{", '{"kind":"Plan",', 1),
            )
        )
        return Envelope(text.encode(), envelope.attachments).to_bytes()

    # Parts

    def _message(self) -> bytes:
        return self.generator.choice(self.messages)

    def _envelope(self) -> Envelope:
        return self.generator.choice(self._envelopes)

    def _place(self, data: bytes) -> int:
        return self.generator.randrange(len(data))

    def _changed(self, document: dict[str, Any]) -> dict[str, Any]:
        """The document with something else in the place of one of its values, or a field more or less."""
        parents = list(_containers(document))
        parent = self.generator.choice(parents)
        keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        if not keys:
            return document
        key = self.generator.choice(keys)
        kind = self.generator.random()
        if kind < 0.1:
            del parent[key]
        elif kind < 0.2 and isinstance(parent, dict):
            parent["extra"] = self.generator.choice(_VALUES)
        elif kind < 0.5 and isinstance(parent[key], str | int):
            parent[key] = self._near(parent[key])
        else:
            parent[key] = self.generator.choice(_VALUES)
        return document

    def _near(self, value: str | int) -> str | int:
        """Another value of the same form."""
        if isinstance(value, int):
            return value + self.generator.choice((-1, 1, 1000))
        if not value:
            return "0" * 64
        place = self.generator.randrange(len(value))
        return value[:place] + self.generator.choice("0123456789abcdef-") + value[place + 1 :]


@dataclass
class Reception:
    """How a receiver took what it was sent. crashes: errors that are not ours; slowest_s: processor time."""

    taken: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    crashes: list[str] = field(default_factory=list)

    def receive(self, receiver: Callable[[bytes], object], message: bytes) -> None:
        """Hand one message over. A slow one is tried again, to see that the message is what is slow."""
        seconds = self._once(receiver, message)
        for _ in range(2):
            if seconds > self.slowest_s:
                seconds = min(seconds, Reception()._once(receiver, message))
        self.slowest_s = max(self.slowest_s, seconds)

    def _once(self, receiver: Callable[[bytes], object], message: bytes) -> float:
        began = time.thread_time()
        try:
            receiver(message)
            self.taken += 1
        except IntertwineError:
            self.refused += 1
        except Exception as error:
            self.crashes.append(f"{type(error).__name__}: {error} for {message[:200]!r}")
        return time.thread_time() - began


def _encode(document: Any) -> bytes:
    """JSON in our order and spacing, also of values that no document may have."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode(errors="surrogatepass")


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from _containers(item)
