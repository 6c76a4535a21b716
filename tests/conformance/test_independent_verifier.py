"""Both verifiers on the same files: real proofs of all four statements, and the same with a defect."""

import json
import random
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from intertwine.protocols.errors import VerificationError
from intertwine.zk import dataset, glm, noise, release, sampler, statistics, step
from intertwine.zk.independent import verify_file
from intertwine.zk.independent.dataset import Shape
from intertwine.zk.independent.domain import MODULUS
from intertwine.zk.independent.residual import Model
from intertwine.zk.independent.sampler import SAMPLERS, thresholds

Fields = dict[str, Any]

CONTEXT, BEACON, SLOT = b"a context", bytes(range(32)), bytes(range(32, 64))
VERSION = {"version": "intertwine/proof/1", "context": CONTEXT.hex()}
KINDS = ("release", "dataset", "statistics", "glm")
# 48-byte encodings of G1's generator and of the identity.
GENERATOR = "97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
IDENTITY = "c0" + "00" * 47


def encode(fields: Fields) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def hexes(points: tuple[bytes, ...]) -> list[str]:
    return [point.hex() for point in points]


def noised(sigma: int, randomness: tuple[bytes, ...], update: NDArray[np.int64]) -> Fields:
    return VERSION | {
        "beacon": BEACON.hex(),
        "slot": SLOT.hex(),
        "sigma": sigma,
        "randomness": hexes(randomness),
        "update": update.astype("<i8").tobytes().hex(),
    }


def release_file() -> Fields:
    """Two levels of noise."""
    gradient = np.arange(-30, 27, dtype=np.int64)
    opening = release.commit(gradient, 2049, b"r" * 32)
    update = gradient + release.noise(opening, BEACON, SLOT)
    statement = release.ReleaseStatement(CONTEXT, BEACON, SLOT, 2049, 200, opening.commitments, update)
    return noised(2049, opening.commitments.randomness, update) | {
        "statement": "release",
        "norm_bound": 200,
        "gradient": hexes(opening.commitments.gradient),
        "proof": release.prove(statement, opening).hex(),
    }


def baskets(label: Any) -> dataset.DatasetOpening:
    """Uniform entries: sets of items, each with its own weight."""
    features = np.array([[5, 0, 5], [0, 0, 0], [3, 3, 3], [0, 7, 0]], np.int64)
    labels = {"none": None, "binary": np.array([1, 0, 0, 1]), "integer": np.array([1, -7, 1023, 0])}[label]
    shape = dataset.Shape(3, 8, label, "uniform")
    return dataset.commit_dataset(features, labels, shape, b"o" * 32)


def enrolled(label: str) -> dataset.DatasetOpening:
    rng = np.random.default_rng(5)
    features = rng.integers(-6, 7, (40, 3)).astype(np.int64)
    labels = rng.integers(0, 2, 40) if label == "binary" else rng.integers(-90, 91, 40)
    return dataset.commit_dataset(features, labels, dataset.Shape(3, 19, label), label.ljust(32).encode())


def records(opening: dataset.DatasetOpening) -> Fields:
    shape = opening.dataset.shape
    return {
        "columns": shape.columns,
        "row_bound": shape.row_bound,
        "label": shape.label,
        "entries": shape.entries,
        "pages": [
            {"rows": page.rows, "commitments": hexes(page.commitments)} for page in opening.dataset.pages
        ],
    }


def dataset_file(opening: dataset.DatasetOpening) -> Fields:
    page = opening.dataset.pages[0]
    proof = dataset.prove_page(dataset.PageStatement(CONTEXT, opening.dataset.shape, page), opening, 0)
    shape = {key: value for key, value in records(opening).items() if key != "pages"}
    own = {"statement": "dataset", "rows": page.rows, "commitments": hexes(page.commitments)}
    return VERSION | shape | own | {"proof": proof.hex()}


def statistics_file() -> Fields:
    """A Gram matrix over two pages: records that were enrolled in two parts."""
    opening = dataset.DatasetOpening.concatenate([enrolled("integer"), enrolled("integer")])
    drawn = noise.NoiseOpening(statistics.dimension(opening.dataset.shape, "gram"), 100, b"s" * 32)
    update = statistics.exact_sum(opening, "gram", "one") + drawn.noise(BEACON, SLOT)
    statement = statistics.StatisticsStatement(
        CONTEXT, BEACON, SLOT, 100, opening.dataset, "gram", "one", drawn.commitments, update
    )
    own = {"statement": "statistics", "moment": "gram", "weights": "one"}
    proof = statistics.prove(statement, opening, drawn)
    return noised(100, drawn.commitments, update) | records(opening) | own | {"proof": proof.hex()}


