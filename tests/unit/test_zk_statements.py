"""What holds for all four statements alike: binding, determinism, hiding, strictness."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from py_arkworks_bls12381 import G1Point

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import data_bound, dataset, glm, instance, kzg, reference_string, release, statistics
from intertwine.zk.domain import BLINDING_ROWS, DATA_ROWS, SIZE
from intertwine.zk.field import MODULUS
from intertwine.zk.instance import ARGUMENT_CHECKS, Instance, verify_all
from intertwine.zk.noise import MAX_PROOFS, NoiseOpening
from intertwine.zk.prover import Prover
from tests.proving import KINDS, SEED, Case, example, example_proof, make_case

OTHER = b"other".ljust(32)
IDENTITY = b"\xc0" + bytes(47)


def failed_check(case: Case, proof: bytes) -> str:
    with pytest.raises(VerificationError) as refused:
        case.verify(proof)
    return refused.value.check


@pytest.mark.parametrize("kind", KINDS)
def test_prove_and_verify(kind: str) -> None:
    case = example(kind)
    proof = example_proof(kind)
    assert len(proof) == case.instance_of(case.statement).proof_size
    case.verify(proof)


@dataclass
class Watched:
    """A prover that has finished, what it reported and what it divided."""

    prover: Prover
    proof: bytes
    fractions: list[float]
    quotient: Any


@cache
def watched(kind: str) -> Watched:
    case, fractions, quotients = make_case(kind), list[float](), list[Any]()
    witness = case.witness_of(case.statement, *case.openings)
    prover = case.instance_of(case.statement).prover(witness, fractions.append)
    cut = prover.blind_chunks
    prover.blind_chunks = lambda quotient: (quotients.append(quotient), cut(quotient))[1]  # type: ignore
    return Watched(prover, prover.prove(), fractions, *quotients)


@pytest.mark.parametrize("kind", KINDS)
def test_same_secrets_and_statement_give_the_same_bytes(kind: str) -> None:
    assert watched(kind).proof == example_proof(kind)
    assert watched(kind).prover.satisfied and not watched(kind).prover.broken_gates()


@pytest.mark.parametrize("kind", KINDS)
def test_progress(kind: str) -> None:
    fractions = watched(kind).fractions
    assert fractions == sorted(fractions) and fractions[0] > 0 and fractions[-1] == 1.0
    assert max(np.diff(fractions)) < 0.15


POINTS = {"randomness", "gradient", "lot_randomness", "commitments"}
OTHER_TEXTS = {
    **{"binary": "integer", "integer": "uniform", "sum": "gram", "label": "one", "logistic": "identity"},
    **{"1": "2", "1.5": "1.25"},
}
FAILING = {
    "constraint_identity",
    # Another label, moment or kind of entries takes other columns.
    *("proof_length", "commitment_count", "statistic_known", "model_range"),
}


def leaves(value: Any) -> Iterator[tuple[str, ...]]:
    """The paths of all fields of nested data classes."""
    for field in fields(value):
        inner = getattr(value, field.name)
        paths: Any = leaves(inner) if is_dataclass(inner) else [()]
        yield from ((field.name, *path) for path in paths)


def at(value: Any, path: tuple[str, ...]) -> Any:
    return at(getattr(value, path[0]), path[1:]) if path else value


def put(value: Any, path: tuple[str, ...], new: object) -> Any:
    name, *rest = path
    return replace(value, **{name: put(getattr(value, name), tuple(rest), new) if rest else new})


def another(name: str, old: Any) -> Any:
    """Something else of the same form."""
    match old:
        case np.ndarray():
            new: Any = old + np.eye(1, len(old), 1, dtype=np.int64)[0]
        case (dataset.Page(), *_):
            new = tuple(replace(page, rows=page.rows + 1) for page in old)
        case (bytes(), *_):
            new = tuple(kzg.encode_point(kzg.decode_point(point) + G1Point()) for point in old)
        case (first, *rest):
            new = (first + 1, *rest)
        case bytes():
            new = b"x" + old[1:]
        case int():
            new = 100 if name == "sigma" else old + 1
        case _:
            new = OTHER_TEXTS[old]
    return new


@pytest.mark.parametrize("kind", KINDS)
def test_a_proof_is_about_its_statement_only(kind: str) -> None:
    """Every public input is bound: with any other value the proof is refused."""
    case = example(kind)
    for path in leaves(case.statement):
        new = another(path[-1], at(case.statement, path))
        altered = replace(case, statement=put(case.statement, path, new))
        assert failed_check(altered, example_proof(kind)) in FAILING, path


@pytest.mark.parametrize("kind", KINDS)
def test_reordered_commitments_are_refused(kind: str) -> None:
    case = example(kind)
    for path in leaves(case.statement):
        value = at(case.statement, path)
        if path[-1] == "pages":
            new: Any = tuple(replace(page, commitments=page.commitments[::-1]) for page in value)
        elif path[-1] in {"commitments", "lot_randomness"} and len(value) > 1:
            new = value[::-1]
        else:
            continue
        altered = replace(case, statement=put(case.statement, path, new))
        assert failed_check(altered, example_proof(kind)) == "constraint_identity"


WRONG: tuple[object, ...] = (
    None,
    "2",
    1.5,
    -1,
    True,
    [],
    (),
    {},
    b"x",
    ("1",),
    [1],
    (None,),
    "x" * 40,
    "1e999999",
    "NaN",
)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_types_and_ranges_are_refused_by_name(kind: str) -> None:
    """Whatever stands in a field: a named error, never a traceback of another kind."""
    case, proof = example(kind), example_proof(kind)
    for path in leaves(case.statement):
        for value in WRONG:
            altered = replace(case, statement=put(case.statement, path, value))
            with pytest.raises((InputError, VerificationError)):
                altered.verify(proof)
        with pytest.raises(InputError):
            replace(case, statement=put(case.statement, path, None)).prove()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("proof", [None, "x", 5, b"", bytearray(10), b"x" * 10**6])
def test_what_is_no_proof(kind: str, proof: Any) -> None:
    assert failed_check(example(kind), proof) == "proof_length"


@cache
def outside_the_subgroup() -> bytes:
    """A point of the curve that is not in the group of prime order."""
    for x in range(1, 100):
        data = bytes([0x80]) + x.to_bytes(47, "big")
        with contextlib.suppress(ValueError):
            if not G1Point.from_compressed_bytes_unchecked(data).is_in_subgroup():
                return data
    raise AssertionError("no such point was found")


def bad_points() -> dict[str, bytes]:
    generator = kzg.encode_point(G1Point())
    return {
        "identity": IDENTITY,
        "identity with another flag": b"\xe0" + bytes(47),
        "uncompressed flag": bytes([generator[0] & 0x7F]) + generator[1:],
        "coordinate not reduced": b"\x9f" + b"\xff" * 47,
        "not on the curve": b"\x80" + bytes(46) + b"\x01",
        "short": generator[:-1],
        "long": generator + b"\0",
        "outside the subgroup": outside_the_subgroup(),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", bad_points())
def test_bad_points_in_commitments(kind: str, name: str) -> None:
    case, bad = example(kind), bad_points()[name]
    for path in leaves(case.statement):
        value = at(case.statement, path)
        if path[-1] == "pages":
            *rest, last = value
            new: Any = (*rest, replace(last, commitments=(*last.commitments[:-1], bad)))
        elif path[-1] in POINTS:
            new = (bad, *value[1:])
        else:
            continue
        altered = replace(case, statement=put(case.statement, path, new))
        assert failed_check(altered, example_proof(kind)) == "point_encoding"
        with pytest.raises(InputError, match=r"invalid|other commitments|another page"):
            altered.prove()


@pytest.mark.parametrize("name", ["identity", "outside the subgroup", "not on the curve"])
@pytest.mark.parametrize("place", ["first column", "opening"])
def test_bad_points_in_proofs(name: str, place: str) -> None:
    proof, bad = example_proof("dataset"), bad_points()[name]
    altered = bad + proof[48:] if place == "first column" else proof[:-48] + bad
    assert failed_check(example("dataset"), altered) == "point_encoding"


@pytest.mark.parametrize("kind", ["release", "glm"])
def test_commitments_in_the_wrong_list(kind: str) -> None:
    """The lists are counted one by one: a point cannot move from one to the other."""
    case = example(kind)
    if kind == "release":
        points = case.statement.commitments
        moved = release.Commitments((*points.randomness, *points.gradient), ())
        altered = case.changed(commitments=moved)
    else:
        first, *rest = case.statement.lot_randomness
        altered = case.changed(randomness=(*case.statement.randomness, first), lot_randomness=tuple(rest))
    assert failed_check(altered, example_proof(kind)) == "commitment_count"


@pytest.mark.parametrize("kind", KINDS)
def test_another_version_or_reference_string(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case, proof = example(kind), example_proof(kind)
    with monkeypatch.context() as patch:
        patch.setattr(instance, "VERSION", b"intertwine/zk/3")
        assert failed_check(case, proof) == "constraint_identity"
    with monkeypatch.context() as patch:
        patch.setattr(reference_string, "DIGEST", "0" * 64)
        assert failed_check(case, proof) == "constraint_identity"
    case.verify(proof)


@pytest.mark.parametrize("kind", ["release", "statistics", "glm"])
def test_claimed_sizes_are_refused_before_anything_is_allocated(kind: str) -> None:
    """The vector takes 8 bytes of memory, however long it says it is."""
    endless = np.broadcast_to(np.int64(0), (10**13,))
    assert failed_check(example(kind).changed(update=endless), b"") == "update_encoding"


def test_claimed_shapes_are_refused_before_anything_is_allocated() -> None:
    case = example("dataset")
    for change in ({"columns": 10**12}, {"row_bound": 10**12}, {"columns": 0}, {"row_bound": 2048}):
        altered = case.changed(shape=replace(case.statement.shape, **change))
        assert failed_check(altered, b"") == "dataset_shape"
    page = replace(case.statement.page, rows=10**12)
    assert failed_check(case.changed(page=page), b"") == "dataset_shape"
    with pytest.raises(InputError, match="no noise"):
        NoiseOpening(10**13, 50, SEED)
    with pytest.raises(InputError, match="no noise"):
        NoiseOpening(5, 51, SEED)
    with pytest.raises(InputError, match="dimension"):
        release.proof_size(10**13)


# Hiding


@pytest.mark.parametrize("kind", KINDS)
def test_every_column_ends_in_rows_of_its_own(kind: str) -> None:
    prover = watched(kind).prover
    columns = [prover.rows[name] for name in prover.circuit.columns]
    assert all(len(column) == SIZE for column in columns)
    blinding = [value for column in columns for value in column[DATA_ROWS + 1 :]]
    assert len(set(blinding)) == len(blinding) == len(columns) * (BLINDING_ROWS - 1)
    assert all(2**200 < value < MODULUS for value in blinding)
    others = [column[DATA_ROWS] for name, column in prover.rows.items() if len(column) == SIZE]
    assert prover.rows["sum"][DATA_ROWS] == 0
    assert len(set(others) - {0}) >= len(columns) - 1


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_carry_their_blinders(kind: str) -> None:
    quotient, chunks, length = watched(kind).quotient, watched(kind).prover._chunks, SIZE - 1
    blinders = [0, *(int(chunk[length]) for chunk in chunks[:-1]), 0]
    assert len(set(blinders)) == 4 and min(blinders[1:-1]) > 2**200
    for index, chunk in enumerate(chunks):
        part = quotient.right_shift(index * length).truncate(length)
        assert chunk.truncate(length) == part - blinders[index]
    assert chunks[-1].degree() < BLINDING_ROWS
    shifted = [chunk.left_shift(index * length) for index, chunk in enumerate(chunks)]
    assert sum(shifted[1:], start=shifted[0]) == quotient


@pytest.mark.parametrize("kind", KINDS)
def test_other_seeds_and_statements_share_no_randomness(kind: str) -> None:
    """Neither the commitments' blinding nor the proof's, nor the quotient's."""
    case = example(kind)
    provers = [case.prover(), case.changed(context=b"other").prover(), make_case(kind, OTHER).prover()]
    labels = [*provers[0].circuit.early, "sum", "quotient"]
    drawn = [value for prover in provers for name in labels for value in prover.randomness.scalars(name, 7)]
    assert len(set(drawn)) == len(drawn)
    for name in provers[0].circuit.committed:
        first, _, other = (prover.rows[name] for prover in provers)
        assert not set(first[DATA_ROWS:]) & set(other[DATA_ROWS:])


