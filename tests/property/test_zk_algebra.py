"""Laws of the field, the domain, expressions, encodings and the transcript."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_arkworks_bls12381 import G1Point

from intertwine.zk import domain, field, kzg
from intertwine.zk.expression import Cell, Challenge, Constant, Expression
from intertwine.zk.field import MODULUS
from intertwine.zk.randomness import Randomness
from intertwine.zk.transcript import Transcript

elements = st.integers(0, MODULUS - 1)
outside_the_domain = elements.filter(domain.vanishing_at)
few = settings(max_examples=10, deadline=None)


@given(elements)
def test_scalar_encoding_round_trip(value: int) -> None:
    assert field.decode(field.encode(value)) == value
    assert field.encode(value + MODULUS) == field.encode(value) == field.encode(value - MODULUS)


@given(st.binary(max_size=40))
def test_scalar_decoding_is_strict(data: bytes) -> None:
    try:
        value = field.decode(data)
    except ValueError:
        assert len(data) != 32 or int.from_bytes(data, "little") >= MODULUS
    else:
        assert field.encode(value) == data


@given(st.integers(MODULUS, 2**256 - 1))
def test_unreduced_scalar_refused(value: int) -> None:
    with pytest.raises(ValueError, match="canonical"):
        field.decode(value.to_bytes(32, "little"))


@given(st.lists(elements.filter(bool), max_size=20))
def test_batch_inverse(values: list[int]) -> None:
    inverses = field.batch_inverse(values)
    assert [value * inverse % MODULUS for value, inverse in zip(values, inverses, strict=True)] == [1] * len(
        values
    )


@given(st.lists(elements, max_size=5), st.lists(elements, max_size=5))
def test_batch_inverse_refuses_zero(left: list[int], right: list[int]) -> None:
    with pytest.raises(ZeroDivisionError):
        field.batch_inverse([*left, 0, *right])


@given(elements.filter(bool))
def test_point_encoding_round_trip(value: int) -> None:
    data = kzg.encode_point(G1Point() * kzg.scalar(value))
    assert kzg.encode_point(kzg.decode_point(data)) == data


@given(st.binary(min_size=48, max_size=48))
def test_point_decoding_is_strict(data: bytes) -> None:
    try:
        point = kzg.decode_point(data)
    except ValueError:
        return
    assert kzg.encode_point(point) == data and point.is_in_subgroup() and point != G1Point.identity()


def random_rows(seed: int, count: int = domain.SIZE) -> list[int]:
    source = random.Random(seed)  # noqa: S311 -- test data
    return [source.randrange(MODULUS) for _ in range(count)]


@few
@given(st.integers(0, 2**32), st.integers(0, domain.SIZE - 1), st.integers(0, domain.SIZE))
def test_interpolation(seed: int, row: int, count: int) -> None:
    rows = random_rows(seed, count)
    column = domain.interpolate(rows)
    assert column.degree() < domain.SIZE
    assert int(column(domain.ROOTS[row])) == (rows[row] if row < count else 0)


@few
@given(st.integers(0, 2**32), outside_the_domain)
def test_rotation_and_lagrange_evaluation(seed: int, point: int) -> None:
    rows = random_rows(seed)
    column = domain.interpolate(rows)
    assert field.inner_product(rows, domain.lagrange_at(point)) == int(column(point))
    shifted = rows[1:] + rows[:1]
    assert domain.rotate(column) == domain.interpolate(shifted)
    assert int(domain.rotate(column)(point)) == int(column(point * domain.OMEGA % MODULUS))


@given(st.integers(0, domain.SIZE - 1))
@settings(max_examples=5, deadline=None)
def test_lagrange_refuses_points_of_the_domain(row: int) -> None:
    assert domain.vanishing_at(domain.ROOTS[row]) == 0
    with pytest.raises(ZeroDivisionError):
        domain.lagrange_at(domain.ROOTS[row])


@few
@given(st.integers(0, 2**32), st.integers(0, 4 * domain.SIZE), outside_the_domain)
def test_division_by_vanishing(seed: int, count: int, point: int) -> None:
    dividend = field.polynomial(random_rows(seed, count))
    quotient, remainder = domain.divide_by_vanishing(dividend)
    assert remainder.degree() < domain.SIZE
    assert quotient(point) * domain.vanishing_at(point) + remainder(point) == dividend(point)


leaves = st.sampled_from([Cell("a"), Cell("b"), Cell("a", 1), Challenge("c"), Constant(3), Constant(-1)])
expressions = st.recursive(
    leaves,
    lambda inner: st.tuples(inner, inner, st.sampled_from("+-*")).map(
        lambda parts: combine(*parts),
    ),
    max_leaves=8,
)


def combine(left: Expression, right: Expression, operator: str) -> Expression:
    if operator == "+":
        return left + right
    return left - right if operator == "-" else left * right


@given(expressions, st.tuples(elements, elements, elements, elements), elements)
def test_expressions_mean_the_same_in_every_ring(
    expression: Expression, values: tuple[int, int, int, int], point: int
) -> None:
    """Evaluating on polynomials and then at a point is evaluating on the polynomials' values there."""
    first, second, third, challenge = values
    polynomials = {
        Cell("a"): field.polynomial([first, second]),
        Cell("b"): field.polynomial([second, third, first]),
        Cell("a", 1): field.polynomial([third]),
        Challenge("c"): field.element(challenge),
    }

    def at_point(leaf: Any) -> int:
        value = polynomials[leaf]
        return int(value) if isinstance(leaf, Challenge) else int(value(point))

    def as_polynomial(leaf: Any) -> Any:
        return polynomials[leaf]

    symbolic = field.polynomial([0]) + expression.evaluate(as_polynomial)
    assert int(symbolic(point)) == expression.evaluate(at_point) % MODULUS
    assert symbolic.degree() <= 2 * expression.degree()


