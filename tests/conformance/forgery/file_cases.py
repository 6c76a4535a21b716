"""Bytes that are no proof file."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.conformance.forgery.cases import UNUSABLE, add
from tests.conformance.forgery.honest_cases import honest


def without(name: str) -> Callable[[bytes], bytes]:
    return lambda good: canonical({key: value for key, value in json.loads(good).items() if key != name})


def having(**fields: Any) -> Callable[[bytes], bytes]:
    return lambda good: canonical({**json.loads(good), **fields})


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


NOT_FILES: tuple[tuple[str, str, Callable[[bytes], bytes]], ...] = (
    ("empty", "There is nothing in the file.", lambda good: b""),
    ("cut", "The file lacks its last byte.", lambda good: good[:-1]),
    ("newline", "A newline follows.", lambda good: good + b"\n"),
    ("spaces", "There is a space after a colon.", lambda good: good.replace(b":", b": ", 1)),
    ("key-twice", "A key occurs twice.", lambda good: b'{"beacon":"00",' + good[1:]),
    ("escape", "A letter is escaped.", lambda good: good.replace(b'"release"', b'"rele\\u0061se"')),
    ("upper-case", "A byte is in upper-case hexadecimal.", having(context="0A")),
    ("odd-digits", "Half a byte is missing.", having(context="abc")),
    ("float", "A number has a fraction.", having(norm_bound=400.5)),
    ("text-number", "A number is text.", having(norm_bound="400")),
    ("true-number", "A number is a truth value.", having(norm_bound=True)),
    ("large-number", "A number is 2^53.", having(norm_bound=2**53)),
    ("short-point", "A point has 47 bytes.", having(gradient=["ab" * 47])),
    ("short-beacon", "The beacon has 31 bytes.", having(beacon="ab" * 31)),
    ("long-context", "The context has 65537 bytes.", having(context="00" * 65537)),
    ("missing-field", "The slot is missing.", without("slot")),
    ("missing-version", "The version is missing.", without("version")),
    ("unknown-field", "There is a field that no release has.", having(rows=1)),
    ("other-version", "The version is another one.", having(version="intertwine/proof/2")),
    ("other-statement", "There is no such statement.", having(statement="trust")),
    ("list", "The file is a list.", lambda good: b"[" + good + b"]"),
)


def spoiled(change: Callable[[bytes], bytes]) -> bytes:
    return change(honest("release", "two-levels").data)


for variant, why, change in NOT_FILES:
    add("release", "not_a_file", UNUSABLE, why, partial(spoiled, change), variant=variant)
