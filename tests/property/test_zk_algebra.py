"""Laws of the field, the domain, expressions, encodings and the transcript."""

import hashlib
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_arkworks_bls12381 import G1Point

from intertwine.zk import domain, field, kzg
from intertwine.zk.expression import Cell, Challenge, Constant, Expression
from intertwine.zk.field import MODULUS
from intertwine.zk.form import Form
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
    inverses = field.batch_inverse(field.array(values))
    assert len(inverses) == len(values)
    assert all(int(inverse) * value % MODULUS == 1 for value, inverse in zip(values, inverses, strict=True))


@given(st.lists(elements, max_size=5), st.lists(elements, max_size=5))
def test_batch_inverse_refuses_zero(left: list[int], right: list[int]) -> None:
    with pytest.raises(ZeroDivisionError):
        field.batch_inverse(field.array([*left, 0, *right]))


@given(st.lists(st.tuples(elements, elements.filter(bool)), min_size=1, max_size=20))
def test_sum_of_quotients(pairs: list[tuple[int, int]]) -> None:
    numerators, denominators = zip(*pairs, strict=True)
    expected = sum(top * pow(bottom, -1, MODULUS) for top, bottom in pairs) % MODULUS
    assert int(field.sum_of_quotients(field.array(numerators), field.array(denominators))) == expected


@given(st.lists(elements, max_size=5), st.lists(elements, max_size=5))
def test_sum_of_quotients_refuses_zero(left: list[int], right: list[int]) -> None:
    denominators = field.array([*left, 0, *right])
    with pytest.raises(ZeroDivisionError):
        field.sum_of_quotients(field.array(range(1, len(denominators) + 1)), denominators)


@given(elements, st.integers(1, 20))
def test_powers_and_inner_product(base: int, count: int) -> None:
    powers = field.powers(base, count)
    assert powers == [pow(base, index, MODULUS) for index in range(count)]
    assert field.inner_product(powers, [1] * 30) == sum(powers) % MODULUS


@given(elements.filter(bool))
def test_point_encoding_round_trip(value: int) -> None:
    data = kzg.encode_point(G1Point() * kzg.scalars([value])[0])
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
@given(st.integers(0, 2**32), outside_the_domain, st.integers(0, domain.SIZE))
def test_evaluation_from_rows(seed: int, point: int, count: int) -> None:
    """A column, shorter ones by the same evaluator, the next row at ω·point, and rows of inverses."""
    rows = random_rows(seed)
    evaluate, following = domain.Evaluator(point), domain.Evaluator(point * domain.OMEGA % MODULUS)
    assert evaluate(rows[:count]) == int(domain.interpolate(rows[:count])(point))
    assert evaluate(rows) == int(domain.interpolate(rows)(point))
    assert evaluate(rows[1:] + rows[:1]) == following(rows)
    inverses = [pow(value, -1, MODULUS) for value in rows[:500]]
    assert evaluate.inverses(field.array(rows[:500])) == evaluate(inverses)
    index = count % domain.SIZE
    assert evaluate.row(index) == evaluate([*[0] * index, 1])


@given(st.integers(0, domain.SIZE - 1))
@settings(max_examples=5, deadline=None)
def test_evaluation_refuses_points_of_the_domain(row: int) -> None:
    assert domain.vanishing_at(domain.ROOTS[row]) == 0
    with pytest.raises(ZeroDivisionError):
        domain.Evaluator(domain.ROOTS[row])([1] * domain.SIZE)


@few
@given(outside_the_domain)
def test_vanishing_polynomials(point: int) -> None:
    blinding = domain.blinding_vanishing()
    assert int(blinding(point)) == domain.blinding_vanishing_at(point) != 0
    assert blinding.degree() == domain.BLINDING_ROWS
    assert domain.blinding_vanishing_at(domain.ROOTS[domain.DATA_ROWS]) == 0
    assert domain.blinding_vanishing_at(domain.ROOTS[domain.DATA_ROWS - 1]) != 0


@few
@given(st.integers(0, 2**32), st.integers(0, 4 * domain.SIZE), outside_the_domain)
def test_division_by_vanishing(seed: int, count: int, point: int) -> None:
    dividend = field.polynomial(random_rows(seed, count))
    quotient, remainder = domain.divide_by_vanishing(dividend)
    assert remainder.degree() < domain.SIZE
    assert quotient(point) * domain.vanishing_at(point) + remainder(point) == dividend(point)


def test_too_many_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        domain.interpolate([0] * (domain.SIZE + 1))


sparse_rows = st.lists(st.integers(-(2**64), MODULUS), max_size=6)
form_steps = st.lists(
    st.tuples(st.sampled_from("+-*r"), st.integers(0, 2) | st.integers(-5, MODULUS)), max_size=5
)


def applied(operator: str, left: Any, right: Any) -> Any:
    """right - left for r, otherwise left with the operator's name and right."""
    if operator in "+*":
        return left + right if operator == "+" else left * right
    return left - right if operator == "-" else right - left


@few
@given(st.tuples(sparse_rows, sparse_rows, sparse_rows), form_steps)
def test_forms_calculate_like_polynomials(rows: tuple[list[int], ...], steps: list[tuple[str, int]]) -> None:
    """Whatever mixture of columns, coefficients and numbers: the same sums, differences and products."""
    forms = [Form(np.array([*values, *[0] * (domain.SIZE - len(values))], dtype=object)) for values in rows]
    plain = [domain.interpolate(values) for values in rows]
    form: Any = forms[0]
    expected = plain[0]
    for operator, operand in steps:
        column = 0 <= operand < 3
        form = applied(operator, form, forms[operand] if column else operand)
        expected = applied(operator, expected, plain[operand] if column else field.polynomial([operand]))
    assert form.polynomial == expected


def test_forms_take_integers_from_both_sides() -> None:
    row = Form(np.arange(domain.SIZE).astype(object))
    polynomial = domain.interpolate(range(domain.SIZE))
    assert (3 + row).polynomial == (row + 3).polynomial == polynomial + 3
    assert (3 - row).polynomial == 3 - polynomial and (3 * row).polynomial == polynomial * 3
    assert Form().polynomial == field.polynomial([]) and (Form() * 5 + 7).polynomial == field.polynomial([7])


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
def test_transcript_order_matters(content: list[tuple[str, bytes]]) -> None:
    turned = content[1:] + content[:1]
    same = turned == content
    assert (transcript_of(turned).digest() == transcript_of(content).digest()) == same
    assert (transcript_of(turned).challenge("x") == transcript_of(content).challenge("x")) == same


def test_transcript_framing_by_hand() -> None:
    """Label and data, each after its length in 8 bytes; challenges are 64 bytes of the stream so far."""
    transcript = Transcript(b"tag")
    transcript.absorb("ab", b"xyz")
    transcript.absorb_all("list", [b"p", b""])
    pairs = [(b"protocol", b"tag"), (b"ab", b"xyz"), (b"list", (2).to_bytes(8, "little"))]
    pairs += [(b"list", b"p"), (b"list", b""), (b"challenge", b"zeta")]
    stream = b"".join(len(part).to_bytes(8, "little") + part for pair in pairs for part in pair)
    expected = int.from_bytes(hashlib.shake_256(stream).digest(64), "little") % MODULUS
    assert transcript.challenge("zeta") == expected
    assert transcript.digest() == hashlib.shake_256(stream).digest(32)


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
