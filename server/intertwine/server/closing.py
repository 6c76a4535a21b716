"""Ending a run that cannot go on, so that its log is complete: every logged release gets its one outcome."""

from intertwine.protocols.entries import (
    Act,
    BeaconEntry,
    CommitEntry,
    Entry,
    Failure,
    Outcome,
    ReleaseEntry,
    RoundOpened,
    RunStopped,
    Verdict,
    decode_entry,
)
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Commit, RoundId, Signed, Slot
from intertwine.server.datasets import enrolled_chain
from intertwine.server.store import LogRow, Run, Store, now
from intertwine.zk.round_proof import verify_release


def end_run(store: Store, plan: Plan, state: str, reason: str) -> None:
    """Judge what is left of the run's open round, log a Failure and set the run's state.

    state: failed, or stopped, which is an act of the coordinator's and logged as one. All of it is one
    transaction, after which the run's driver can log nothing more. Nothing happens if it has ended.
    """
    while not store.run(plan.run).ended:
        entries = [decode_entry(data) for data in store.entries()]
        ending: list[Entry] = [*_missing_outcomes(store, plan, entries)]
        if state == "stopped":
            ending.append(Act(time=now(), act=RunStopped(run=plan.run)))
        ending.append(Failure(time=now(), round=_latest_round(plan, entries), reason=reason[:500]))
        with store.transaction() as session:
            run = session.get_one(Run, plan.run)
            if run.ended or session.get(LogRow, len(entries)) is not None:
                continue  # the log has grown while the releases were judged: look again
            for entry in ending:
                store.append(session, entry)
            run.state, run.detail = state, reason


def _latest_round(plan: Plan, entries: list[Entry]) -> RoundId:
    """The round that was opened last; the first, if none was."""
    number = max(
        (
            entry.round.number
            for entry in entries
            if isinstance(entry, RoundOpened) and entry.round.run == plan.run
        ),
        default=1,
    )
    return RoundId(deployment=plan.deployment, run=plan.run, task=plan.task, number=number)


def _missing_outcomes(store: Store, plan: Plan, entries: list[Entry]) -> list[Outcome]:
    ended = {entry.slot for entry in entries if isinstance(entry, Outcome)}
    releases = {e.release.body.slot: e for e in entries if isinstance(e, ReleaseEntry)}
    beacons = {e.round: bytes.fromhex(e.beacon) for e in entries if isinstance(e, BeaconEntry)}
    commits = {e.commit.body.slot: e.commit for e in entries if isinstance(e, CommitEntry)}
    return [
        _judge(store, plan, commit, releases.get(slot), beacons[slot.round])
        for slot, commit in commits.items()
        if slot.round.run == plan.run and slot not in ended and slot.round in beacons
    ]


def _judge(
    store: Store, plan: Plan, commit: Signed[Commit], entry: ReleaseEntry | None, beacon: bytes
) -> Outcome:
    slot = commit.body.slot
    if entry is None:
        return _outcome(slot, "aborted", "release_missing")
    body = entry.release.body
    update, proof, parameters = map(store.blob, (body.update, body.proof, commit.body.parameters))
    head = commit.body.dataset
    chain = enrolled_chain(store, slot.participant, plan.task, head) if head else None
    try:
        verify_release(plan, commit, beacon, entry.release, update, proof, parameters, chain)
    except VerificationError as error:
        return _outcome(slot, "rejected", error.check)
    return _outcome(slot, "accepted", "")


def _outcome(slot: Slot, verdict: Verdict, check: str) -> Outcome:
    return Outcome(time=now(), slot=slot, verdict=verdict, check=check, verify_ms=0)
