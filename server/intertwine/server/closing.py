"""Ending a run that cannot go on, so that its log is complete: every logged release gets its one outcome."""

from sqlalchemy import func, select

from intertwine.protocols.entries import Act, Entry, Failure, RunStopped
from intertwine.protocols.plan import Plan
from intertwine.server.judging import Judge
from intertwine.server.run_state import RunState
from intertwine.server.store import LogRow, Run, Store, now


def end_run(store: Store, plan: Plan, state: str, reason: str, by: str | None = None) -> None:
    """Judge what is left of the run's open round, log a Failure and set the run's state.

    state: failed, or stopped, which is logged as an act of the coordinator's, or of whom `by` names. All of
    it is one transaction, after which the run's driver can log nothing more. Nothing happens if it has ended.
    What was noted last stays beside the reason of a failure: it says why, as a participant's refusal does.
    """
    judge = Judge(store, plan)
    while not store.run(plan.run).ended:
        entries = store.run_entries(plan.run)
        found = RunState.of(plan, entries)
        ending: list[Entry] = []
        current = found.current
        if current is not None and current.beacon is not None:
            pending = [name for name, slot in current.slots.items() if slot.pending]
            ending += [judge.judge(current, name)[0] for name in pending]
        if state == "stopped":
            ending.append(Act(time=now(), by=by, act=RunStopped(run=plan.run)))
        ending.append(Failure(time=now(), round=found.round_id(), reason=reason[:500]))
        seen = max((position for position, _ in entries), default=None)
        newest = select(func.max(LogRow.position)).where(LogRow.run == plan.run)
        with store.transaction() as session:
            run = session.get_one(Run, plan.run)
            if run.ended or session.scalar(newest) != seen:
                continue  # the run has gone on while the releases were judged: look again
            for entry in ending:
                found = found.after(store.append(session, entry), entry)
            latest = f"; before that: {run.detail}" if state == "failed" and run.detail else ""
            run.state, run.detail = state, f"{reason}{latest}"[:500]
