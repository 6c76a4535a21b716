"""`agent serve` over HTTP: what the three endpoints answer, and what is refused, with real models."""

import asyncio
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Receive, Scope, Send

from intertwine.client.ledger import Ledger, SlotRow
from intertwine.client.serving import api_keys
from intertwine.client.serving.api_keys import ApiKeys
from intertwine.client.serving.guard import MAX_BODY_BYTES, MAX_IN_PROGRESS, Guard
from intertwine.client.serving.metrics import Metrics
from intertwine.models import baskets, calibration, series, vulnerability
from intertwine.models.catalogue import catalogue
from intertwine.models.forecast import ForecastTask
from intertwine.models.model_card import render
from intertwine.models.recommendation import RecommendationTask
from intertwine.models.risk import RiskTask
from intertwine.protocols.aggregation import parameters_from_bytes
from intertwine.protocols.errors import InputError
from tests.predictions import TASKS, Publisher, publisher

VECTOR = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
WEEKS = [5, 0, 3, 8, 13, 2, 9, 7, 6, 11, 4, 10]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Publisher]:
    with publisher(tmp_path_factory.mktemp("serving")) as found:
        found.fetch_all()
        yield found


@pytest.fixture(scope="module")
def client(agent: Publisher) -> Iterator[httpx.Client]:
    with agent.answering() as (found, _slots):
        yield found


def post(client: httpx.Client, path: str, body: object) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def parameters(agent: Publisher, task: str, dimension: int) -> np.ndarray:
    return parameters_from_bytes(agent.federation.store.blob(agent.published[task].parameters), dimension)


# Predictions


def test_recommendations_are_those_of_the_model(agent: Publisher, client: httpx.Client) -> None:
    """By code or by description; the second basket is that of a new customer."""
    items = catalogue()
    names = [items.codes[3], items.descriptions[40].lower()]
    body = {"baskets": [{"items": names}, {"items": []}], "count": 5}
    answer = post(client, "/v1/recommendations", body)
    task = RecommendationTask()
    local = task.local_model(task.load(agent.home.settings.tasks["recommendation"].data))
    held = baskets.encode([names, []])
    expected = task.reference(
        parameters(agent, "recommendation", task.dimension), task.basket_inputs(held, local)
    )
    for row, found in enumerate(answer["recommendations"]):
        best = expected["items"][row, :5]
        assert [item["item"] for item in found["items"]] == [items.codes[position] for position in best]
        assert [item["score"] for item in found["items"]] == pytest.approx(
            expected["scores"][row, best], abs=1e-5
        )
    assert answer["model"]["onnx_sha256"] == agent.published["recommendation"].onnx


def test_what_a_basket_holds_is_left_out_unless_it_is_asked_for(client: httpx.Client) -> None:
    """The largest basket and the longest list leave out nothing else."""

    def recommended(**choices: object) -> set[str]:
        body = {"baskets": [{"items": bought}], "count": 100, **choices}
        (found,) = post(client, "/v1/recommendations", body)["recommendations"]
        return {item["item"] for item in found["items"]}

    bought = list(catalogue().codes[:200])
    assert len(recommended()) == len(recommended(exclude_bought=False)) == 100
    assert not recommended() & set(bought)
    assert recommended(exclude_bought=False) & set(bought)


def test_forecasts_are_those_of_the_model_with_the_bands_of_own_errors(
    agent: Publisher, client: httpx.Client
) -> None:
    """Any day names its week, and only the last 12 weeks count."""
    body = {"week": "2023-03-01", "series": [{"sku": "A", "units": [99, *WEEKS]}]}
    answer = post(client, "/v1/forecasts", body)
    week = (date(2023, 2, 27) - series.EPOCH).days // 7
    task = ForecastTask()
    inputs = {"units": np.array([WEEKS], dtype=float), "week": np.array([float(week)])}
    expected = task.reference(parameters(agent, "forecast", task.dimension), inputs)["forecast"][0]
    (found,) = answer["forecasts"]
    assert (answer["week"], found["sku"]) == ("2023-02-27", "A")
    assert found["units"] == pytest.approx(expected, abs=1e-5)
    assert found["median"] == np.median(WEEKS[-8:])
    assert found["band"]["low"] < found["units"] < found["band"]["high"]
    assert 0.6 < found["band"]["held"] <= 1.0