def glm_file() -> Fields:
    """Logistic, with a secret lot."""
    opening = enrolled("binary")
    shape = opening.dataset.shape
    model = glm.Model("logistic", 100, "1.5", 700)
    weights, exponent = glm.quantise_weights(np.array([0.5, -2.0, 1.25]), shape, model)
    drawn, lot = noise.NoiseOpening(3, 50, b"g" * 32), glm.LotOpening((40,), b"l" * 32)
    update = glm.exact_step(opening, model, weights, exponent, lot, BEACON, SLOT) + drawn.noise(BEACON, SLOT)
    statement = glm.GlmStatement(
        *(CONTEXT, BEACON, SLOT, 50, opening.dataset, model, weights, exponent),
        *(drawn.commitments, lot.commitments, update),
    )
    own = {
        "statement": "glm",
        "link": model.link,
        "residual_bound": model.residual_bound,
        "record_norm": model.record_norm,
        "label_unit": model.label_unit,
        "residual_norm": model.residual_norm,
        "exponent": exponent,
        "lot": model.lot,
        "weights": list(weights),
        "lot_randomness": hexes(lot.commitments),
        "proof": glm.prove(statement, opening, drawn, lot).hex(),
    }
    return noised(50, drawn.commitments, update) | records(opening) | own


@pytest.fixture(scope="module")
def good() -> dict[str, Fields]:
    enrolment = dataset_file(enrolled("integer"))
    files = (release_file(), enrolment, statistics_file(), glm_file())
    return dict(zip(KINDS, files, strict=True))


def points(encodings: list[str]) -> tuple[bytes, ...]:
    return tuple(map(bytes.fromhex, encodings))


def first_verifier(fields: Fields) -> None:
    """The verifier that shares its circuits with the prover, on the same file."""
    context, proof = bytes.fromhex(fields["context"]), bytes.fromhex(fields["proof"])
    if fields["statement"] == "release":
        commitments = release.Commitments(points(fields["randomness"]), points(fields["gradient"]))
        release.verify(
            release.ReleaseStatement(*drawn(fields), fields["norm_bound"], commitments, update_of(fields)),
            proof,
        )
        return
    shape = dataset.Shape(fields["columns"], fields["row_bound"], fields["label"], fields["entries"])
    if fields["statement"] == "dataset":
        page = dataset.Page(fields["rows"], points(fields["commitments"]))
        dataset.verify_page(dataset.PageStatement(context, shape, page), proof)
        return
    pages = tuple(dataset.Page(page["rows"], points(page["commitments"])) for page in fields["pages"])
    common = (*drawn(fields), dataset.Dataset(shape, pages))
    if fields["statement"] == "statistics":
        kind = (fields["moment"], fields["weights"])
        statistics.verify(
            statistics.StatisticsStatement(*common, *kind, points(fields["randomness"]), update_of(fields)),
            proof,
        )
        return
    decimals = (fields["label_unit"], fields["residual_norm"])
    model = glm.Model(
        fields["link"], fields["residual_bound"], fields["record_norm"], fields["lot"], *decimals
    )
    randomness = (points(fields["randomness"]), points(fields["lot_randomness"]))
    weights = (tuple(fields["weights"]), fields["exponent"])
    glm.verify(glm.GlmStatement(*common, model, *weights, *randomness, update_of(fields)), proof)


def drawn(fields: Fields) -> tuple[bytes, bytes, bytes, int]:
    return (*(bytes.fromhex(fields[name]) for name in ("context", "beacon", "slot")), fields["sigma"])


def update_of(fields: Fields) -> NDArray[np.int64]:
    return np.frombuffer(bytes.fromhex(fields["update"]), "<i8").astype(np.int64)


def outcome(verify: Callable[[], None]) -> str:
    try:
        verify()
    except VerificationError as error:
        return error.check
    return "accepted"


def both(fields: Fields) -> str:
    """What both verifiers say; an AssertionError if they differ."""
    independent = outcome(lambda: verify_file(encode(fields)))
    assert independent == outcome(lambda: first_verifier(fields))
    return independent


@pytest.mark.parametrize("kind", KINDS)
def test_both_accept(good: dict[str, Fields], kind: str) -> None:
    assert both(good[kind]) == "accepted"


