"""From the documents of a round to the statement that its proof is about.

Coordinator, agent and auditor build the statement here and nowhere else, so a proof fits one slot, plan,
parameter vector, dataset, commit and beacon for all of them alike. The checks of `verify_release`, in order:

    signature           the release is signed with the key that signed the commit
    release_slot        it is for the commit's slot
    release_commit      it names this commit
    release_beacon      it names this beacon
    commit_plan         the commit was made for this plan
    commit_parameters   the commit was made for these parameters
    commit_dataset      it names the dataset in force, whose records have the plan's form; none for `release`
    commitment_count    it has as many points of each kind as the plan and the dataset ask for
    point_encoding      every point is canonical, in the subgroup and not the identity
    update_digest       the update is the one it names
    proof_digest        the proof is the one it names
    update_length       the update has the plan's dimension
    weights_range       the parameters are finite, and not beyond what a glm statement can hold
    and then those of `intertwine.zk.release.CHECKS`, or those of statistics or glm, whichever the plan names.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from intertwine.protocols.aggregation import parameters_from_bytes, update_from_bytes
from intertwine.protocols.encoding import sha256
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.mechanism import DataBound, GlmMechanism, ReleaseMechanism, StatisticsMechanism
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Commit, Release, Signed, StatementContext
from intertwine.zk import glm
from intertwine.zk.dataset import Shape
from intertwine.zk.dataset_proof import Chain, check_point
from intertwine.zk.domain import DATA_ROWS
from intertwine.zk.glm import GlmStatement
from intertwine.zk.instance import Instance, verify_all
from intertwine.zk.noise import noise_pages
from intertwine.zk.proof_file import instance_of
from intertwine.zk.release import Commitments, ReleaseStatement
from intertwine.zk.statistics import StatisticsStatement

Statement: TypeAlias = ReleaseStatement | StatisticsStatement | GlmStatement


class Answer(NamedTuple):
    """A release and all that it is judged by: the arguments of `verify_release`, in their order."""

    plan: Plan
    commit: Signed[Commit]
    beacon: bytes
    release: Signed[Release]
    update: bytes
    proof: bytes
    parameters: bytes
    chain: Chain | None


def check_commit(plan: Plan, commit: Commit, chain: Chain | None) -> None:
    """The checks commit_dataset, commitment_count and point_encoding of a commit by itself.

    chain: the participant's records that are in force for the plan's task; None if there are none.
    """
    if isinstance(plan.mechanism, ReleaseMechanism):
        if commit.dataset:
            raise VerificationError("commit_dataset", "the commit names a dataset, but the plan uses none.")
        counts = (-(-plan.dimension // DATA_ROWS), 0)
    else:
        counts = (0, _lot_points(plan.mechanism, _dataset_of(plan, plan.mechanism, commit, chain)))
    expected = (noise_pages(plan.dimension, plan.sigma), *counts)
    if (len(commit.randomness), len(commit.gradient), len(commit.lot)) != expected:
        raise VerificationError(
            "commitment_count",
            "the commit has not {} points for randomness, {} for g and {} for the lot.".format(*expected),
        )
    for point in (*commit.randomness, *commit.gradient, *commit.lot):
        check_point(bytes.fromhex(point))


def statement_for(
    plan: Plan,
    commit: Signed[Commit],
    beacon: bytes,
    update: NDArray[np.int64],
    parameters: NDArray[np.float64],
    chain: Chain | None,
) -> Statement:
    """What the release of `update`, shape (plan.dimension,), under the 32 bytes of `beacon` has to prove.

    parameters: those that the commit names, shape (plan.dimension,); chain: the dataset that it names.
    Assumes that `check_commit` passes. VerificationError if no statement can be made of the parameters.
    """
    context = StatementContext.create(plan, commit, beacon).encode()
    slot = commit.body.slot.identifier()
    randomness = _points(commit.body.randomness)
    match plan.mechanism:
        case ReleaseMechanism(update_bound=bound):
            commitments = Commitments(randomness, _points(commit.body.gradient))
            return ReleaseStatement(context, beacon, slot, plan.sigma, bound, commitments, update)
        case StatisticsMechanism(moment=moment, weights=weighting):
            dataset = _dataset_of(plan, plan.mechanism, commit.body, chain).dataset
            return StatisticsStatement(
                context, beacon, slot, plan.sigma, dataset, moment, weighting, randomness, update
            )
        case GlmMechanism():
            dataset = _dataset_of(plan, plan.mechanism, commit.body, chain).dataset
            model = model_of(plan, plan.mechanism)
            try:
                weights, exponent = glm.quantise_weights(parameters, dataset.shape, model)
            except InputError as error:
                raise VerificationError("weights_range", error.problem, error.remedy) from error
            lot = _points(commit.body.lot)
            return GlmStatement(
                context, beacon, slot, plan.sigma, dataset, model, weights, exponent, randomness, lot, update
            )


def model_of(plan: Plan, mechanism: GlmMechanism) -> glm.Model:
    """The model that a plan's glm steps are about."""
    return glm.Model(
        link=mechanism.link,
        residual_bound=mechanism.residual_bound,
        record_norm=plan.record_norm,
        lot=mechanism.lot,
        label_unit=mechanism.label_unit,
        residual_norm=mechanism.residual_norm,
    )


