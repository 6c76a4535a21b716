"""One statement of each kind, about to be proven by a prover that may depart from the protocol anywhere.

A `Play` starts out honest. A case changes what it likes (public inputs, committed columns, witness, late and
linear columns, or the prover's own rounds) and then forges the proof.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intertwine.protocols.encoding import encode
from intertwine.zk import dataset, glm, kzg, noise, proof_file, reference_string, release, statistics
from intertwine.zk.dataset import DatasetOpening, PageStatement, Shape
from intertwine.zk.domain import DATA_ROWS
from intertwine.zk.glm import GlmStatement, Model
from intertwine.zk.instance import Instance
from intertwine.zk.proof_file import Statement
from intertwine.zk.prover import Prover, Witness
from intertwine.zk.release import Commitments, ReleaseStatement
from intertwine.zk.sampler import Sampler, sampler
from intertwine.zk.statistics import StatisticsStatement
from intertwine.zk.transcript import Transcript


def fixed(name: str) -> bytes:
    """32 bytes that are the same in every run."""
    return hashlib.sha256(name.encode()).digest()


CONTEXT = {"deployment": "conformance", "model": "first", "participant": "ana", "round": 3}
BEACON, SLOT = fixed("beacon"), fixed("slot")
NORM_BOUND = 400
ROW = 1
"""The entry that noise cases tamper with."""

Draws = Mapping[tuple[int, int], int]
"""By level and row: the uniform bits r + b that a prover that knows the beacon arranges."""


@dataclass(frozen=True)
class Forged:
    """A proof file's parts. broken: the gates that the prover's own rows violate."""

    statement: Statement
    proof: bytes
    broken: frozenset[str] = frozenset()

    @property
    def data(self) -> bytes:
        return proof_file.encode(self.statement, self.proof)


@dataclass
class Play:
    """What is about to be proven. secrets: openings and plain values by name, for the cases to use."""

    statement: Any
    witness: Witness
    secrets: dict[str, Any]
    make: type[Prover] = Prover
    instance: Instance | None = None
    transcript: Transcript | None = None
    reference: Any = None

    @property
    def early(self) -> dict[str, Any]:
        return self.witness.early  # type: ignore[return-value]

    def set(self, column: str, row: int, value: int) -> None:
        """Change a cell of a witness column."""
        rows = list(self.early[column])
        rows += [0] * (row + 1 - len(rows))
        rows[row] = value
        self.early[column] = rows

    def change(self, **fields: Any) -> None:
        """Change public inputs."""
        self.statement = replace(self.statement, **fields)

    def add_to_update(self, row: int, value: int) -> None:
        update = self.statement.update.copy()
        update[row] += value
        self.change(update=update)

    def commit(self, column: str, row: int, value: int) -> None:
        """Change a cell of a committed column to any field element, and its commitment with it."""
        rows = self.witness.committed[column]
        rows[row] = value  # type: ignore[index]
        point = noise.commit_columns([rows])[0]
        self.change(**_with_commitment(self.statement, column, point))

    def prover(self) -> Prover:
        instance = self.instance or proof_file.instance_of(self.statement)
        transcript = self.transcript or instance.transcript()
        reference = self.reference or reference_string.load()
        return self.make(instance.circuit, reference, instance.public, self.witness, transcript)

    def forge(self) -> Forged:
        prover = self.prover()
        proof = prover.prove()
        return Forged(self.statement, proof, frozenset(prover.broken_gates()))


def _with_commitment(statement: Any, column: str, point: bytes) -> dict[str, Any]:
    """The public input that holds a column's commitment, with another point in its place."""

    def put(points: tuple[bytes, ...], names: list[str]) -> tuple[bytes, ...]:
        return tuple(point if name == column else old for name, old in zip(names, points, strict=True))

    if isinstance(statement, PageStatement):
        points = put(statement.page.commitments, list(statement.shape.names))
        return {"page": replace(statement.page, commitments=points)}
    names = list(proof_file.instance_of(statement).circuit.committed)
    if isinstance(statement, ReleaseStatement):
        own = statement.commitments
        split = len(own.randomness)
        points = put((*own.randomness, *own.gradient), names)
        return {"commitments": Commitments(points[:split], points[split:])}
    split = len(statement.randomness)
    if column in names[:split]:
        return {"randomness": put(statement.randomness, names[:split])}
    return {"lot_randomness": put(statement.lot_randomness, names[split:])}