def test_risk_scores_are_those_of_the_model_calibrated_and_explained(
    agent: Publisher, client: httpx.Client
) -> None:
    task = RiskTask()
    vector = parameters(agent, "risk", task.dimension)
    own = task.load(agent.home.settings.tasks["risk"].data)
    unknown = {"id": "V-2", "published": "2024-10-30"}
    known = {
        "id": "V-1",
        "published": "2020-01-31",
        "cvss_vector": VECTOR,
        "cwe": "CWE-89",
        "automatable": "yes",
        "technical_impact": "total",
        "epss": 0.9,
        "exposure": 0.5,
        "asset_value": 1e6,
    }
    scores = post(client, "/v1/risk-scores", {"vulnerabilities": [known, unknown], "explain": True})["scores"]
    path = agent.home.path / "asked.csv"
    header = "id,cvss_vector,cwe,published,automatable,technical_impact,known_exploited,epss"
    path.write_text(f"{header}\nV-1,{VECTOR},CWE-89,2020-01-31,yes,total,0,0.9\nV-2,,,2024-10-30,,,0,\n")
    features = vulnerability.load(path).features
    fitted = calibration.fit(
        task.explanation(vector, own.features[own.test]).log_odds, own.exploited[own.test]
    )
    assert fitted is not None
    for found, probability in zip(
        scores, task.reference(vector, {"features": features})["risk"], strict=True
    ):
        assert found["probability"] == pytest.approx(probability, abs=1e-9)
        shares = found["explanation"]
        assert shares["average"] + sum(shares["properties"].values()) == pytest.approx(shares["log_odds"])
        corrected = fitted.probability(np.array([shares["log_odds"]]))[0]
        assert found["calibrated_probability"] == pytest.approx(corrected)
    assert [found["base_score"] for found in scores] == [9.8, None]
    assert [found["priority"] for found in scores] == [scores[0]["probability"] * 0.5e6, None]
    plain = post(client, "/v1/risk-scores", {"vulnerabilities": [known]})["scores"]
    assert plain[0]["explanation"] is None


def test_models_and_their_cards(agent: Publisher, client: httpx.Client) -> None:
    for status in client.get("/v1/models").json():
        task = status["task"]
        assert (status["state"], status["problem"]) == ("ready", None)
        assert status["model"]["onnx_sha256"] == agent.published[task].onnx
        detail = client.get(f"/v1/models/{task}").json()
        assert detail["model"] == status["model"]
        assert "model_card" not in detail["metadata"]
        card = client.get(f"/v1/models/{task}/card")
        assert card.headers["content-type"].startswith("text/markdown")
    assert card.text == render(RiskTask())


# Refusals


BAD_BODIES: dict[str, tuple[str, object, str]] = {
    "unknown_item": (
        "recommendations",
        {"baskets": [{"items": []}, {"items": ["10002", "nothing"]}]},
        "baskets.1.items.1",
    ),
    "no_basket": ("recommendations", {"baskets": []}, "baskets"),
    "count_over_the_limit": ("recommendations", {"baskets": [{"items": []}], "count": 101}, "count"),
    "count_of_a_text": ("recommendations", {"baskets": [{"items": []}], "count": "5"}, "count"),
    "unknown_field": ("recommendations", {"baskets": [{"items": []}], "customer": 1}, "customer"),
    "eleven_weeks": ("forecasts", {"week": "2023-03-06", "series": [{"units": WEEKS[1:]}]}, "series.0.units"),
    "negative_units": (
        "forecasts",
        {"week": "2023-03-06", "series": [{"units": [*WEEKS, -1]}]},
        "series.0.units.12",
    ),
    "half_a_unit": (
        "forecasts",
        {"week": "2023-03-06", "series": [{"units": [*WEEKS, 0.5]}]},
        "series.0.units.12",
    ),
    "nan_units": (
        "forecasts",
        {"week": "2023-03-06", "series": [{"units": [*WEEKS, math.nan]}]},
        "series.0.units.12",
    ),
    "week_of_seconds": ("forecasts", {"week": 1678060800, "series": [{"units": WEEKS}]}, "week"),
    "no_such_day": ("forecasts", {"week": "2023-02-30", "series": [{"units": WEEKS}]}, "week"),
    "vector_of_version_2": (
        "risk-scores",
        {"vulnerabilities": [{"published": "2024-01-01", "cvss_vector": "AV:N/AC:L/Au:N/C:P/I:P/A:P"}]},
        "vulnerabilities.0.cvss_vector",
    ),
    "weakness_without_cwe": (
        "risk-scores",
        {"vulnerabilities": [{"published": "2024-01-01", "cwe": "79"}]},
        "vulnerabilities.0.cwe",
    ),
    "no_day": ("risk-scores", {"vulnerabilities": [{"cwe": "CWE-79"}]}, "vulnerabilities.0.published"),
    "a_list": ("risk-scores", [], "body"),
}


