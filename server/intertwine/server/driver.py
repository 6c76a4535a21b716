"""The process that drives a run: one at a time, which the kernel sees to.

It holds a lock on the run's file for as long as it lives, so that a driver that was killed is known to be
gone at once, and two never drive the same run.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from intertwine.protocols.errors import FederationError
from intertwine.protocols.files import lock, make_private_directory
from intertwine.protocols.logs import configure_logging
from intertwine.protocols.plan import Plan
from intertwine.server.cosigning import coordinator_policy
from intertwine.server.fleet import Fleet
from intertwine.server.home import Home
from intertwine.server.membership import active_participants
from intertwine.server.rounds import OnReply, RunDriver
from intertwine.server.store import Store

CONNECT_S = 20.0
_log = logging.getLogger(__name__)


def drive(fleet: Fleet, config: Mapping[str, object], flower_run: int) -> None:
    """Drive the run that `config` names (keys home and run) over Flower's nodes, in Flower's process.

    flower_run: Flower's id of this process. What fails here without ending the run leaves it for the next
    driver; its detail says what it was. A run that is stopped, or lacks its quorum, has ended in order.
    """
    home = Home.open(Path(str(config["home"])))
    key, name = home.signing_key, str(config["run"])
    store = Store(home, key)
    configure_logging(file=home.runs_log)
    # What Flower says, as that it may send nothing more for a run that was stopped, is in its own log.
    logging.getLogger("flwr").propagate = False
    with only_driver(home, name):
        plan = Plan.decode(store.run(name).plan)
        store.update_run(name, driver=str(flower_run))
        try:
            active = active_participants(store)
            _wait_for_nodes(fleet, {int(m.node_id) for m in active if m.name in plan.participants})
            RunDriver(store, key, plan, _FlowerTransport(fleet), coordinator_policy(home)).execute()
        except SystemExit:  # Flower's way to end the process of a run that was stopped
            _ended_early(store, name)
            raise
        except Exception as error:
            if _ended_early(store, name):
                return
            _log.exception("the run was interrupted", extra={"run": name})
            if not store.run(name).ended:
                store.update_run(name, detail=f"interrupted: {type(error).__name__}: {error}"[:500])
            raise


def _ended_early(store: Store, name: str) -> bool:
    """Whether the run was stopped or has failed, in order; then the log says so."""
    row = store.run(name)
    if row.state not in ("failed", "stopped"):
        return False
    _log.warning("the run has %s: %s", row.state, row.detail, extra={"run": name})
    return True


def driven(home: Home, run: str) -> bool:
    """Whether a process drives the run now."""
    try:
        with only_driver(home, run):
            return False
    except FederationError:
        return True


@contextmanager
def only_driver(home: Home, run: str) -> Iterator[None]:
    """FederationError if another process drives the run."""
    make_private_directory(home.drivers)
    try:
        descriptor = lock(home.drivers / f"{run}.lock")
    except BlockingIOError as error:
        raise FederationError(f"Another process drives run {run!r}.") from error
    try:
        yield
    finally:
        os.close(descriptor)


def _wait_for_nodes(fleet: Fleet, nodes: set[int]) -> None:
    """Give agents that have just been started some time to connect; those that do not are left out."""
    deadline = time.monotonic() + CONNECT_S
    while not nodes <= fleet.online() and time.monotonic() < deadline:
        time.sleep(0.5)


class _FlowerTransport:
    """Flower's nodes as a `Transport`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def exchange(
        self, requests: Mapping[int, bytes], timeout_s: float, on_reply: OnReply
    ) -> Mapping[int, str]:
        replies = self._fleet.exchange(requests, timeout_s, on_reply)
        return {node: reply.reason for node, reply in replies.items() if not isinstance(reply, bytes)}
