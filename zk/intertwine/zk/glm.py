"""The glm statement: one step of DP-SGD for a linear or logistic model on an enrolled dataset.

The records of the lot are secret, the residuals are those of the public weights, every record's features have
a proven norm: one record moves the sum by at most residual_bound·row_bound. Constraints: GLM.md; the
arithmetic of a step, which prover and participant share, is in `step`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import data_bound, field
from intertwine.zk import noise as noisy
from intertwine.zk.circuit import Challenges, Circuit, Gate, Lookup, Table
from intertwine.zk.dataset import Dataset, DatasetOpening, Shape, check_dataset
from intertwine.zk.domain import DATA_ROWS
from intertwine.zk.expression import Cell, Expression, total
from intertwine.zk.field import MODULUS
from intertwine.zk.instance import Input, Instance, numbered
from intertwine.zk.noise import RANGE, NoiseOpening
from intertwine.zk.prover import Columns, Progress, Witness
from intertwine.zk.step import (
    FULL_LOT,
    LOW_BITS,
    LotOpening,
    Model,
    check_model,
    exact_step,
    label_factor,
    margins,
    public_lot,
    quantise_weights,
    residual_table,
)
from intertwine.zk.verifier import Combination

__all__ = [
    "CHECKS",
    "GlmStatement",
    "LotOpening",
    "Model",
    "exact_step",
    "prove",
    "quantise_weights",
    "verify",
]

_LIMB = 1 << noisy.LIMB_BITS

CHECKS = numbered(
    ("sigma_supported", "there is a sampler for sigma"),
    ("dataset_shape", "the dataset's rows, columns, row_bound and label are in their ranges"),
    ("commitment_count", "there is one commitment a column, page and level, and one a page for a secret lot"),
    ("update_encoding", "the update is a vector of signed 64-bit integers, one a feature"),
    ("update_range", "every entry of the update is below 2^31 in absolute value"),
    ("model_range", "link, bounds, lot, exponent and weights are in their ranges and fit the label"),
    ("threshold_table", "the threshold table has the pinned digest"),
)


@dataclass(frozen=True, eq=False)
class GlmStatement:
    """What is proven, and about whom.

    context: canonical bytes of everything else that is bound; beacon, slot: 32 bytes; sigma: one of SIGMAS;
    dataset: the enrolled records; weights, exponent: the real weights times 2^exponent, as integers;
    randomness: commitments, page by page, level by level; lot_randomness: one a dataset page, none for the
    full lot; update: u, shape (columns,), int64.
    """

    context: bytes
    beacon: bytes
    slot: bytes
    sigma: int
    dataset: Dataset
    model: Model
    weights: tuple[int, ...]
    exponent: int
    randomness: tuple[bytes, ...]
    lot_randomness: tuple[bytes, ...]
    update: NDArray[np.int64]


def prove(
    statement: GlmStatement,
    dataset: DatasetOpening,
    noise: NoiseOpening,
    lot: LotOpening | None,
    progress: Progress | None = None,
) -> bytes:
    """Prove a step; the same statement gives the same bytes.

    lot: None for the full lot. progress: called with the fraction done. Raises InputError if the statement is
    not true of the openings, or if it would be the fourth distinct one proven with this noise.
    """
    try:
        instance = instance_of(statement)
    except VerificationError as error:
        raise InputError(error.problem, error.remedy) from error
    _refuse_false_statement(statement, dataset, noise, lot)
    statement_digest = instance.transcript().digest()
    noise.register(statement_digest)
    if lot is not None:
        lot.register(statement_digest)
    return instance.prove(witness_of(statement, dataset, noise, lot), progress)


def verify(statement: GlmStatement, proof: bytes) -> None:
    """Verify by the numbered CHECKS; VerificationError names the first that fails.

    Does not check that the dataset was enrolled with valid proofs, nor where the beacon comes from: those are
    checks of the log.
    """
    instance_of(statement).verify(proof)


@lru_cache(maxsize=16)
def glm_circuit(
    shape: Shape, rows: tuple[int, ...], model: Model, factor: int, residual: Table, sigma: int
) -> Circuit:
    """Lot, residuals and u = g + z, and Σ_j θ^j·g_j = Σ s·e·Σ_j θ^j·x_j. factor: K of GLM.md."""
    pages, secret = range(len(rows)), model.lot < FULL_LOT
    gates: list[Gate] = []
    lookups: list[Lookup] = []
    terms: list[Expression] = []
    for page in pages:
        gates += _page_gates(page, secret, factor)
        lookups += _page_lookups(page, model.lot, residual)
        terms.append(_page_term(page, model, secret))
    lot = ("lot_carry", "lot_bits", "lot_in") if secret else ()
    per_page = (*lot, "high", "link", "low_0", "low_1")
    return Circuit(
        name=f"glm link={model.link} columns={shape.columns} label={shape.label} "
        f"entries={shape.entries} row_bound={shape.row_bound} "
        f"rows={','.join(map(str, rows))} lot={model.lot} residual_bound={model.residual_bound} "
        f"label_factor={factor} sigma={sigma}",
        committed=(
            *noisy.randomness_names(shape.columns, sigma),
            *(f"lot_r[{page}]" for page in pages if secret),
        ),
        linear=tuple(f"{name}[{page}]" for page in pages for name in ("margin", "y", "combined")),
        witness=(
            *(f"{name}[{page}]" for page in pages for name in per_page),
            *noisy.noise_witness_names(shape.columns, sigma),
            *data_bound.vector_names(shape.columns),
        ),
        late=tuple(f"left[{page}]" for page in pages),
        gates=(*gates, *noisy.noise_gates(shape.columns, sigma)),
        lookups=(*lookups, *noisy.noise_lookups(shape.columns, sigma)),
        sums=(Gate("gradient", total(terms) - data_bound.weighted_vector(shape.columns)),),
    ).check_shape()


def _page_gates(page: int, secret: bool, factor: int) -> list[Gate]:
    cell = {name: Cell(f"{name}[{page}]") for name in ("margin", "y", "high", "low_0", "low_1", "left")}
    value = cell["margin"] - factor * cell["y"]
    split = (1 << LOW_BITS) * (cell["high"] - _LIMB // 2) + _LIMB * cell["low_1"] + cell["low_0"]
    gates = [
        Gate(f"margin[{page}]", value - split),
        Gate(f"left[{page}]", cell["left"] - Cell(f"combined[{page}]")),
    ]
    if not secret:
        return gates
    carry, bits = Cell(f"lot_carry[{page}]"), Cell(f"lot_bits[{page}]")
    sum_of_bits = Cell(f"lot_r[{page}]") + Cell(f"lot_b[{page}]")
    return [
        Gate(f"lot_carry_boolean[{page}]", carry * carry - carry),
        Gate(f"lot_sum[{page}]", sum_of_bits - FULL_LOT * carry - bits),
        *gates,
    ]


def _page_lookups(page: int, lot: int, residual: Table) -> list[Lookup]:
    lookups = [
        Lookup(f"residual[{page}]", residual, (Cell(f"high[{page}]"), Cell(f"link[{page}]"))),
        *(Lookup(f"{name}[{page}]", RANGE, (Cell(f"{name}[{page}]"),)) for name in ("low_0", "low_1")),
    ]
    if lot == FULL_LOT:
        return lookups
    entry = (Cell(f"lot_bits[{page}]"), Cell(f"lot_in[{page}]"))
    return [Lookup(f"lot[{page}]", _lot_table(lot), entry), *lookups]


def _page_term(page: int, model: Model, secret: bool) -> Expression:
    """rows·s·(G·y - f)·Σ θ^j·x_j."""
    residual = model.label_gain * Cell(f"y[{page}]") - Cell(f"link[{page}]")
    chosen: Expression = Cell(f"rows[{page}]")
    if secret:
        chosen = chosen * Cell(f"lot_in[{page}]")
    return chosen * residual * Cell(f"left[{page}]")


def _lot_table(lot: int) -> Table:
    return Table("lot", 2, tuple((value, int(value < lot)) for value in range(FULL_LOT)))


def instance_of(statement: GlmStatement) -> Instance:
    """The statement's instance, after its own checks."""
    dataset, shape, model = statement.dataset, statement.dataset.shape, statement.model
    beacon, slot, update = statement.beacon, statement.slot, statement.update
    noisy.check_public(statement.context, beacon, slot, statement.sigma)
    check_dataset(dataset)
    noisy.check_vector("update", update, data_bound.MAX_ENTRY)
    if len(update) != shape.columns:
        raise VerificationError("update_encoding", "the update does not have one entry a feature.")
    check_model(dataset, model, statement.weights, statement.exponent)
    noisy.check_count(statement.randomness, noisy.noise_pages(shape.columns, statement.sigma))
    noisy.check_count(statement.lot_randomness, len(dataset.pages) if model.lot < FULL_LOT else 0)
    circuit = _circuit(statement)
    points = data_bound.decode_dataset(dataset)
    inputs: list[tuple[str, Input]] = [
        ("context", statement.context),
        ("beacon", beacon),
        ("slot", slot),
        ("sigma", statement.sigma),
        ("columns", shape.columns),
        ("row_bound", shape.row_bound),
        ("label", shape.label),
        ("entries", shape.entries),
        *data_bound.dataset_inputs(dataset),
        ("link", model.link),
        ("residual_bound", model.residual_bound),
        ("record_norm", model.record_norm),
        ("label_unit", model.label_unit),
        ("residual_norm", model.residual_norm),
        ("exponent", statement.exponent),
        ("lot", model.lot),
        ("weights", statement.weights),
        ("randomness", statement.randomness),
        ("lot_randomness", statement.lot_randomness),
        ("update", data_bound.update_digest(update)),
    ]
    fixed = noisy.noise_public(beacon, slot, update, statement.sigma) | data_bound.selectors(dataset)
    if model.lot < FULL_LOT:
        shared = public_lot(beacon, slot, [page.rows for page in dataset.pages])
        fixed |= {f"lot_b[{page}]": bits.tolist() for page, bits in enumerate(shared)}

    def public(challenges: Challenges) -> Columns:
        return fixed | data_bound.weight_columns(_powers(shape, challenges))

    def linear(challenges: Challenges) -> dict[str, Combination]:
        powers = _powers(shape, challenges)
        factors = [weight % MODULUS for weight in statement.weights]
        commitments: dict[str, Combination] = {}
        for page, columns in enumerate(points):
            features, label = columns[: shape.columns], columns[shape.columns : shape.variables]
            commitments[f"margin[{page}]"] = (features, factors)
            commitments[f"y[{page}]"] = (label, [1])
            commitments[f"combined[{page}]"] = (features, powers)
        return commitments

    committed = noisy.decode_commitments(
        circuit.committed, (*statement.randomness, *statement.lot_randomness)
    )
    return Instance(circuit, inputs, committed, public, linear)


