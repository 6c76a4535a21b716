"""Canonical bytes: one encoding for each value, so that a digest names exactly one document.

A document is UTF-8 JSON with sorted keys, no white space and no floating-point numbers (real quantities
are decimal strings). `decode` accepts only bytes that `encode` would have produced.
"""

import hashlib
import json
from typing import Any

import numpy as np

from intertwine.protocols.errors import InputError

MAX_DOCUMENT_BYTES = 1 << 20
MAX_DEPTH = 16
MAX_INTEGER = 2**53 - 1
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")
"""From brackets to the change of depth, as signed bytes."""


def encode(value: Any) -> bytes:
    """Return the canonical bytes of a JSON value; TypeError for floats, ValueError for big integers."""
    _check(value, 0)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def decode(data: bytes, limit: int = MAX_DOCUMENT_BYTES) -> Any:
    """Parse canonical bytes of depth 16 at most; limit: bytes allowed. InputError for anything else."""
    if len(data) > limit:
        raise InputError(f"A document of {len(data)} bytes is larger than {limit}.")
    if nesting(data) > MAX_DEPTH:
        raise InputError(f"A document is nested deeper than {MAX_DEPTH} levels.")
    try:
        value = json.loads(data)
        canonical = encode(value)
    except (ValueError, TypeError) as error:
        raise InputError("A document is not canonical JSON.", "Ask its sender for the original.") from error
    if canonical != data:
        raise InputError("A document is not in canonical form.", "Ask its sender for the original bytes.")
    return value


def sha256(data: bytes) -> str:
    """SHA-256 as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def tagged_digest(tag: str, *parts: bytes) -> bytes:
    """SHA-256 of a domain tag and length-prefixed parts, 32 bytes."""
    return hashlib.sha256(length_prefixed(tag.encode(), *parts)).digest()


def length_prefixed(*parts: bytes) -> bytes:
    """Concatenate parts, each behind its length as 8 little-endian bytes: an injective encoding."""
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def nesting(data: bytes) -> int:
    """How deep brackets nest outside strings: to be asked before a parser recurses.

    The parser's own guard is the interpreter's recursion limit, which any library may raise above what the
    stack can bear. It stops at a backslash outside a string, so those may be taken for escapes.
    """
    unescaped = data.replace(rb"\\", b"").replace(rb"\"", b"")
    outside = b"".join(unescaped.split(b'"')[::2])
    steps = np.frombuffer(outside.translate(_STEPS, _OTHERS), dtype=np.int8)
    return int(np.cumsum(steps, dtype=np.int64).max(initial=0))


def _check(value: Any, depth: int) -> None:
    """Raise unless `value`, inside `depth` lists and objects, has a canonical form."""
    if value is None or isinstance(value, bool | str):
        return
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise ValueError("integer beyond 2^53 - 1")
    elif not isinstance(value, list | dict):
        raise TypeError(f"{type(value).__name__} has no canonical form")
    elif depth == MAX_DEPTH:
        raise ValueError("nested too deeply")
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    else:
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError("object keys must be strings")
            _check(item, depth + 1)
