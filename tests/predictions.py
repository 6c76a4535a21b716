"""An agent that joined all three tasks of a coordinator that publishes models whenever a test asks for it."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from deploy.demo.data.simulate import portfolio
from intertwine.client.enrol import enrol
from intertwine.client.home import Home as AgentHome
from intertwine.client.published import fetch
from intertwine.client.serving.api_keys import ApiKeys
from intertwine.client.serving.app import open_slots, web_service
from intertwine.client.serving.metrics import Metrics
from intertwine.client.serving.predictors import Slot
from intertwine.client.serving.server import Address, web_server
from intertwine.models.catalogue import catalogue
from intertwine.models.registry import task as find_task
from intertwine.protocols.aggregation import parameters_to_bytes
from intertwine.protocols.entries import Publication
from intertwine.protocols.model_file import expected_model
from intertwine.protocols.round import RoundId
from intertwine.server.enrolment import invite
from intertwine.server.store import now
from tests.federation import MemoryFederation
from tests.serving import served

SPREADS = {"forecast": 0.02, "recommendation": 5000.0, "risk": 1.0}
"""How far each task's parameters are moved: log units, customers times the integer unit, log odds."""
TASKS = tuple(SPREADS)


@dataclass
class Publisher:
    """The coordinator, its agent's home, and an API key of the agent."""

    federation: MemoryFederation
    home: AgentHome
    key: str
    published: dict[str, Publication] = field(default_factory=dict)

    def publish(self, task: str, seed: int) -> Publication:
        """Log a model whose parameters are near the initial ones: as a seed has it."""
        definition, store = find_task(task), self.federation.store
        moved = SPREADS[task] * np.random.default_rng(seed).random(definition.dimension)
        parameters = parameters_to_bytes(definition.initial_parameters() + moved)
        model = expected_model(definition.template(), parameters, {"run": f"run-{len(self.published)}"})
        publication = Publication(
            time=now(),
            round=RoundId(deployment=store.deployment, run="one", task=task, number=1),
            parameters=store.put_blob(parameters),
            onnx=store.put_blob(model),
        )
        store.record(publication)
        self.published[task] = publication
        return publication

    def fetch_all(self) -> None:
        """Have the agent keep every task's newest model."""
        for task in TASKS:
            fetch(self.home, find_task(task))

    @contextmanager
    def answering(self) -> Iterator[tuple[httpx.Client, dict[str, Slot[Any]]]]:
        """The agent's web service on a free port: a client that has the key, and the slots by their tasks."""
        metrics = Metrics(self.home.ledger)
        slots = open_slots(self.home, metrics)
        app = web_service(slots, ApiKeys(self.home.api_keys), metrics)
        listener = socket.create_server(("127.0.0.1", 0))
        server = web_server(app, Address("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with httpx.Client(base_url=url, headers=self.headers, timeout=60.0, trust_env=False) as client:
                yield client, {slot.definition.name: slot for slot in slots}
        finally:
            server.should_exit = True
            thread.join()

    @property
    def headers(self) -> dict[str, str]:
        """What authenticates a request."""
        return {"authorization": f"Bearer {self.key}"}


@contextmanager
def publisher(root: Path) -> Iterator[Publisher]:
    """A coordinator that answers within the block, with a model of each task, and an enrolled agent."""
    files = _data_files(root)
    federation = MemoryFederation(root)
    home = AgentHome(root / "agent")
    with served(federation.home, federation.store, lambda _key: 77) as client:
        token = invite(federation.home, federation.store, "alder", "retailer", list(TASKS), 60)
        enrol(home, str(client.base_url), token, files)
        found = Publisher(federation, home, ApiKeys(home.api_keys).add("tests"))
        for task in TASKS:
            found.publish(task, seed=1)
        yield found


def _data_files(root: Path) -> dict[str, Path]:
    random = np.random.default_rng(7)
    files = {task: root / f"{task}.csv" for task in TASKS}
    codes = catalogue().codes
    pairs = [f"c{n},{codes[item]}" for n in range(60) for item in random.permutation(200)[:12]]
    files["recommendation"].write_text("\n".join(["customer,item", *pairs]))
    monday = date(2022, 1, 3)
    units = [
        f"sku-{sku},{monday + timedelta(weeks=week)},{random.poisson(20)}"
        for sku in range(12)
        for week in range(60)
    ]
    files["forecast"].write_text("\n".join(["sku,week,units", *units]))
    files["risk"].write_text(portfolio("alder", 4000, seed=4))
    return files