def witness_of(
    statement: GlmStatement, dataset: DatasetOpening, noise: NoiseOpening, lot: LotOpening | None
) -> Witness:
    """The columns that satisfy the statement if the update is the exact step and the noise."""
    shape = dataset.shape
    early: dict[str, Sequence[int]] = _record_columns(statement, dataset, lot)
    early |= noisy.noise_witness(noise, statement.beacon, statement.slot)
    drawn = noise.noise(statement.beacon, statement.slot)
    early |= noisy.page_columns("g", (statement.update - drawn).tolist())
    margin_factors = [weight % MODULUS for weight in statement.weights]

    def linear(challenges: Challenges) -> Columns:
        powers = _powers(shape, challenges)
        columns: dict[str, Sequence[int]] = {}
        for index, page in enumerate(dataset.pages):
            columns[f"margin[{index}]"] = page.combine(margin_factors)
            columns[f"y[{index}]"] = page.combine([1], shape.columns)
            columns[f"combined[{index}]"] = page.combine(powers)
        return columns

    def late(challenges: Challenges) -> Columns:
        powers = _powers(shape, challenges)
        return {
            f"left[{index}]": page.combine(powers)[:DATA_ROWS] for index, page in enumerate(dataset.pages)
        }

    hidden = {} if lot is None else lot.columns
    return Witness(
        committed={**noise.columns, **hidden},
        early=early,
        secrets=(*noise.secrets, *dataset.secrets, *(() if lot is None else lot.secrets)),
        late=late,
        linear=linear,
    )


