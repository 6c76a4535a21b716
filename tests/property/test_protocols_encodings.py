"""Encodings are injective and strict; trees agree with a computation of their own; epsilon behaves."""

import hashlib
import json
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from intertwine.protocols.accounting import epsilon
from intertwine.protocols.aggregation import aggregate, update_from_bytes, update_to_bytes
from intertwine.protocols.encoding import MAX_INTEGER, decode, encode, length_prefixed
from intertwine.protocols.envelope import Envelope
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.merkle import Tree, leaf_hash, verify_consistency, verify_inclusion

lean = settings(max_examples=60, deadline=None)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
scalars = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
updates = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=8)


@lean
@given(values)
def test_decoding_inverts_encoding(value: object) -> None:
    assert decode(encode(value)) == value


@lean
@given(st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()))
def test_whatever_decodes_is_the_encoding_of_its_value(data: bytes) -> None:
    try:
        value = decode(data)
    except InputError:
        return
    assert encode(value) == data


@lean
@given(st.lists(st.binary(max_size=5), max_size=4), st.lists(st.binary(max_size=5), max_size=4))
def test_length_prefix_is_injective(left: list[bytes], right: list[bytes]) -> None:
    assert (length_prefixed(*left) == length_prefixed(*right)) == (left == right)


@lean
@given(st.binary(max_size=20), st.lists(st.binary(max_size=20), max_size=3))
def test_envelope_round_trip(document: bytes, attachments: list[bytes]) -> None:
    envelope = Envelope(document, tuple(attachments))
    assert Envelope.from_bytes(envelope.to_bytes(), [20] * 3) == envelope


@lean
@given(st.binary(max_size=40).map(lambda tail: b"ITW1" + tail))
def test_envelope_parser_refuses_or_inverts(data: bytes) -> None:
    try:
        envelope = Envelope.from_bytes(data, [20] * 3)
    except InputError:
        return
    assert envelope.to_bytes() == data


def naive_root(entries: list[bytes]) -> bytes:
    """RFC 9162's other description: join neighbours level by level, an odd one out moves up as it is."""
    level = [hashlib.sha256(b"\0" + entry).digest() for entry in entries]
    while len(level) > 1:
        pairs = [level[index : index + 2] for index in range(0, len(level), 2)]
        level = [
            hashlib.sha256(b"\1" + b"".join(pair)).digest() if len(pair) == 2 else pair[0] for pair in pairs
        ]
    return level[0]


@lean
@given(st.lists(st.binary(max_size=4), min_size=1, max_size=40))
def test_root_matches_a_computation_of_its_own(entries: list[bytes]) -> None:
    assert Tree(leaf_hash(entry) for entry in entries).root(len(entries)) == naive_root(entries)


@lean
@given(st.integers(1, 40), st.data())
def test_inclusion_proofs_verify_for_their_entry_only(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(b"%d" % index) for index in range(size)]
    tree = Tree([*leaves, leaf_hash(b"later")])
    index, claimed = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size - 1))
    path, root = tree.inclusion(index, size), tree.root(size)
    assert len(path) <= max(1, math.ceil(math.log2(size))) if size > 1 else not path
    try:
        verify_inclusion(leaves[index], claimed, size, path, root)
        verified = True
    except VerificationError:
        verified = False
    assert verified == (index == claimed)


@lean
@given(st.integers(1, 40), st.data())
def test_consistency_proofs_verify_for_their_prefix_only(size: int, data: st.DataObject) -> None:
    old, fork = data.draw(st.integers(1, size)), data.draw(st.integers(0, size - 1))
    leaves = [leaf_hash(b"%d" % index) for index in range(size)]
    tree = Tree(leaves)
    forked = Tree([*leaves[:fork], leaf_hash(b"fork"), *leaves[fork + 1 :]])
    path = tree.consistency(old, size)
    verify_consistency(old, tree.root(old), size, tree.root(size), path)
    try:
        verify_consistency(old, forked.root(old), size, tree.root(size), path)
        verified = True
    except VerificationError:
        verified = False
    assert verified == (fork >= old)


@lean
@given(updates)
def test_update_round_trip(update: list[int]) -> None:
    array = np.array(update, dtype=np.int64)
    assert update_from_bytes(update_to_bytes(array), len(update)).tolist() == update


@lean
@given(st.lists(st.lists(st.integers(-(2**20), 2**20), min_size=3, max_size=3), max_size=6), st.randoms())
def test_aggregate_does_not_depend_on_the_order(rows: list[list[int]], random: object) -> None:
    arrays = [np.array(row, dtype=np.int64) for row in rows]
    shuffled = list(arrays)
    random.shuffle(shuffled)
    expected = [sum(column) for column in zip(*rows, strict=True)] or [0, 0, 0]
    assert aggregate(arrays, 3).tolist() == aggregate(shuffled, 3).tolist() == expected


@lean
@given(st.floats(1e-6, 1e3), st.floats(1.01, 10), st.floats(1e-12, 0.1))
def test_epsilon_grows_with_rho_and_stays_below_the_simple_bound(
    rho: float, factor: float, delta: float
) -> None:
    """Bun and Steinke 2016, proposition 1.3: rho + 2 sqrt(rho log 1/delta)."""
    value = epsilon(rho, delta)
    assert 0 <= value <= epsilon(rho * factor, delta)
    assert value <= rho + 2 * math.sqrt(rho * math.log(1 / delta)) + 1e-6
    assert epsilon(rho, delta / 2) >= value