@pytest.mark.parametrize("kind", KINDS)
def test_no_repr_shows_a_secret(kind: str) -> None:
    case = example(kind)
    witness = case.witness_of(case.statement, *case.openings)
    prover = case.prover()
    shown = "".join(f"{value!r} {value!s}" for value in (*case.openings, witness, prover))
    for opening in case.openings:
        for page in getattr(opening, "pages", ()):
            shown += repr(page)
    for secret in witness.secrets:
        assert repr(secret) not in shown and secret.hex() not in shown
    for column in witness.committed.values():
        assert str(column[-1]) not in shown
    assert "array" not in shown and len(shown) < 2000


def defects(proof: bytes, points: int) -> Iterator[bytes]:
    """The same places of every proof of a circuit, filled with fixed values."""
    scalars = 48 * points
    yield proof[:-1]
    yield IDENTITY + proof[48:]
    yield proof[:scalars] + bytes(32) + proof[scalars + 32 :]
    yield proof[:scalars] + b"\xff" * 32 + proof[scalars + 32 :]
    yield proof[:-48] + kzg.encode_point(G1Point())


def test_no_message_depends_on_the_witness(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Two provers with other secrets get the same words for the same defect, and nothing is logged."""
    words: list[list[str]] = []
    kind = "dataset"
    for case in (example(kind), make_case(kind, OTHER)):
        circuit = case.instance_of(case.statement).circuit
        points = len(circuit.early) + len(circuit.after) + 4
        proof = example_proof(kind) if case is example(kind) else case.prove()
        said = []
        for defect in defects(proof, points):
            with pytest.raises(VerificationError) as refused:
                case.verify(defect)
            said.append(str(refused.value))
        with pytest.raises(InputError) as unproven:
            false_statement(case).prove()
        words.append([*said, str(unproven.value)])
    assert words[0] == words[1] and len(set(words[0])) == 6
    assert capfd.readouterr() == ("", "") and not caplog.records


def false_statement(case: Case) -> Case:
    if hasattr(case.statement, "update"):
        return case.changed(update=case.statement.update + 1)
    return case.changed(page=replace(case.statement.page, rows=case.statement.page.rows + 1))


@pytest.mark.parametrize("kind", ["release", "statistics", "glm"])
def test_the_prover_refuses_a_false_update(kind: str) -> None:
    case = make_case(kind)
    noise = case.openings[0].noise if kind == "release" else case.openings[1]
    update = case.statement.update
    for wrong in (update + np.eye(1, len(update), 2, dtype=np.int64)[0], update[:-1], -update):
        with pytest.raises(InputError, match=r"plus noise|dimension|one entry a feature|commitments instead"):
            case.changed(update=wrong).prove()
    with pytest.raises(InputError, match="other commitments"):
        replace(case, openings=make_case(kind, OTHER).openings).prove()
    assert not noise.proven


def test_no_proof_leaves_that_would_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The prover's own look at the constraints, behind the plain comparison of sums."""
    monkeypatch.setattr(data_bound, "refuse_false_sum", lambda *anything: None)
    case = make_case("statistics")
    wrong = case.statement.update.copy()
    wrong[1] += 1
    with pytest.raises(InputError, match="does not satisfy"):
        case.changed(update=wrong).prove()


def test_a_record_longer_than_the_bound_is_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_check_records", lambda *anything: None)
    features = np.array([[1, 2, 3], [4, 4, 2]], dtype=np.int64)
    shape = dataset.Shape(3, 5, "none")
    opening = dataset.commit_dataset(features, None, shape, SEED)
    statement = dataset.PageStatement(b"", shape, opening.dataset.pages[0])
    with pytest.raises(InputError, match="does not satisfy"):
        dataset.prove_page(statement, opening, 0)


@pytest.mark.parametrize("kind", ["release", "statistics", "glm"])
def test_fourth_distinct_proof_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Instance, "prove", lambda self, witness, progress=None: b"proof")
    case = make_case(kind)
    cases = [case.changed(context=bytes([index])) for index in range(4)]
    for each in (*cases[:3], *cases[:3]):
        each.prove()
    with pytest.raises(InputError, match=f"{MAX_PROOFS} distinct proofs"):
        cases[3].prove()
    noise = case.openings[0].noise if kind == "release" else case.openings[1]
    assert len(noise.proven) == 3
    restarted = make_case(kind)
    handed = restarted.openings[0].noise if kind == "release" else restarted.openings[1]
    handed.proven = NoiseOpening(3, 50, SEED, proven=list(noise.proven)).proven
    restarted.changed(context=bytes([0])).prove()
    with pytest.raises(InputError, match=f"{MAX_PROOFS} distinct proofs"):
        restarted.changed(context=bytes([3])).prove()