@pytest.mark.parametrize(
    ("sigma", "moment", "weights", "label"),
    [(5001, "sum", "label", "integer"), (400, "sum", "one", "none"), (20001, "gram", "one", "binary")],
)
def test_both_accept_sums_of_baskets(sigma: int, moment: Any, weights: Any, label: Any) -> None:
    opening = baskets(label)
    own = noise.NoiseOpening(statistics.dimension(opening.dataset.shape, moment), sigma, b"p" * 32)
    update = statistics.exact_sum(opening, moment, weights) + own.noise(BEACON, SLOT)
    statement = statistics.StatisticsStatement(
        CONTEXT, BEACON, SLOT, sigma, opening.dataset, moment, weights, own.commitments, update
    )
    fields = {"statement": "statistics", "moment": moment, "weights": weights}
    fields |= {"proof": statistics.prove(statement, opening, own).hex()}
    assert both(noised(sigma, own.commitments, update) | records(opening) | fields) == "accepted"


@pytest.mark.parametrize("label", ["none", "binary"])
def test_both_accept_an_enrolment_of_baskets(label: str) -> None:
    enrolment = dataset_file(baskets(label))
    assert both(enrolment) == "accepted"
    assert both(enrolment | {"proof": flip(enrolment["proof"], 8 * 48 * 12 + 5)}) != "accepted"


def test_both_accept_identity_without_lot() -> None:
    opening = enrolled("integer")
    shape = opening.dataset.shape
    model = glm.Model("identity", 50, "3", 2048, "0.125", "1.7")
    weights, exponent = glm.quantise_weights(np.array([0.5, 0.0, -1.0]), shape, model)
    own = noise.NoiseOpening(3, 200, b"q" * 32)
    update = glm.exact_step(opening, model, weights, exponent, None, BEACON, SLOT) + own.noise(BEACON, SLOT)
    statement = glm.GlmStatement(
        *(CONTEXT, BEACON, SLOT, 200, opening.dataset, model, weights, exponent, own.commitments, (), update)
    )
    fields = {
        "statement": "glm",
        "link": "identity",
        "residual_bound": 50,
        "record_norm": "3",
        "label_unit": "0.125",
        "residual_norm": "1.7",
        "exponent": exponent,
        "lot": 2048,
        "weights": list(weights),
        "lot_randomness": [],
        "proof": glm.prove(statement, opening, own, None).hex(),
    }
    assert both(noised(200, own.commitments, update) | records(opening) | fields) == "accepted"


