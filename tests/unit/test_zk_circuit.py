"""What makes a circuit: rules of its shape, the linear columns' place, lookups and sums made into gates."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from intertwine.zk import circuit as circuits
from intertwine.zk import domain, field, release
from intertwine.zk.circuit import CHUNKS, MAX_DEGREE, Circuit, Gate, Lookup, Table
from intertwine.zk.dataset import Shape, dataset_circuit
from intertwine.zk.domain import BLINDING_ROWS, DATA_ROWS, SIZE
from intertwine.zk.expression import Cell, Challenge, Constant, Expression
from intertwine.zk.field import MODULUS
from intertwine.zk.noise import MAX_PROOFS
from tests.proving import KINDS, example

SMALL = Table("small", 2, ((0,), (1,), (2,)))
PAIRS = Table("pairs", 1, ((0, 5), (1, 6)))
A, B, C = Cell("a"), Cell("b"), Cell("c")


def make(**changes: Any) -> Circuit:
    parts: dict[str, Any] = {
        "name": "test",
        "committed": ("a",),
        "linear": ("c",),
        "witness": ("b",),
        "late": (),
        "gates": (Gate("copy", A * B - C),),
        "lookups": (Lookup("range", SMALL, (A,)), Lookup("pair", PAIRS, (A, B + 1))),
        "sums": (Gate("total", A * A * B * B),),
    }
    return Circuit(**parts | changes)


def circuit_of(kind: str) -> Circuit:
    case = example(kind)
    return case.instance_of(case.statement).circuit


EVERY = [*KINDS, "uniform"]


def any_circuit(kind: str) -> Circuit:
    return dataset_circuit(Shape(5, 6, "integer", "uniform")) if kind == "uniform" else circuit_of(kind)


@pytest.mark.parametrize(
    ("problem", "changes"),
    [
        ("occurs twice", {"witness": ("a",)}),
        ("occurs twice", {"linear": ("b",)}),
        ("occurs twice", {"late": ("helper_0",)}),
        ("occurs twice", {"late": ("small.multiplicity",)}),
        ("degree is too high", {"gates": (Gate("high", A * A * B * B * A),)}),
        ("degree is too high", {"sums": (Gate("high", A * A * B * B * A),)}),
        ("entry's degree", {"lookups": (Lookup("square", SMALL, (A * B,)),)}),
        ("linear column is looked up", {"lookups": (Lookup("hidden", SMALL, (C,)),)}),
        ("too long", {"lookups": (Lookup("long", Table("t", 0, ((1,),) * (DATA_ROWS + 1)), (A,)),)}),
    ],
)
def test_shapes_refused(problem: str, changes: dict[str, Any]) -> None:
    assert make().check_shape()
    with pytest.raises(ValueError, match=problem):
        make(**changes).check_shape()


def degree_in(expression: Expression, names: set[str], other: int) -> int:
    """Degree in the cells of these columns: they become X, everything else a number."""

    def leaf(node: Cell | Challenge) -> Any:
        hidden = isinstance(node, Cell) and node.column in names
        return field.polynomial([0, 1]) if hidden else field.polynomial([other])

    value = field.polynomial([0]) + expression.evaluate(leaf)
    return max(int(value.degree()), 0)


@pytest.mark.parametrize("kind", EVERY)
def test_linear_columns_occur_only_linearly(kind: str) -> None:
    """Times opened values, unrotated, in gates and sums alone: so the verifier can leave them closed."""
    circuit = any_circuit(kind).check_shape()
    names = set(circuit.linear)
    for item in (*circuit.gates, *circuit.sums):
        assert degree_in(item.expression, names, 3) <= 1
        assert not any(cell.rotation for cell in item.expression.cells())
    used = {cell.column for item in (*circuit.gates, *circuit.sums) for cell in item.expression.cells()}
    assert names <= used


@pytest.mark.parametrize("kind", EVERY)
def test_degree_and_blinding_leave_room(kind: str) -> None:
    """Four chunks hold the quotient; the random rows outnumber a column's openings and its commitment."""
    circuit = any_circuit(kind)

    def leaf(node: Cell | Challenge) -> Any:
        return field.polynomial([1]) if isinstance(node, Challenge) else field.polynomial([0, 1])

    degrees = [value.degree() for _, value in circuit.data_gates(leaf)]
    assert max(degrees) <= MAX_DEGREE
    length = max(degrees) * (SIZE - 1) + BLINDING_ROWS - SIZE + 1
    assert length <= (CHUNKS - 1) * (SIZE - 1) + BLINDING_ROWS
    assert MAX_PROOFS + 1 <= BLINDING_ROWS and BLINDING_ROWS - 1 >= 2 + 1


@pytest.mark.parametrize("kind", EVERY)
def test_linear_coefficients(kind: str) -> None:
    """The factors and the constant give the same value as the gates with the linear columns filled in."""
    circuit = any_circuit(kind)
    source = random.Random(kind)  # noqa: S311 -- test data
    values: dict[Cell | Challenge, int] = {}

    def full(node: Cell | Challenge) -> int:
        return values.setdefault(node, source.randrange(MODULUS))

    def hidden(node: Cell | Challenge) -> int:
        return 0 if isinstance(node, Cell) and node.column in circuit.linear else full(node)

    gamma = source.randrange(MODULUS)

    def total(leaf: Any) -> int:
        return sum(pow(gamma, k, MODULUS) * value for k, (_, value) in enumerate(circuit.data_gates(leaf)))

    expected = total(full)
    factors = circuit.linear_coefficients(hidden, gamma)
    assert list(factors) == list(circuit.linear)
    linear = sum(factor * full(Cell(name)) for name, factor in factors.items())
    assert (total(hidden) + linear - expected) % MODULUS == 0