items = st.lists(st.tuples(st.text("abc", max_size=3), st.binary(max_size=5)), max_size=5)


def transcript_of(content: list[tuple[str, bytes]]) -> Transcript:
    transcript = Transcript(b"test")
    for label, data in content:
        transcript.absorb(label, data)
    return transcript


@given(items, items)
def test_transcript_separates_different_histories(
    left: list[tuple[str, bytes]], right: list[tuple[str, bytes]]
) -> None:
    same = left == right
    assert (transcript_of(left).digest() == transcript_of(right).digest()) == same
    assert (transcript_of(left).challenge("x") == transcript_of(right).challenge("x")) == same


@given(items)
def test_transcript_challenges_differ(content: list[tuple[str, bytes]]) -> None:
    transcript = transcript_of(content)
    challenges = [transcript.challenge(name) for name in ("x", "y", "x")]
    assert len(set(challenges)) == 3 and all(0 <= value < MODULUS for value in challenges)
    other = transcript_of(content)
    assert other.challenge("x") == challenges[0] != transcript_of(content).challenge("y")


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_transcript_separates_lists(left: list[bytes], right: list[bytes]) -> None:
    first, second = Transcript(b"test"), Transcript(b"test")
    for transcript, (head, tail) in ((first, (left, right)), (second, (right, left))):
        transcript.absorb_all("list", head)
        transcript.absorb_all("list", tail)
    assert (first.digest() == second.digest()) == (left == right)


@given(st.binary(max_size=4), st.binary(max_size=4), st.text("ab", max_size=3))
def test_randomness_separates_keys_and_labels(left: bytes, right: bytes, label: str) -> None:
    base = Randomness(left, right)
    assert base.scalars(label, 2) == Randomness(left, right).scalars(label, 3)[:2]
    assert base.stream(label, 32) != Randomness(left + right).stream(label, 32)
    assert base.stream(label, 32) != base.stream(label + "a", 32)
    if left != right:
        assert base.stream(label, 32) != Randomness(right, left).stream(label, 32)
