"""Judging a slot: the one outcome of a participant that committed."""

import time

from intertwine.protocols.entries import Outcome, Verdict
from intertwine.protocols.errors import FederationError, VerificationError
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Slot
from intertwine.server.datasets import enrolled_chain
from intertwine.server.run_state import RoundState
from intertwine.server.store import Store, now
from intertwine.zk.dataset_proof import Chain
from intertwine.zk.round_proof import verify_release


class Judge:
    """Verifies the releases of one run; it keeps the chains of records that it has read."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self._store = store
        self._plan = plan
        self._chains: dict[tuple[str, str], Chain | None] = {}

    def judge(self, current: RoundState, participant: str) -> tuple[Outcome, str]:
        """The outcome of a slot that committed before the beacon, and what is wrong with its release.

        A logged release is verified; without one, the slot is aborted.
        """
        state, slot = current.slots[participant], current.slot(participant)
        if state.commit is None or current.beacon is None:
            raise FederationError(f"The slot of {participant!r} cannot be judged before commit and beacon.")
        if state.release is None:
            return _outcome(slot, "aborted", "release_missing"), ""
        commit, body = state.commit.commit, state.release.release.body
        update, proof, parameters = map(self._store.blob, (body.update, body.proof, commit.body.parameters))
        started = time.perf_counter()
        try:
            verify_release(
                self._plan,
                commit,
                bytes.fromhex(current.beacon.beacon),
                state.release.release,
                update,
                proof,
                parameters,
                self._chain(participant, commit.body.dataset),
            )
        except VerificationError as error:
            return _outcome(slot, "rejected", error.check, time.perf_counter() - started), str(error)
        return _outcome(slot, "accepted", "", time.perf_counter() - started), ""

    def _chain(self, participant: str, head: str) -> Chain | None:
        """The records that a commit names; None if it names none."""
        if not head:
            return None
        key = participant, head
        if key not in self._chains:
            self._chains[key] = enrolled_chain(self._store, participant, self._plan.task, head)
        return self._chains[key]


def _outcome(slot: Slot, verdict: Verdict, check: str, seconds: float = 0.0) -> Outcome:
    return Outcome(time=now(), slot=slot, verdict=verdict, check=check, verify_ms=round(1000 * seconds))