# Releases


def release_play(
    dimension: int = 57,
    sigma: int = 100,
    draws: Draws | None = None,
    beacon: bytes = BEACON,
    seed: str = "seed",
    gradient: NDArray[np.int64] | None = None,
) -> Play:
    """By default the vector has norm exactly NORM_BOUND, in its first and last entry."""
    if gradient is None:
        gradient = np.zeros(dimension, dtype=np.int64)
        gradient[[0, -1]] = (240, 320)
    opening = release.commit(gradient, sigma, fixed(seed))
    arrange(opening.noise, draws or {}, beacon)
    points = Commitments(noise.commit_columns(opening.noise.columns.values()), opening.commitments.gradient)
    statement = ReleaseStatement(
        context=encode(CONTEXT),
        beacon=beacon,
        slot=SLOT,
        sigma=sigma,
        norm_bound=NORM_BOUND,
        commitments=points,
        update=gradient + release.noise(opening, beacon, SLOT),
    )
    return Play(
        statement, release.witness_of(statement, opening), {"noise": opening.noise, "exact": gradient}
    )


def arrange(opening: noise.NoiseOpening, draws: Draws, beacon: bytes) -> None:
    """Choose random bits, knowing the beacon, so that r + b is as wished."""
    shared = noise.public_randomness(beacon, SLOT, opening.dimension, opening.sigma)
    for (level, row), wished in draws.items():
        bits = (wished - int(shared[level, row])) % 2 ** sampler(opening.sigma).bits
        opening.random_bits[level, row] = bits
        opening.columns[f"r[{row // DATA_ROWS},{level}]"][row % DATA_ROWS] = bits


# Enrolled records

PAGES = (20, 15)
SHAPES = {kind: Shape(3, 50, kind) for kind in ("none", "binary", "integer")}
UNIFORM = Shape(3, 50, "none", "uniform")


def records(label: str, rows: int, seed: str) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Features in [-25, 25] and labels; the first record's norm is exactly the bound."""
    stream = hashlib.shake_256(seed.encode()).digest(8 * rows)
    numbers = np.frombuffer(stream, dtype="<u2").astype(np.int64).reshape(rows, 4)
    features = numbers[:, :3] % 51 - 25
    features[0] = (30, -40, 0)
    spread = {"binary": 2, "integer": 200}.get(label)
    return features, None if spread is None else numbers[:, 3] % spread - (100 if spread > 2 else 0)


def enrolled(label: str, seed: str = "records") -> DatasetOpening:
    """Two pages of records."""
    parts = []
    for page, rows in enumerate(PAGES):
        features, labels = records(label, rows, f"{seed} {page}")
        secret = fixed(f"{seed} {page}")
        parts.append(dataset.commit_dataset(features, labels, SHAPES[label], secret))
    return DatasetOpening.concatenate(parts)


def dataset_play(label: str = "binary") -> Play:
    """The first page's enrolment."""
    opening = enrolled(label)
    return page_play(opening.pages[0].table, opening.shape)


def page_play(table: NDArray[np.int64], shape: Shape, rows: int | None = None) -> Play:
    """The enrolment of a page with this table, whether or not its records obey their bounds."""
    page = page_opening(table, shape, rows)
    statement = PageStatement(encode(CONTEXT), shape, page.page)
    return Play(statement, dataset.witness_of(statement, page), {"page": page})


def page_opening(table: NDArray[np.int64], shape: Shape, rows: int | None = None) -> dataset.PageOpening:
    """A page that claims `rows` records, whatever its table holds."""
    blinding = tuple(
        tuple(int.from_bytes(fixed(f"{name} {row}"), "big") >> 2 for row in range(8)) for name in shape.names
    )
    unfinished = dataset.PageOpening(dataset.Page(len(table), ()), table, blinding, fixed("page"))
    points = noise.commit_columns(unfinished.columns(shape).values())
    return replace(unfinished, page=dataset.Page(len(table) if rows is None else rows, points))