def flip(data: str, bit: int) -> str:
    flipped = bytearray.fromhex(data)
    flipped[bit // 8] ^= 1 << bit % 8
    return flipped.hex()


@pytest.mark.parametrize("kind", KINDS)
def test_a_bit_of_the_proof_flipped(good: dict[str, Fields], kind: str) -> None:
    """Anywhere: three bits in each eighth of the proof."""
    rng = random.Random(kind)  # noqa: S311
    proof = good[kind]["proof"]
    bits = 4 * len(proof)
    for part in range(8):
        for _ in range(3):
            bit = rng.randrange(part * bits // 8, (part + 1) * bits // 8)
            assert both(good[kind] | {"proof": flip(proof, bit)}) in {
                *("point_encoding", "scalar_canonical", "constraint_identity", "opening_pairing")
            }


@pytest.mark.parametrize("kind", KINDS)
def test_opening_negated_or_replaced(good: dict[str, Fields], kind: str) -> None:
    """The last two points: other points of the subgroup reach the pairing."""
    proof = good[kind]["proof"]
    for position in (96, 192):
        cut = len(proof) - position
        negated = flip(proof, 4 * cut + 5)
        replaced = proof[:cut] + GENERATOR + proof[cut + 96 :]
        identity = proof[:cut] + IDENTITY + proof[cut + 96 :]
        assert both(good[kind] | {"proof": negated}) == "opening_pairing"
        assert both(good[kind] | {"proof": replaced}) == "opening_pairing"
        assert both(good[kind] | {"proof": identity}) == "point_encoding"


@pytest.mark.parametrize("kind", KINDS)
def test_scalar_not_reduced(good: dict[str, Fields], kind: str) -> None:
    proof = bytes.fromhex(good[kind]["proof"])
    start = len(proof) - 96 - 32
    value = int.from_bytes(proof[start : start + 32], "little") + MODULUS
    altered = proof[:start] + value.to_bytes(32, "little") + proof[start + 32 :]
    assert both(good[kind] | {"proof": altered.hex()}) == "scalar_canonical"


def changed(fields: Fields, name: str) -> Any:
    """Another value of one field, in its range."""
    value = fields[name]
    if name == "pages":
        first = value[0] | {"rows": value[0]["rows"] - 1}
        return [first, *value[1:]]
    if name in {"randomness", "gradient", "commitments", "lot_randomness"}:
        return [GENERATOR, *value[1:]]
    if name == "weights" and isinstance(value, list):
        return [value[0] + 1, *value[1:]]
    if isinstance(value, int):
        return {50: 100, 100: 50, 2049: 5001}[value] if name == "sigma" else value - 1
    texts = {"none": "none", "integer": "integer", "binary": "binary", "1.5": "1.50"}
    return texts[value] if name in {"label", "record_norm"} else flip(value, 0)


BOUND = {
    "release": ("context", "beacon", "slot", "sigma", "norm_bound", "randomness", "gradient", "update"),
    "dataset": ("context", "rows", "row_bound", "commitments"),
    "statistics": ("context", "beacon", "slot", "sigma", "row_bound", "pages", "randomness", "update"),
    "glm": (
        *("context", "beacon", "slot", "sigma", "row_bound", "pages", "residual_bound", "record_norm"),
        *("exponent", "lot", "weights", "randomness", "lot_randomness", "update"),
    ),
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in BOUND[kind]])
def test_every_public_input_is_bound(good: dict[str, Fields], kind: str, name: str) -> None:
    """Even a record norm of the same value, written in another way."""
    other = changed(good[kind], name)
    assert other != good[kind][name]
    assert both(good[kind] | {name: other}) == "constraint_identity"


def defects(fields: Fields) -> list[Fields]:
    """Changes of which a verifier has to name the first in the order of the checks."""
    short = [
        {"rows": page["rows"], "commitments": page["commitments"][1:]} for page in fields.get("pages", [])
    ]
    every: Fields = {
        "sigma": [51],
        "norm_bound": [0],
        "row_bound": [0],
        "rows": [4089],
        "commitments": [[]],
        "pages": [short],
        "update": ["", "ff" * 7 + "7f"],
        "moment": ["mean"],
        "residual_bound": [0],
        "randomness": [[]],
        "gradient": [[]],
        "lot_randomness": [[GENERATOR] * 3],
        "proof": ["00"],
    }
    return [{name: value} for name, values in every.items() if name in fields for value in values]


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_of_two_defects_is_named(good: dict[str, Fields], kind: str) -> None:
    for one, other in combinations(defects(good[kind]), 2):
        assert both(good[kind] | one | other) not in {"accepted", "constraint_identity", "opening_pairing"}
    if kind in {"statistics", "glm"}:
        assert both(good[kind] | {"update": "00" * 8 * 2}) == "update_encoding"


def test_both_reject_a_forger(good: dict[str, Fields]) -> None:
    """u = g + ⌊z/2⌋, proven by a prover that does not check itself."""
    gradient = np.arange(-30, 27, dtype=np.int64)
    opening = release.commit(gradient, 2049, b"r" * 32)
    update = gradient + release.noise(opening, BEACON, SLOT) // 2
    statement = release.ReleaseStatement(CONTEXT, BEACON, SLOT, 2049, 200, opening.commitments, update)
    forged = {"update": update.astype("<i8").tobytes().hex()}
    forged |= {"proof": release.prove_unchecked(statement, opening).hex()}
    assert both(good["release"] | forged) == "constraint_identity"


def test_samplers_agree() -> None:
    assert tuple(SAMPLERS) == sampler.SIGMAS
    for sigma, ours in SAMPLERS.items():
        theirs = sampler.sampler(sigma)
        assert (ours.bits, ours.steps) == (theirs.bits, tuple(theirs.steps))
        rows = tuple(tuple(map(int, row)) for row in theirs.table.rows)
        assert thresholds(ours.level_sigma, ours.bits) == rows


@pytest.mark.parametrize("seed", range(12))
def test_residual_tables_agree(seed: int) -> None:
    """Both compute the same table and label factor, ties between integers included."""
    rng = random.Random(seed)  # noqa: S311
    bound, row_bound = rng.randrange(1, 1024), rng.choice([1, 3, 7, rng.randrange(1, 2048)])
    norm, unit, residual = (rng.choice(["1", "3", "0.07", f"{rng.random():.9f}1"]) for _ in range(3))
    exponent = rng.randrange(14, 40)
    for link, label, decimals in (
        ("logistic", "binary", ("1", "1")),
        ("identity", "integer", (unit, residual)),
    ):
        ours = Model(link, bound, norm, *decimals, exponent, 2048, (1,))
        theirs = glm.Model(link, bound, norm, 2048, *decimals)
        shape = dataset.Shape(1, row_bound, label)
        assert ours.label_factor(Shape(1, row_bound, label, "integer")) == step.label_factor(
            theirs, shape, exponent
        )
        rows = tuple(tuple(map(int, row)) for row in step.residual_table(theirs, shape, exponent).rows)
        assert ours.residuals(Shape(1, row_bound, label, "integer")) == rows
