"""`agent serve` and its models: replaced under load, believed only with their records, never older ones."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from intertwine.client import published
from intertwine.client.home import Home as AgentHome
from intertwine.client.serving.predictors import refreshing
from intertwine.protocols.errors import FederationError
from tests.predictions import TASKS, Publisher, publisher

BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "forecast": ("/v1/forecasts", {"week": "2023-03-06", "series": [{"units": list(range(12))}]}),
    "recommendation": ("/v1/recommendations", {"baskets": [{"items": ["10002"]}]}),
    "risk": ("/v1/risk-scores", {"vulnerabilities": [{"published": "2024-01-01"}]}),
}


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Publisher]:
    with publisher(tmp_path_factory.mktemp("serving")) as found:
        found.fetch_all()
        yield found


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The coordinator cannot be reached."""

    def refuse(*_arguments: object, **_options: object) -> bytes:
        raise FederationError("The coordinator cannot be reached.", "Check its address.")

    monkeypatch.setattr(published, "request", refuse)


def kept_files(home: AgentHome, task: str) -> tuple[Path, Path]:
    (model,) = sorted(home.models.glob(f"{task}-*.onnx"), key=lambda path: path.stat().st_mtime_ns)[-1:]
    return home.models / f"{task}.record", model


def test_models_are_replaced_without_dropping_a_request(
    coordinator: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    """Four programs ask without a pause while every task's model is replaced, twice."""
    caplog.set_level(logging.INFO)
    stop = threading.Event()

    def ask(client: httpx.Client) -> list[tuple[int, str, int]]:
        found = []
        while not stop.is_set():
            for task, (path, body) in BODIES.items():
                answer = client.post(path, json=body)
                position = answer.json()["model"]["log_position"] if answer.is_success else -1
                found.append((answer.status_code, task, position))
        return found

    with coordinator.answering() as (client, slots), ThreadPoolExecutor(4) as pool:
        before = {task: slots[task].current().model.position for task in TASKS}
        caplog.clear()
        asked = [pool.submit(ask, client) for _ in range(4)]
        try:
            for seed in (2, 3):
                for task in TASKS:
                    coordinator.publish(task, seed)
                    slots[task].refresh()
        finally:
            stop.set()
        after = {task: slots[task].current().model.position for task in TASKS}
        answers = [each.result() for each in asked]
        figures = client.get("/metrics").text
    assert {status for program in answers for status, _, _ in program} == {200}
    for task in TASKS:
        for program in answers:
            positions = [position for _, asked_task, position in program if asked_task == task]
            assert positions == sorted(positions)
            assert before[task] <= positions[0]
            assert positions[-1] <= after[task]
        assert len({position for program in answers for _, name, position in program if name == task}) > 1
        assert f'model_checks_total{{result="swapped",task="{task}"}} 2.0' in figures
    swaps = [record for record in caplog.records if "predicts from now on" in record.getMessage()]
    assert [record.__dict__["task"] for record in swaps] == [*TASKS, *TASKS]


@pytest.mark.usefixtures("away")
def test_kept_models_predict_while_the_coordinator_is_away(coordinator: Publisher) -> None:
    with coordinator.answering() as (client, slots):
        assert {each["state"] for each in client.get("/readyz").json()["tasks"]} == {"ready"}
        for slot in slots.values():
            slot.refresh()
        answer = client.get("/readyz")
        assert answer.status_code == 200
        assert {each["state"] for each in answer.json()["tasks"]} == {"stale"}
        for path, body in BODIES.values():
            assert client.post(path, json=body).status_code == 200
        (problem,) = {each["problem"]["error"] for each in client.get("/v1/models").json()}
    assert problem == "The coordinator cannot be reached."


@pytest.mark.parametrize("defect", ["model_altered", "record_altered", "record_of_another_task", "no_record"])
def test_what_is_not_as_it_was_checked_does_not_predict(coordinator: Publisher, defect: str) -> None:
    """The service starts all the same; as soon as the coordinator answers, what is damaged is replaced."""
    record, model = kept_files(coordinator.home, "risk")
    if defect == "model_altered":
        data = bytearray(model.read_bytes())
        data[len(data) // 2] ^= 1
        model.write_bytes(bytes(data))
    elif defect == "record_altered":
        record.write_bytes(record.read_bytes().replace(b'"index":', b'"index":1'))
    elif defect == "record_of_another_task":
        record.write_bytes(kept_files(coordinator.home, "forecast")[0].read_bytes())
    else:
        record.unlink()
    with coordinator.answering() as (client, slots):
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["tasks"][-1] == {"task": "risk", "state": "absent"}
        answer = client.post(BODIES["risk"][0], json=BODIES["risk"][1])
        assert answer.status_code == 503
        assert "no model of task 'risk'" in answer.json()["error"]
        assert answer.json()["remedy"]
        assert client.post(BODIES["forecast"][0], json=BODIES["forecast"][1]).status_code == 200
        slots["risk"].refresh()
        assert client.post(BODIES["risk"][0], json=BODIES["risk"][1]).status_code == 200
        assert client.get("/readyz").status_code == 200


def test_an_older_model_never_replaces_a_newer_one(
    coordinator: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = kept_files(coordinator.home, "risk")
    older = record.read_bytes()
    with coordinator.answering() as (client, slots):
        coordinator.publish("risk", seed=4)
        slots["risk"].refresh()
        position = slots["risk"].current().model.position
        monkeypatch.setattr(published, "request", lambda *_arguments, **_options: older)
        slots["risk"].refresh()
        assert slots["risk"].current().model.position == position
        status = next(each for each in client.get("/v1/models").json() if each["task"] == "risk")
    assert status["state"] == "stale"
    assert "position" in status["problem"]["error"]


def test_a_new_model_is_found_by_looking_again(coordinator: Publisher) -> None:
    with coordinator.answering() as (client, slots), refreshing([slots["risk"]], interval_s=0.05):
        newest = coordinator.publish("risk", seed=5)
        for _ in range(400):
            found = client.get("/v1/models/risk").json()["model"]["onnx_sha256"]
            if found == newest.onnx:
                return
            threading.Event().wait(0.05)
    pytest.fail("the new model was not found")
