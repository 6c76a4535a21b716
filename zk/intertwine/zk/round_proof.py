"""From the documents of a round to the statement that its proof is about.

Coordinator, agent and auditor build the statement here and nowhere else, so a proof fits one slot, plan,
parameter vector, commit and beacon for all of them alike. The checks of `verify_release`, in this order:

    signature          the release is signed with the key that signed the commit
    release_slot       it is for the commit's slot
    release_commit     it names this commit
    release_beacon     it names this beacon
    commit_plan        the commit was made for this plan
    update_digest      the update is the one it names
    proof_digest       the proof is the one it names
    update_length      the update has the plan's dimension
    and then those of `intertwine.zk.release.CHECKS`.
"""

import numpy as np
from numpy.typing import NDArray

from intertwine.protocols.aggregation import update_from_bytes
from intertwine.protocols.encoding import sha256
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Commit, Release, Signed, StatementContext
from intertwine.zk import release as release_statement
from intertwine.zk.release import Commitments, ReleaseStatement


def commitments_of(commit: Commit) -> Commitments:
    """The commit's points; VerificationError `commitment_count` or `point_encoding` if they are not valid."""
    return Commitments(
        randomness=tuple(bytes.fromhex(point) for point in commit.randomness),
        gradient=tuple(bytes.fromhex(point) for point in commit.gradient),
    )


def statement_for(
    plan: Plan, commit: Signed[Commit], beacon: bytes, update: NDArray[np.int64]
) -> ReleaseStatement:
    """What the release of `update`, shape (plan.dimension,), under the 32 bytes of `beacon` has to prove."""
    return ReleaseStatement(
        context=StatementContext.create(plan, commit, beacon).encode(),
        beacon=beacon,
        slot=commit.body.slot.identifier(),
        sigma=plan.sigma,
        norm_bound=plan.update_bound,
        commitments=commitments_of(commit.body),
        update=update,
    )


def verify_release(
    plan: Plan,
    commit: Signed[Commit],
    beacon: bytes,
    release: Signed[Release],
    update_bytes: bytes,
    proof: bytes,
) -> None:
    """Check that `release` answers `commit` under `beacon` with this update, and that the proof is valid.

    Raises VerificationError with the name of the first check that fails. Does not check the commit itself:
    who signed it, when it was logged, and that its points were never used before.
    """
    check_references(commit, beacon, release)
    if commit.body.plan != plan.digest():
        raise VerificationError("commit_plan", "the commit was made for another plan.")
    if sha256(update_bytes) != release.body.update:
        raise VerificationError("update_digest", "the update is not the one that the release names.")
    if sha256(proof) != release.body.proof:
        raise VerificationError("proof_digest", "the proof is not the one that the release names.")
    if len(update_bytes) != 4 * plan.dimension:
        raise VerificationError("update_length", f"the update does not have dimension {plan.dimension}.")
    update = update_from_bytes(update_bytes, plan.dimension)
    release_statement.verify(statement_for(plan, commit, beacon, update), proof)


def check_references(commit: Signed[Commit], beacon: bytes, release: Signed[Release]) -> None:
    """The checks of `verify_release` that need neither update nor proof."""
    body = release.open(commit.key)
    if body.slot != commit.body.slot:
        raise VerificationError("release_slot", "the release is for another slot than the commit.")
    if body.commit != commit.digest():
        raise VerificationError("release_commit", "the release answers another commit.")
    if body.beacon != beacon.hex():
        raise VerificationError("release_beacon", "the release was made for another beacon.")
