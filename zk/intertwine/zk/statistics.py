"""The statistics statement: a noised sum over the records of an enrolled dataset.

Counts and histograms (`sum`), sums over the records with a label (`sum` weighted by `label`) and Gram
matrices (`gram`). Claim, sensitivities and constraints: STATISTICS.md.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import data_bound, field
from intertwine.zk import noise as noisy
from intertwine.zk.circuit import Challenges, Circuit, Gate
from intertwine.zk.dataset import LABEL_BOUND, Dataset, DatasetOpening, Shape, check_dataset
from intertwine.zk.domain import DATA_ROWS
from intertwine.zk.expression import Cell, Expression, total
from intertwine.zk.field import MODULUS
from intertwine.zk.instance import Input, Instance, numbered
from intertwine.zk.noise import NoiseOpening
from intertwine.zk.prover import Columns, Progress, Witness
from intertwine.zk.verifier import Combination

Moment: TypeAlias = Literal["sum", "gram"]
Weights: TypeAlias = Literal["one", "label"]

CHECKS = numbered(
    ("sigma_supported", "there is a sampler for sigma"),
    ("dataset_shape", "the dataset's rows, columns, row_bound and label are in their ranges"),
    ("commitment_count", "there is one commitment a column, page and level"),
    ("update_encoding", "the update is a vector of signed 64-bit integers of the moment's dimension"),
    ("update_range", "every entry of the update is below 2^31 in absolute value"),
    ("statistic_known", "moment and weights are known and fit the label"),
    ("threshold_table", "the threshold table has the pinned digest"),
)


@dataclass(frozen=True, eq=False)
class StatisticsStatement:
    """What is proven, and about whom.

    context: canonical bytes of everything else that is bound; beacon, slot: 32 bytes; sigma: one of SIGMAS;
    dataset: the enrolled records; randomness: commitments, page by page, level by level; update: u, shape
    (d,), int64.
    """

    context: bytes
    beacon: bytes
    slot: bytes
    sigma: int
    dataset: Dataset
    moment: Moment
    weights: Weights
    randomness: tuple[bytes, ...]
    update: NDArray[np.int64]


def dimension(shape: Shape, moment: Moment) -> int:
    """How many entries the sum has."""
    return shape.columns if moment == "sum" else shape.variables * (shape.variables + 1) // 2


def sensitivity(shape: Shape, moment: Moment, weights: Weights) -> int:
    """The L2 norm by which one record can move the sum (zero-out adjacency), in integer units."""
    label = LABEL_BOUND[shape.label]
    if moment == "gram":
        return shape.row_bound**2 + label**2
    return shape.row_bound * (label if weights == "label" else 1)


def exact_sum(opening: DatasetOpening, moment: Moment, weights: Weights) -> NDArray[np.int64]:
    """The sum without noise, int64: shape (columns,), or the upper triangle of the Gram matrix by rows.

    VerificationError `statistic_known` for a sum weighted by labels that there are not.
    """
    _check_statistic(opening.shape, moment, weights)
    features, labels = opening.features, opening.labels
    if moment == "sum":
        plain: NDArray[np.int64] = features.sum(axis=0)
        return plain if weights == "one" or labels is None else labels @ features
    variables = features if labels is None else np.column_stack((features, labels))
    gram: NDArray[np.int64] = variables.T @ variables
    return gram[np.triu_indices(len(gram))]


def prove(
    statement: StatisticsStatement,
    dataset: DatasetOpening,
    noise: NoiseOpening,
    progress: Progress | None = None,
) -> bytes:
    """Prove a noised sum; the same statement gives the same bytes.

    progress: called with the fraction done. Raises InputError if the statement is not true of the openings,
    or if it would be the fourth distinct one proven with this noise.
    """
    try:
        instance = instance_of(statement)
    except VerificationError as error:
        raise InputError(error.problem, error.remedy) from error
    if statement.dataset != dataset.dataset or statement.randomness != noise.commitments:
        raise InputError("the statement is about other commitments.", "Prove with their own openings.")
    exact = exact_sum(dataset, statement.moment, statement.weights)
    data_bound.refuse_false_sum(statement.update, exact, noise, statement.beacon, statement.slot)
    noise.register(instance.transcript().digest())
    return instance.prove(witness_of(statement, dataset, noise), progress)


def verify(statement: StatisticsStatement, proof: bytes) -> None:
    """Verify by the numbered CHECKS; VerificationError names the first that fails.

    Does not check that the dataset was enrolled with valid proofs, nor where the beacon comes from: those are
    checks of the log.
    """
    instance_of(statement).verify(proof)


@lru_cache(maxsize=16)
def statistics_circuit(
    shape: Shape, rows: str, pages: int, moment: Moment, weights: Weights, sigma: int
) -> Circuit:
    """u = g + z and Σ_j c_j·g_j = Σ over the records, for the coefficients that follow from θ."""
    size, all_pages = dimension(shape, moment), range(pages)
    plain = moment == "sum" and weights == "one"
    partner = "other" if moment == "gram" else "y"
    terms: list[Expression] = []
    for page in all_pages:
        term: Expression = Cell(f"rows[{page}]") * Cell(f"combined[{page}]")
        if not plain:
            term = Cell(f"rows[{page}]") * Cell(f"left[{page}]") * Cell(f"{partner}[{page}]")
        terms.append(term)
    late = () if plain else tuple(f"left[{page}]" for page in all_pages)
    copies = [Gate(name, Cell(name) - Cell(f"combined{name.removeprefix('left')}")) for name in late]
    return Circuit(
        name=f"statistics moment={moment} weights={weights} columns={shape.columns} label={shape.label} "
        f"entries={shape.entries} row_bound={shape.row_bound} rows={rows} sigma={sigma}",
        committed=noisy.randomness_names(size, sigma),
        linear=(
            *(f"combined[{page}]" for page in all_pages),
            *(() if plain else (f"{partner}[{page}]" for page in all_pages)),
        ),
        witness=(*noisy.noise_witness_names(size, sigma), *data_bound.vector_names(size)),
        late=late,
        gates=(*noisy.noise_gates(size, sigma), *copies),
        lookups=tuple(noisy.noise_lookups(size, sigma)),
        sums=(Gate("total", total(terms) - data_bound.weighted_vector(size)),),
    ).check_shape()


def instance_of(statement: StatisticsStatement) -> Instance:
    """The statement's instance, after its own checks."""
    dataset, shape, update = statement.dataset, statement.dataset.shape, statement.update
    moment, weights = statement.moment, statement.weights
    noisy.check_public(statement.context, statement.beacon, statement.slot, statement.sigma)
    check_dataset(dataset)
    noisy.check_vector("update", update, data_bound.MAX_ENTRY)
    _check_statistic(shape, moment, weights)
    if len(update) != dimension(shape, moment):
        raise VerificationError("update_encoding", "the update does not have the moment's dimension.")
    noisy.check_count(statement.randomness, noisy.noise_pages(len(update), statement.sigma))
    circuit = _circuit(statement)
    points = data_bound.decode_dataset(dataset)
    inputs: list[tuple[str, Input]] = [
        ("context", statement.context),
        ("beacon", statement.beacon),
        ("slot", statement.slot),
        ("sigma", statement.sigma),
        ("columns", shape.columns),
        ("row_bound", shape.row_bound),
        ("label", shape.label),
        ("entries", shape.entries),
        ("moment", moment),
        ("weights", weights),
        *data_bound.dataset_inputs(dataset),
        ("randomness", statement.randomness),
        ("update", data_bound.update_digest(update)),
    ]
    fixed = noisy.noise_public(statement.beacon, statement.slot, update, statement.sigma)
    fixed |= data_bound.selectors(dataset)

    def public(challenges: Challenges) -> Columns:
        return fixed | data_bound.weight_columns(_coefficients(shape, moment, challenges))

    def linear(challenges: Challenges) -> dict[str, Combination]:
        factors = _linear_weights(shape, moment, weights, challenges)
        return {
            f"{name}[{page}]": (columns[start : start + len(some)], some)
            for name, (start, some) in factors.items()
            for page, columns in enumerate(points)
        }

    committed = noisy.decode_commitments(circuit.committed, statement.randomness)
    return Instance(circuit, inputs, committed, public, linear)


