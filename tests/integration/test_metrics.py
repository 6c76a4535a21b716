"""What the control plane tells Prometheus: figures of the log, and to whom."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from intertwine.protocols.entries import Entry, Outcome
from intertwine.protocols.errors import FederationError
from intertwine.protocols.round import RoundId, Slot
from intertwine.server import control
from intertwine.server.access import grant
from intertwine.server.home import CoordinatorSettings, Home
from intertwine.server.metrics import MOST_LABELS, Histogram, LogMetrics
from intertwine.server.rounds import RunDriver
from intertwine.server.store import Store
from tests.federation import MemoryFederation, halved_noise
from tests.serving import served
from tests.toy import write_points

Values = dict[tuple[str, ...], float]


def values(text: str) -> Values:
    """Name and label values of every sample, with its value."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_figures_are_those_of_the_log(toy: str, tmp_path: Path) -> None:
    federation = MemoryFederation(tmp_path)
    for seed, name in enumerate(("alder", "cedar"), 1):
        options: dict[str, Any] = {"releaser": halved_noise} if name == "cedar" else {}
        federation.add(name, {toy: write_points(tmp_path / f"{name}.csv", 8, seed)}, **options)
    metrics = LogMetrics(federation.store)
    before = values(metrics.text().decode())
    assert before["intertwine_log_entries",] == federation.store.size() == 5
    assert before["intertwine_participants", "enrolled"] == 2
    federation.execute(federation.plan(toy, "spring", quorum=1))
    federation.revoke("cedar")
    found = values(metrics.text().decode())
    assert found["intertwine_log_entries",] == federation.store.size()
    assert found["intertwine_slots_total", "accepted"] == 1
    assert found["intertwine_slots_total", "rejected"] == 1
    assert found["intertwine_rejections_total", "constraint_identity"] == 1
    assert found["intertwine_verification_seconds_count",] == 2
    assert 0 < found["intertwine_verification_seconds_sum",] < 60
    for phase in ("commit", "release", "round"):
        assert found["intertwine_round_phase_seconds_count", phase] == 1
    assert found["intertwine_runs", "finished"] == 1
    assert found["intertwine_runs", "failed"] == 0
    assert found["intertwine_participants", "enrolled"] == 1
    assert found["intertwine_participants", "revoked"] == 1
    assert found["intertwine_models_total", toy] == 1
    assert values(LogMetrics(federation.store).text().decode()) == found  # another process sees the same


class KilledError(BaseException):
    """Stands for SIGKILL."""


def test_replies_that_never_reach_the_log_count_once_a_slot(toy: str, tmp_path: Path) -> None:
    """alder's commit is damaged, birch declines, cedar talks nonsense, dogwood's proof is damaged."""
    federation = MemoryFederation(tmp_path)
    for seed, name in enumerate(("alder", "birch", "cedar", "dogwood")):
        limit = 1e-6 if name == "birch" else 10.0
        federation.add(name, {toy: write_points(tmp_path / f"{name}.csv", 8, seed)}, max_epsilon=limit)
    deaths = ["dogwood"]

    def tamper(name: str, kind: str, reply: bytes) -> bytes:
        if name == "cedar":
            return b"nonsense"
        if (name, kind) == ("alder", "commit"):
            mark = b'"signature":"'
            place = reply.index(mark) + len(mark)
            return reply[:place] + bytes(reversed(reply[place : place + 4])) + reply[place + 4 :]
        if name in deaths:
            deaths.remove(name)
            raise KilledError
        return reply[:-1] + bytes([reply[-1] ^ 1]) if (name, kind) == ("dogwood", "release") else reply

    federation.tamper = tamper
    plan = federation.plan(toy, "spring", quorum=1)
    with pytest.raises(KilledError):
        federation.execute(plan)
    with pytest.raises(FederationError, match="0 accepted updates"):
        RunDriver(federation.store, federation.key, plan, federation).execute()
    found = values(LogMetrics(federation.store).text().decode())
    rejections = {key[1]: value for key, value in found.items() if key[0] == "intertwine_rejections_total"}
    assert rejections == {"signature": 1, "refusal": 1, "malformed": 1, "attachment_digest": 1}
    assert found["intertwine_slots_total", "aborted"] == 1


def test_a_histogram_counts_bounds_below() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (-1.0, 1.0, 1.5, 3.0):
        histogram.add(value)
    assert histogram.buckets() == ([("1.0", 2.0), ("2.0", 3.0), ("+Inf", 4.0)], 5.5)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    home = Home.create(tmp_path / "home", CoordinatorSettings())
    return Store(home, home.signing_key)


def test_labels_are_bounded(store: Store) -> None:
    identity = RoundId(deployment=store.deployment, run="r", task="t", number=1)

    def rejected(number: int) -> Entry:
        slot = Slot(round=identity, participant=f"p{number}")
        return Outcome(time=1, slot=slot, verdict="rejected", check=f"check_{number}", verify_ms=0)

    with store.transaction() as session:
        for number in range(MOST_LABELS + 20):
            store.append(session, rejected(number))
    text = LogMetrics(store).text().decode()
    assert len(re.findall("^intertwine_rejections_total", text, re.MULTILINE)) == MOST_LABELS + 1
    assert values(text)["intertwine_rejections_total", "other"] == 20


@pytest.fixture
def client(tmp_path: Path, store: Store) -> Iterator[httpx.Client]:
    with served(Home.open(tmp_path / "home"), store, lambda key: 7) as client:
        yield client


def test_metrics_are_for_this_machine(client: httpx.Client) -> None:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert values(answer.text)["intertwine_log_entries",] == 1


def test_metrics_from_elsewhere_need_a_role(
    store: Store, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "is_loopback", lambda _: False)
    assert client.get("/metrics").status_code == 401
    for role in ("auditor", "coordinator"):
        headers = {"authorization": f"Bearer {grant(store, 'eve', role, 60)}"}
        assert client.get("/metrics", headers=headers).status_code == 200