def test_a_lot_counts_its_own_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lot's column is opened by each proof, whatever noise goes with it."""
    monkeypatch.setattr(Instance, "prove", lambda self, witness, progress=None: b"proof")
    case = make_case("glm")
    opening, noise, lot = case.openings
    used = glm.LotOpening([9, 5], SEED, proven=[b"1", b"2", b"3"])
    assert used.commitments == lot.commitments
    with pytest.raises(InputError, match="3 distinct proofs"):
        replace(case, openings=(opening, noise, used)).prove()


# Many proofs together


def test_verify_all_names_the_bad_ones() -> None:
    cases = [(example(kind), example_proof(kind)) for kind in KINDS]
    claims = [(partial(case.instance_of, case.statement), proof) for case, proof in cases]
    assert verify_all([]) == [] and verify_all(claims) == [None] * 4
    opening = kzg.encode_point(G1Point())
    spoiled = list(claims)
    spoiled[1] = (claims[1][0], claims[1][1][:-48] + opening)
    spoiled[3] = (claims[3][0], claims[3][1][:-1])
    verdicts = verify_all(spoiled)
    assert [verdict and verdict.check for verdict in verdicts] == [
        *(None, "opening_pairing"),
        *(None, "proof_length"),
    ]


def test_checks_are_numbered_and_named_once() -> None:
    for module in (release, dataset, statistics, glm):
        checks = module.CHECKS
        assert [check.number for check in checks] == list(range(1, len(checks) + 1))
        assert len({check.name for check in checks}) == len(checks)
        assert [(check.name, check.meaning) for check in checks[-6:]] == list(ARGUMENT_CHECKS)