def _record_columns(
    statement: GlmStatement, dataset: DatasetOpening, lot: LotOpening | None
) -> dict[str, Sequence[int]]:
    """The witness columns of the records, page by page; rows without a record are those of a zero record."""
    value = margins(dataset, statement.model, statement.weights, statement.exponent)
    table = np.array([f for _, f in residual_table(statement.model, dataset.shape, statement.exponent).rows])
    columns: dict[str, Sequence[int]] = {}
    start = 0
    for index, page in enumerate(dataset.pages):
        rows = np.zeros(DATA_ROWS, dtype=np.int64)
        rows[: len(page.table)] = value[start : start + len(page.table)]
        start += len(page.table)
        high = (rows >> LOW_BITS) + _LIMB // 2
        low_0, low_1 = noisy.split(rows & ((1 << LOW_BITS) - 1), 2)
        if lot is not None:
            carry, bits, inside = lot.page_bits(index, statement.beacon, statement.slot, statement.model.lot)
            columns |= {
                f"lot_carry[{index}]": carry.tolist(),
                f"lot_bits[{index}]": bits.tolist(),
                f"lot_in[{index}]": inside.tolist(),
            }
        columns |= {
            f"high[{index}]": high.tolist(),
            f"link[{index}]": table[high].tolist(),
            f"low_0[{index}]": low_0.tolist(),
            f"low_1[{index}]": low_1.tolist(),
        }
    return columns


def _circuit(statement: GlmStatement) -> Circuit:
    dataset, model = statement.dataset, statement.model
    residual = residual_table(model, dataset.shape, statement.exponent)
    factor = label_factor(model, dataset.shape, statement.exponent)
    rows = tuple(page.rows for page in dataset.pages)
    return glm_circuit(dataset.shape, rows, model, factor, residual, statement.sigma)


def _powers(shape: Shape, challenges: Challenges) -> list[int]:
    """θ^j of every feature; nothing before θ is drawn."""
    return field.powers(challenges["theta"], shape.columns) if "theta" in challenges else []


def _refuse_false_statement(
    statement: GlmStatement, dataset: DatasetOpening, noise: NoiseOpening, lot: LotOpening | None
) -> None:
    """InputError unless the update is the exact step on these records plus this noise."""
    lot_points = () if lot is None else lot.commitments
    own = (dataset.dataset, noise.commitments, lot_points)
    if own != (statement.dataset, statement.randomness, statement.lot_randomness):
        raise InputError("the statement is about other commitments.", "Prove with their own openings.")
    exact = exact_step(
        dataset, statement.model, statement.weights, statement.exponent, lot, statement.beacon, statement.slot
    )
    data_bound.refuse_false_sum(statement.update, exact, noise, statement.beacon, statement.slot)