@pytest.mark.parametrize("defect", BAD_BODIES)
def test_a_bad_body_is_refused_where_it_is_bad(client: httpx.Client, defect: str) -> None:
    endpoint, body, place = BAD_BODIES[defect]
    headers = {"content-type": "application/json"}
    answer = client.post(f"/v1/{endpoint}", content=json.dumps(body), headers=headers)
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "remedy"}
    assert place in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 422), (b"\xff", 400), (b"[" * 100_000, 400), (b"9" * 5000, 400)],
    ids=["cut_off", "no_text", "deeply_nested", "huge_number"],
)
def test_what_is_no_json_is_refused(client: httpx.Client, body: bytes, status: int) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/risk-scores", content=body, headers=headers)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "remedy"}


def test_deep_nesting_is_refused_whatever_the_recursion_limit(client: httpx.Client) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    try:
        answer = client.post("/v1/risk-scores", content=b"[" * 100_000)
    finally:
        sys.setrecursionlimit(limit)
    assert answer.status_code == 400


def test_a_body_too_large_or_of_unknown_length_is_refused(client: httpx.Client) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/forecasts", content=b" " * (MAX_BODY_BYTES + 1), headers=headers)
    assert answer.status_code == 413
    answer = client.post("/v1/forecasts", content=iter([b"{", b"}"]), headers=headers)
    assert answer.status_code == 411
    answer = client.post("/v1/forecasts", content=b" " * MAX_BODY_BYTES, headers=headers)
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer itwk_00", "Bearer KEY0", "Basic KEY", "KEY", "Bearer \xe9"],
    ids=["none", "empty", "unknown", "longer", "other_scheme", "bare", "latin"],
)
def test_without_a_key_nothing_is_said(agent: Publisher, client: httpx.Client, authorization: str) -> None:
    headers = {"authorization": authorization.replace("KEY", agent.key).encode("latin-1")}
    for method, path in (
        ("POST", "/v1/forecasts"),
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
        ("GET", "/x"),
    ):
        answer = httpx.request(
            method, client.base_url.join(path), headers=headers, timeout=60.0, trust_env=False
        )
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert (
            httpx.get(client.base_url.join(path), headers=headers, timeout=60.0, trust_env=False).status_code
            == 200
        )


def test_a_key_counts_from_its_making_to_its_removal(agent: Publisher, client: httpx.Client) -> None:
    keys = ApiKeys(agent.home.api_keys)
    key = keys.add("shop")
    headers = {"authorization": f"bearer {key}"}
    assert client.get("/v1/models", headers=headers).status_code == 200
    assert key not in agent.home.api_keys.read_text()
    assert agent.home.api_keys.stat().st_mode & 0o777 == 0o600
    with pytest.raises(InputError, match="'shop' already"):
        keys.add("shop")
    keys.remove("shop")
    assert client.get("/v1/models", headers=headers).status_code == 401
    with pytest.raises(InputError, match="no API key 'shop'"):
        keys.remove("shop")
    with pytest.raises(InputError, match="cannot be the name"):
        keys.add("A shop")


def test_the_number_of_keys_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MAX_KEYS", 2)
    keys = ApiKeys(tmp_path / "keys.toml")
    keys.add("first")
    keys.add("second")
    with pytest.raises(InputError, match="2 API keys"):
        keys.add("one-more")


