"""Keeping runs going: a SuperLink or a driver that was killed is started again, and the run goes on.

Whether a driver lives is told by the lock it holds (see `driver`); what Flower says of its process only tells
one that has not begun yet from one that never will.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from intertwine.protocols.entries import Act, RunResumed
from intertwine.protocols.errors import FederationError, InputError, IntertwineError
from intertwine.protocols.plan import Plan
from intertwine.server.closing import end_run
from intertwine.server.driver import driven
from intertwine.server.home import Home
from intertwine.server.run_state import RunState
from intertwine.server.store import Run, Store, now
from intertwine.server.superlink import ControlClient, SuperLink

PERIOD_S = 1.0
LAUNCH_S = 30
"""How long `launch` may take from logging the plan to starting the driver."""
MAX_ATTEMPTS = 5
"""Drivers in a row that may end without adding an entry to the log; then the run has failed."""
_JOIN_S = 30.0
_log = logging.getLogger(__name__)


def start_driver(home: Home, store: Store, control: ControlClient, run: str) -> None:
    """Start a process that drives the run. FederationError if SuperLink does not take it."""
    config = {"home": str(home.path.resolve()), "run": run}
    store.update_run(run, flower_run=str(control.launch(config)))


def resume(home: Home, store: Store, control: ControlClient, run: str) -> None:
    """Let a run go on that was interrupted, or with its next round if it has failed, and log that.

    InputError if it is being driven, has finished or was stopped, or if it failed in its last round.
    FederationError if the SuperLink does not take it; the run is as it was then.
    """
    row = store.run(run)
    if driven(home, run):
        raise InputError(f"Run {run!r} goes on: a process drives it.", "See: intertwine coordinator status")
    state = RunState.of(Plan.decode(row.plan), store.run_entries(run))
    if row.state in ("finished", "stopped") or not (state.resumable or not row.ended):
        raise InputError(
            f"Run {run!r} has {row.state} and has no round left to go on with.", "Launch a new run."
        )
    control.require_answer()
    with store.transaction() as session:
        current = session.get_one(Run, run)
        if current.state != row.state:
            raise InputError(f"Run {run!r} has just {current.state}.", "See: intertwine coordinator status")
        current.state, current.detail = "launched", "resumed"
        store.append(session, Act(time=now(), act=RunResumed(run=run)))
    try:
        forget_driver(control, row)
        start_driver(home, store, control, run)
    except IntertwineError:
        # Otherwise the run would go on, and spend budgets, whenever somebody starts the SuperLink.
        store.update_run(run, state=row.state, detail=row.detail)
        raise


def stop(store: Store, run: str, forget: Callable[[Run], object], by: str | None = None) -> None:
    """End a run before its time, log that, and let `forget` tell Flower; InputError if it has ended.

    by: the name, from a grant, of who asked for it over HTTP.
    """
    row = store.run(run)
    if row.ended:
        raise InputError(f"Run {run!r} has {row.state} already.", "Nothing needs to be stopped.")
    end_run(store, Plan.decode(row.plan), "stopped", f"stopped by {by or 'the coordinator'}", by)
    forget(row)


def forget_driver(control: ControlClient, row: Run) -> None:
    """Tell Flower that the run's latest driver is gone or not wanted, if it has not noticed."""
    if row.flower_run:
        try:
            control.stop_run(int(row.flower_run))
        except FederationError as error:
            _log.info("Flower's run was not stopped: %s", error, extra={"run": row.name})


@dataclass
class _Attempts:
    """Drivers that were started one after another while the log had this many of the run's entries."""

    entries: int
    count: int = 0
    not_before: float = 0.0


class Supervisor:
    """A thread beside the servers that starts again what was killed."""

    def __init__(self, home: Home, store: Store, superlink: SuperLink) -> None:
        self._home, self._store, self._superlink = home, store, superlink
        self._attempts: dict[str, _Attempts] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while not self._ending.wait(PERIOD_S):
            try:
                self._look()
            except IntertwineError as error:
                _log.warning("the runs cannot be kept going, which is tried again: %s", error)
            except Exception:
                _log.exception("the runs cannot be kept going, which is tried again")

    def _look(self) -> None:
        if not self._superlink.alive:
            _log.warning("the SuperLink has ended and is started again")
            self._superlink.start()
        for row in self._store.runs():
            if not row.ended and not driven(self._home, row.name) and self._abandoned(row):
                self._go_on(row)

    def _abandoned(self, row: Run) -> bool:
        """Whether a run without a driver will get none by itself."""
        if not row.flower_run:
            return now() > row.launched + LAUNCH_S
        if row.driver == row.flower_run:
            return True
        return self._superlink.run_status(int(row.flower_run)).startswith("finished")

    def _go_on(self, row: Run) -> None:
        entries = len(self._store.run_entries(row.name))
        tried = self._attempts.get(row.name)
        if tried is None or tried.entries != entries:
            tried = self._attempts[row.name] = _Attempts(entries)
        if time.monotonic() < tried.not_before:
            return
        if tried.count == MAX_ATTEMPTS:
            reason = f"{MAX_ATTEMPTS} drivers in a row could not go on: {row.detail}"
            end_run(self._store, Plan.decode(row.plan), "failed", reason)
            return
        tried.count += 1
        tried.not_before = time.monotonic() + 2.0**tried.count
        _log.warning("the run has lost its driver and goes on with another", extra={"run": row.name})
        forget_driver(self._superlink, row)
        start_driver(self._home, self._store, self._superlink, row.name)