def test_groups_of_three() -> None:
    lookups = tuple(Lookup(f"l{index}", SMALL, (A,)) for index in range(7))
    circuit = make(lookups=lookups)
    assert [len(group) for group in circuit.groups] == [3, 3, 1]
    assert circuit.helpers == ("helper_0", "helper_1", "helper_2")
    assert [name for name, _ in circuit.data_gates(lambda node: 1)] == [
        *("copy", "lookup_0", "lookup_1", "lookup_2", "sum_step")
    ]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_lookup_gate_is_the_sum_of_inverses(size: int) -> None:
    """0 exactly for helper = Σ 1/(α - entry)."""
    circuit = make(lookups=make().lookups[:1] * (size - 1) + make().lookups[1:])
    values = {"alpha": 1000, "beta": 10, "a": 2, "b": 30, "kappa": 5}
    compressed = [*[2 + 0 * 10 + 2 * 100] * (size - 1), 2 + 31 * 10 + 1 * 100]
    helper = sum(pow(1000 - value, -1, MODULUS) for value in compressed) % MODULUS

    def gate(helper: int) -> int:
        def leaf(node: Cell | Challenge) -> int:
            name = node.name if isinstance(node, Challenge) else node.column
            return {**values, "helper_0": helper}.get(name, 0)

        return int(dict(circuit.data_gates(leaf))["lookup_0"]) % MODULUS

    assert gate(helper) == 0 != gate(helper + 1)


def test_tables_are_kept_apart_by_tag_and_width() -> None:
    """Rows of different tables never compress to the same value, shorter ones are padded."""
    circuit = make()
    assert circuit.width == 2 and circuit.tables == (SMALL, PAIRS)
    found = circuit.table_denominators(1000, 10)
    assert {name: [1000 - int(value) for value in rows] for name, rows in found.items()} == {
        "small.inverse": [200, 201, 202],
        "pairs.inverse": [0 + 50 + 100, 1 + 60 + 100],
    }
    counts = circuit.count({"small": Counter({(1,): 4, (9,): 2}), "pairs": Counter({(1, 6): 3})})
    assert counts == {"small.multiplicity": [0, 4, 0], "pairs.multiplicity": [0, 3]}


def test_sums_are_weighted_by_powers_of_kappa() -> None:
    circuit = make(lookups=make().lookups[:1], sums=(Gate("one", A), Gate("two", B), Gate("three", A * B)))
    values = {"a": 2, "b": 3, "kappa": 10, "helper_0": 7, "small.multiplicity": 5, "small.inverse": 11}

    def leaf(node: Cell | Challenge) -> int:
        return values[node.name if isinstance(node, Challenge) else node.column]

    assert circuit.step(leaf) == 7 - 5 * 11 + 10 * 2 + 100 * 3 + 1000 * 6


def test_digest_depends_on_every_name_and_table_row() -> None:
    other_row = replace(SMALL, rows=((0,), (1,), (3,)))
    variants = [
        make(),
        make(name="test2"),
        make(committed=("d",)),
        make(linear=()),
        make(witness=("d",)),
        make(late=("d",)),
        make(gates=(Gate("copies", A * B - C),)),
        make(lookups=make().lookups[::-1]),
        make(lookups=(Lookup("range", other_row, (A,)), make().lookups[1])),
        make(lookups=(Lookup("range", replace(SMALL, tag=3), (A,)), make().lookups[1])),
        make(sums=()),
    ]
    assert len({variant.digest for variant in variants}) == len(variants)
    assert make().digest == make().digest and len(make().digest) == 32


def test_description_by_hand() -> None:
    assert make(linear=()).description.splitlines() == [
        "circuit test",
        "committed a",
        "linear",
        "witness b",
        "late",
        f"table small 2 {SMALL.digest}",
        f"table pairs 1 {PAIRS.digest}",
        "gates copy",
        "lookups range pair",
        "sums total",
    ]


def test_boundary_rows() -> None:
    """The sum starts on row 0 and ends on row 4088, the first that carries no data."""
    first, end = circuits.Circuit.boundary_gates(make())
    assert (first.name, end.name) == ("sum_first", "sum_end")
    assert {cell.column for cell in first.expression.cells()} == {"row_first", "sum"}
    assert {cell.column for cell in end.expression.cells()} == {"row_end", "sum"}
    at_end = domain.Evaluator(12345)
    assert at_end.row(DATA_ROWS) == at_end([*[0] * DATA_ROWS, 1]) != at_end.row(0) == at_end([1])


def test_circuits_of_other_shapes_are_other_circuits() -> None:
    shapes = [(50, 57, 9), (100, 57, 9), (50, 58, 9), (50, 57, 10), (2049, 57, 9)]
    assert len({release.release_circuit(*shape).digest for shape in shapes}) == len(shapes)


def test_constants_are_no_cells() -> None:
    expression = Constant(3) * A - 2 * (B + 1)
    assert Counter(cell.column for cell in expression.cells()) == {"a": 1, "b": 1}
    assert expression.degree() == 1 and (A * A * B).degree() == 3 and Challenge("x").degree() == 0