def witness_of(statement: StatisticsStatement, dataset: DatasetOpening, noise: NoiseOpening) -> Witness:
    """The columns that satisfy the statement if the update is the exact sum and the noise."""
    shape, moment, weights = dataset.shape, statement.moment, statement.weights
    drawn = noise.noise(statement.beacon, statement.slot)

    def linear(challenges: Challenges) -> Columns:
        factors = _linear_weights(shape, moment, weights, challenges)
        return {
            f"{name}[{index}]": page.combine(some, start)
            for name, (start, some) in factors.items()
            for index, page in enumerate(dataset.pages)
        }

    def late(challenges: Challenges) -> Columns:
        if moment == "sum" and weights == "one":
            return {}
        _, factors = _linear_weights(shape, moment, weights, challenges)["combined"]
        pages = enumerate(dataset.pages)
        return {f"left[{index}]": page.combine(factors)[:DATA_ROWS] for index, page in pages}

    return Witness(
        committed=noise.columns,
        early={
            **noisy.noise_witness(noise, statement.beacon, statement.slot),
            **noisy.page_columns("g", (statement.update - drawn).tolist()),
        },
        secrets=(*noise.secrets, *dataset.secrets),
        late=late,
        linear=linear,
    )


def _circuit(statement: StatisticsStatement) -> Circuit:
    dataset = statement.dataset
    return statistics_circuit(
        dataset.shape,
        data_bound.rows_text(dataset),
        len(dataset.pages),
        statement.moment,
        statement.weights,
        statement.sigma,
    )


def _check_statistic(shape: Shape, moment: str, weights: str) -> None:
    known = (moment, weights) in (("sum", "one"), ("sum", "label"), ("gram", "one"))
    if not known or (weights == "label" and shape.label == "none"):
        raise VerificationError(
            "statistic_known", f"there is no statistic {moment!r} with weights {weights!r} of this dataset."
        )


def _coefficients(shape: Shape, moment: Moment, challenges: Challenges) -> list[int]:
    """c_j of every entry of the sum; nothing before θ is drawn."""
    if "theta" not in challenges:
        return []
    theta, size = challenges["theta"], shape.variables
    if moment == "sum":
        return field.powers(theta, shape.columns)
    powers = field.powers(theta, size * size)
    return [
        powers[j + size * j] if j == k else (powers[j + size * k] + powers[k + size * j]) % MODULUS
        for j in range(size)
        for k in range(j, size)
    ]


def _linear_weights(
    shape: Shape, moment: Moment, weights: Weights, challenges: Challenges
) -> dict[str, tuple[int, list[int]]]:
    """By kind of linear column: the first dataset column that it combines, and their factors."""
    theta, size = challenges["theta"], shape.variables
    if moment == "gram":
        step = pow(theta, size, MODULUS)
        return {"combined": (0, field.powers(theta, size)), "other": (0, field.powers(step, size))}
    combined = {"combined": (0, field.powers(theta, shape.columns))}
    return combined if weights == "one" else {**combined, "y": (shape.columns, [1])}
