"""Alerts that are sent on."""

import json
from pathlib import Path

import pytest

from intertwine.zk.audit.alert import Alert, AlertKind, Fault, Outbox
from intertwine.zk.audit.http_client import HttpClient, UnreachableError
from tests.log_server import LogServer
from tests.watching import HASTE, Start, Watch


def alert_of(problem: str) -> Alert:
    return Alert(AlertKind.BUDGET, 3, problem, "Do something.")


def outbox(server: LogServer, watch: Watch) -> Outbox:
    return Outbox(HttpClient(f"{server.url}/hook?token=1", patience=HASTE), "intertwine/x", watch.state.sent)


def test_documented_alert() -> None:
    """The example on the how-to page is what the code makes of such an alert, and its kinds are all there."""
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "watch-a-log.md").read_text()
    example = json.loads(page.partition("```json\n")[2].partition("```")[0])
    fields = {key: value for key, value in example.items() if key not in ("version", "id", "log")}
    kind, fault = AlertKind(fields.pop("kind")), Fault(fields.pop("fault"))
    alert = Alert(**{**fields, "kind": kind, "fault": fault, "evidence": tuple(fields["evidence"])})
    assert alert.document(example["log"]) == example
    assert all(f"| `{kind}` |" in page for kind in AlertKind)


def test_webhook_receives_every_alert_once(server: LogServer, start: Start) -> None:
    """Also after a restart; the key of the request and the alert's own identity are the same."""
    for _ in range(2):
        box = outbox(server, start())
        for problem in ("one", "two", "one"):
            box.put(alert_of(problem))
        box.flush()
        box.flush()
    assert [b'"problem":"one"' in body for body, _ in server.posts] == [True, False]
    body, headers = server.posts[0]
    assert headers["Content-Type"] == "application/json"
    assert f'"id":"{headers["Idempotency-Key"]}"'.encode() in body
    assert headers["Idempotency-Key"] == alert_of("one").identity("intertwine/x")


def test_webhook_that_fails_is_asked_again(server: LogServer, start: Start) -> None:
    box = outbox(server, start())
    assert box.put(alert_of("one"))
    server.refusals = 3  # of four attempts; a flush has two
    with pytest.raises(UnreachableError, match="status 503"):
        box.flush()
    box.flush()
    assert len(server.posts) == 4
    assert not box.put(alert_of("one"))