def planned_shape(plan: Plan, mechanism: DataBound) -> Shape:
    """The form that a data-bound plan asks of enrolled records."""
    columns = mechanism.columns(plan.dimension)
    return Shape(columns, mechanism.row_bound, mechanism.label, mechanism.entries)


def verify_release(
    plan: Plan,
    commit: Signed[Commit],
    beacon: bytes,
    release: Signed[Release],
    update: bytes,
    proof: bytes,
    parameters: bytes,
    chain: Chain | None,
) -> None:
    """Check that `release` answers `commit` under `beacon` with this update, and that the proof is valid.

    parameters: the vector that the round started from; chain: the records that the participant had enrolled
    for the plan's task when it committed, None if none. Raises VerificationError with the name of the first
    check that fails. Does not check the commit itself: who signed it, when it was logged, and that its points
    were never used before.
    """
    _instance(Answer(plan, commit, beacon, release, update, proof, parameters, chain)).verify(proof)


def verify_releases(answers: Sequence[Answer]) -> list[VerificationError | None]:
    """`verify_release` of many, at less cost: what is wrong with each, None for those that are valid."""
    return verify_all([(partial(_instance, answer), answer.proof) for answer in answers])


def check_references(commit: Signed[Commit], beacon: bytes, release: Signed[Release]) -> None:
    """The checks of `verify_release` that need neither update nor proof."""
    body = release.open(commit.key)
    if body.slot != commit.body.slot:
        raise VerificationError("release_slot", "the release is for another slot than the commit.")
    if body.commit != commit.digest():
        raise VerificationError("release_commit", "the release answers another commit.")
    if body.beacon != beacon.hex():
        raise VerificationError("release_beacon", "the release was made for another beacon.")


def statement_of(answer: Answer) -> Statement:
    """What the proof has to prove, after all checks of `verify_release` that come before the proof's own."""
    plan, commit, beacon, release, update, proof, parameters, chain = answer
    check_references(commit, beacon, release)
    if commit.body.plan != plan.digest():
        raise VerificationError("commit_plan", "the commit was made for another plan.")
    if commit.body.parameters != sha256(parameters):
        raise VerificationError("commit_parameters", "the commit was made for other parameters.")
    check_commit(plan, commit.body, chain)
    if sha256(update) != release.body.update:
        raise VerificationError("update_digest", "the update is not the one that the release names.")
    if sha256(proof) != release.body.proof:
        raise VerificationError("proof_digest", "the proof is not the one that the release names.")
    if len(update) != 4 * plan.dimension:
        raise VerificationError("update_length", f"the update does not have dimension {plan.dimension}.")
    vector = update_from_bytes(update, plan.dimension)
    try:
        start = parameters_from_bytes(parameters, plan.dimension)
    except InputError as error:
        raise VerificationError("weights_range", error.problem, error.remedy) from error
    return statement_for(plan, commit, beacon, vector, start, chain)


def _instance(answer: Answer) -> Instance:
    return instance_of(statement_of(answer))


def _dataset_of(plan: Plan, mechanism: DataBound, commit: Commit, chain: Chain | None) -> Chain:
    """The chain, if the commit names it and its records have the form that the plan asks for."""
    if chain is None or commit.dataset != chain.head:
        raise VerificationError(
            "commit_dataset",
            "the commit does not name the dataset that its participant has enrolled for the task.",
            "Enrol the records first, and name the latest document.",
        )
    if chain.dataset.shape != planned_shape(plan, mechanism):
        raise VerificationError(
            "commit_dataset", "the enrolled records do not have the form that the plan asks for."
        )
    return chain


def _lot_points(mechanism: DataBound, chain: Chain) -> int:
    sampled = isinstance(mechanism, GlmMechanism) and mechanism.sampled
    return len(chain.dataset.pages) if sampled else 0


def _points(encoded: list[str]) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(point) for point in encoded)
