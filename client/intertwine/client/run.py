"""The agent as a process: a SuperNode, a resident executor, and the participant behind them."""

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import astuple
from functools import partial

import torch

from intertwine.client.comparison import LogComparison, log_client
from intertwine.client.connection import Connection
from intertwine.client.contact import obstacle
from intertwine.client.datasets import Datasets
from intertwine.client.executor import Executor
from intertwine.client.home import AgentSettings, Home
from intertwine.client.keys import ask_coordinator, key_in_use
from intertwine.client.ledger import Ledger
from intertwine.client.participant import JoinedTask, Participant, Releaser, honest_release
from intertwine.client.records import read_records
from intertwine.client.supernode import SuperNode
from intertwine.models.registry import task as find_task
from intertwine.models.task import DataBoundTask
from intertwine.protocols.errors import InputError, IntertwineError
from intertwine.protocols.files import lock

_log = logging.getLogger(__name__)


def run_agent(home: Home, stop: threading.Event, releaser: Releaser = honest_release) -> None:
    """Serve rounds until `stop` is set.

    InputError, before anything connects, if data or settings are bad; before anything is written, if another
    agent runs in this home.
    """
    try:
        held = lock(home.run_lock)
    except BlockingIOError as error:
        raise InputError(
            "This home's agent runs already.", "Stop that one first, or choose another --home."
        ) from error
    try:
        _serve(home, stop, releaser)
    finally:
        os.close(held)


def _serve(home: Home, stop: threading.Event, releaser: Releaser) -> None:
    torch.set_num_threads(1)  # the models are tiny: threads would wait for each other
    settings = home.settings
    tasks, ledger = load_tasks(settings), Ledger(home.ledger, anew=True)
    comparison = LogComparison(ledger, home.identity, log_client(home))
    participant = Participant(home.identity, tasks, ledger, releaser, comparison.ensure)
    _warn_of_missing_records(tasks, Datasets(ledger))
    _compare_early(comparison)
    node = SuperNode(home.flower, address=settings.fleet_address, ca=home.authority, key=home.node_key)
    _announce_limits(settings)
    connection = Connection(node, partial(_announce, settings), partial(obstacle, home))
    ask = ask_coordinator(home)

    def answer(request: bytes, _run: int) -> bytes:
        with key_in_use(home, ask) as participant.identity:
            return participant.handle(request)

    Executor(node, answer, connection).run(stop)


def _announce_limits(settings: AgentSettings) -> None:
    context = {"participant": settings.participant}
    for name, chosen in settings.tasks.items():
        policy = chosen.policy(name)
        _log.info(
            "task %s: epsilon at most %g in all; in one run noise at least %g, record norm at most %g, "
            "%d rounds, delta %g",
            *(name, chosen.max_epsilon, *astuple(policy)),
            extra=context | {"task": name},
        )


def _announce(settings: AgentSettings) -> None:
    _log.info(
        "%s (%s) is ready: %s",
        *(settings.participant, settings.role, ", ".join(settings.tasks)),
        extra={"participant": settings.participant},
    )


def _compare_early(comparison: LogComparison) -> None:
    """Compare with the log now, if the coordinator is there; otherwise before the first answer."""
    try:
        comparison.ensure()
    except IntertwineError as error:
        _log.warning("the ledger is not compared with the log yet, so nothing is committed: %s", error)


def _warn_of_missing_records(tasks: Mapping[str, JoinedTask], datasets: Datasets) -> None:
    for name, joined in tasks.items():
        if isinstance(joined.task, DataBoundTask) and datasets.head(name) is None:
            _log.warning(
                "no records are enrolled for task %s: intertwine agent dataset commit %s", name, name
            )


def load_tasks(settings: AgentSettings) -> Mapping[str, JoinedTask]:
    """Read and check the data of every joined task."""
    if not settings.tasks:
        raise InputError(
            "No task has a data file.", "Add a [tasks.NAME] section with data = FILE to settings.toml."
        )
    joined = {}
    for name, chosen in settings.tasks.items():
        task = find_task(name)
        joined[name] = JoinedTask(
            task, read_records(task, chosen.data), chosen.policy(name), chosen.max_epsilon
        )
    return joined