def statistics_play(
    moment: Any = "sum",
    weights: Any = "label",
    sigma: int = 100,
    draws: Draws | None = None,
    beacon: bytes = BEACON,
    opening: DatasetOpening | None = None,
) -> Play:
    opening = opening or enrolled("binary")
    exact = statistics.exact_sum(opening, moment, weights)
    hidden = noise.NoiseOpening(len(exact), sigma, fixed("seed"))
    arrange(hidden, draws or {}, beacon)
    statement = StatisticsStatement(
        context=encode(CONTEXT),
        beacon=beacon,
        slot=SLOT,
        sigma=sigma,
        dataset=opening.dataset,
        moment=moment,
        weights=weights,
        randomness=noise.commit_columns(hidden.columns.values()),
        update=exact + hidden.noise(beacon, SLOT),
    )
    witness = statistics.witness_of(statement, opening, hidden)
    return Play(statement, witness, {"noise": hidden, "dataset": opening, "exact": exact})


LOGISTIC = Model("logistic", 100, "1", lot=1024)
LINEAR = Model("identity", 90, "1.5", label_unit="0.01", residual_norm="4")
PARAMETERS = np.array([0.5, -0.25, 1.0])


def glm_play(
    model: Model = LOGISTIC,
    sigma: int = 2049,
    draws: Draws | None = None,
    beacon: bytes = BEACON,
    opening: DatasetOpening | None = None,
    parameters: NDArray[np.float64] = PARAMETERS,
) -> Play:
    opening = opening or enrolled("binary" if model.link == "logistic" else "integer")
    weights, exponent = glm.quantise_weights(parameters, opening.shape, model)
    lot = None
    if model.lot < glm.FULL_LOT:
        lot = glm.LotOpening([page.rows for page in opening.dataset.pages], fixed("lot"))
    exact = glm.exact_step(opening, model, weights, exponent, lot, beacon, SLOT)
    hidden = noise.NoiseOpening(len(exact), sigma, fixed("seed"))
    arrange(hidden, draws or {}, beacon)
    statement = GlmStatement(
        context=encode(CONTEXT),
        beacon=beacon,
        slot=SLOT,
        sigma=sigma,
        dataset=opening.dataset,
        model=model,
        weights=weights,
        exponent=exponent,
        randomness=noise.commit_columns(hidden.columns.values()),
        lot_randomness=() if lot is None else lot.commitments,
        update=exact + hidden.noise(beacon, SLOT),
    )
    witness = glm.witness_of(statement, opening, hidden, lot)
    return Play(statement, witness, {"noise": hidden, "dataset": opening, "lot": lot, "exact": exact})


# Noise


def chosen_sampler(play: Play) -> Sampler:
    return sampler(play.statement.sigma)


def claim(play: Play, level: int, row: int = ROW, size: int | None = None, sign: int | None = None) -> None:
    """Claim another magnitude or sign of an entry's noise; the update moves along: u - g is the noise."""
    name, step = f"[{row // DATA_ROWS},{level}]", chosen_sampler(play).steps[level]
    old_size, old_sign = play.early[f"size{name}"][row], play.early[f"sign{name}"][row]
    size, sign = old_size if size is None else size, old_sign if sign is None else sign
    play.set(f"size{name}", row, size)
    play.set(f"sign{name}", row, sign)
    play.add_to_update(row, step * ((1 - 2 * sign) * size - (1 - 2 * old_sign) * old_size))


def set_limbs(play: Play, column: str, level: int, *limbs: int, row: int = ROW) -> None:
    """The limbs of `below` or `above`, lowest first; the others are 0."""
    for index in range(noise.LIMBS):
        play.set(f"{column}_{index}[0,{level}]", row, limbs[index] if index < len(limbs) else 0)


def set_distance(play: Play, column: str, level: int, value: int) -> None:
    set_limbs(play, column, level, *(value >> (11 * index) & 2047 for index in range(noise.LIMBS)))


def encoded_generator() -> bytes:
    """A valid point that nobody committed to."""
    return kzg.encode_point(kzg.G1Point())