def test_a_request_too_many_is_sent_away(agent: Publisher) -> None:
    """All places are taken by requests that are still being answered; then one is free again."""
    release = asyncio.Event()
    entered = 0

    async def slow(_scope: Scope, _receive: Receive, send: Send) -> None:
        nonlocal entered
        entered += 1
        await release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def scenario() -> list[int]:
        guard = Guard(slow, ApiKeys(agent.home.api_keys), Metrics(agent.home.ledger))
        transport = httpx.ASGITransport(guard)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://agent", headers=agent.headers
        ) as client:
            waiting = [asyncio.create_task(client.get("/v1/models")) for _ in range(MAX_IN_PROGRESS)]
            while entered < MAX_IN_PROGRESS:
                await asyncio.sleep(0)
            refused = await client.get("/v1/models")
            release.set()
            answered = await asyncio.gather(*waiting, client.get("/v1/models"))
        return [refused.status_code, *(answer.status_code for answer in answered)]

    assert asyncio.run(scenario()) == [503, *[200] * (MAX_IN_PROGRESS + 1)]


def test_figures_have_no_label_that_a_request_can_choose(client: httpx.Client) -> None:
    client.get("/v1/models/forecast")
    for number in range(5):
        client.get(f"/nowhere/{number}")
        client.get(f"/v1/models/nothing-{number}")
        client.request(f"M{number}", "/v1/models")
    text = client.get("/metrics").text
    assert 'intertwine_agent_requests_total{endpoint="/v1/models/{task}",status="200"}' in text
    assert 'intertwine_agent_model_log_position{task="risk"}' in text
    assert "nowhere" not in text
    assert "nothing" not in text


def test_proof_times_are_those_of_the_ledger(client: httpx.Client, agent: Publisher) -> None:
    """The agent has the ledger open meanwhile, and writes on."""

    def figures() -> dict[tuple[str, str], float]:
        families = text_string_to_metric_families(client.get("/metrics").text)
        found = [family for family in families if family.name == "intertwine_agent_proof_seconds"]
        return {
            (sample.name.removeprefix("intertwine_agent_proof_seconds_"), sample.labels["task"]): sample.value
            for family in found
            for sample in family.samples
            if "le" not in sample.labels
        }

    assert figures() == {}
    ledger = Ledger(agent.home.ledger, begun=True)
    empty: dict[str, Any] = dict.fromkeys(("plan", "values", "seed", "gradient", "commit"), b"")
    for number, task in enumerate(("risk", "risk", "forecast")):
        texts = {"nonce_digest": "", "parameters": "", "slot": f"{number:064x}"}
        ledger.commit(SlotRow(run="spring", task=task, number=number + 1, **texts, **empty))
    assert figures() == {}
    ledger.release(f"{0:064x}", "", b"x", 1.5)
    assert figures()["sum", "risk"] == 1.5
    for number in (1, 2):
        ledger.release(f"{number:064x}", "", b"x", 0.25)
    found = figures()
    ledger.close()
    assert {key: found[key] for key in found if key[0] in ("count", "sum")} == {
        ("count", "risk"): 2,
        ("sum", "risk"): 1.75,
        ("count", "forecast"): 1,
        ("sum", "forecast"): 0.25,
    }


def test_every_task_is_served(client: httpx.Client) -> None:
    assert client.head("/healthz").status_code == client.head("/readyz").status_code == 200
    answer = client.get("/readyz").json()
    assert answer == {"ready": True, "tasks": [{"task": task, "state": "ready"} for task in TASKS]}


def test_schemathesis_finds_nothing(agent: Publisher, client: httpx.Client, tmp_path: Path) -> None:
    """Its default checks. The first phase passes for recommendations too, but asks for 2,000 names."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(
        '[[operations]]\ninclude-path = "/v1/recommendations"\nphases.coverage.enabled = false\n'
    )
    command = [
        *(Path(sys.executable).parent / "schemathesis", "--config-file", config),
        *("run", client.base_url.join("/openapi.json"), "--header", f"Authorization: Bearer {agent.key}"),
        *("--seed", "1", "--max-examples", "15", "--request-timeout", "60", "--no-color"),
    ]
    result = subprocess.run(
        [str(part) for part in command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout
    assert "9 selected / 9 total" in result.stdout
