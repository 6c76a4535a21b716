"""What an agent tells people while its SuperNode is connected, and while it is not."""

import logging
from collections.abc import Iterator
from typing import cast

import pytest

from intertwine.client import connection as module
from intertwine.client.connection import Connection
from intertwine.client.supernode import SuperNode
from intertwine.protocols.doctor import Finding

CLOCK = Finding("clock", "fail", "This machine's clock is 3600 s ahead of the coordinator's.", "Set it.")
PORT = Finding("Fleet port", "fail", "host:9092 does not answer.", "Check the network.")
UP = "INFO :      SuperNode ID: 17"
AGAIN = "INFO :      Connection successful after 3.00 seconds and 3 tries."
RETRY = "WARNING :   Connection attempt failed, retrying in 1.00 seconds"


class Scene:
    """A connection whose SuperNode logs what the test says, with everything that people are told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.obstacle: Finding | None = None
        self.now = 1000.0

    def new_lines(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines

    def log_tail(self) -> str:
        return "its last words"

    def start(self) -> Connection:
        announce = logging.getLogger("test").info
        node = cast(SuperNode, self)
        return Connection(node, lambda: announce("is ready"), lambda: self.obstacle)

    def after(self, seconds: float, *lines: str) -> None:
        self.now += seconds
        self.lines = list(lines)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Scene]:
    scene = Scene()
    monkeypatch.setattr(module.time, "monotonic", lambda: scene.now)
    with caplog.at_level(logging.INFO):
        yield scene


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return messages


def test_ready_is_said_when_it_is_connected_and_not_before(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    connection = scene.start()
    connection.look()
    assert told(caplog) == []
    scene.after(5, UP)
    connection.look()
    assert told(caplog) == ["is ready"]
    scene.after(5, RETRY)
    connection.look()
    scene.after(5, AGAIN)
    connection.look()
    scene.after(60)
    connection.look()
    assert told(caplog) == []


def test_a_loss_is_a_warning_and_a_recovery_is_said(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    connection = scene.start()
    scene.after(1, UP)
    connection.look()
    told(caplog)
    scene.obstacle = PORT
    for seconds in (100, 10, 10, 20, 20):
        scene.after(seconds, RETRY)
        connection.look()
    (warning,) = told(caplog)
    assert PORT.text in warning
    assert PORT.remedy in warning
    scene.obstacle = CLOCK
    scene.after(20)
    connection.look()
    (warning,) = told(caplog)
    assert CLOCK.text in warning
    scene.after(1, AGAIN)
    connection.look()
    assert told(caplog) == ["is ready"]


def test_one_that_ends_again_and_again_is_explained_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    connection = scene.start()
    scene.obstacle = CLOCK
    for _ in range(3):
        connection.begin()
        scene.after(3)
        assert not connection.ended()
    (warning,) = told(caplog)
    assert CLOCK.text in warning
    scene.obstacle = None
    assert not connection.ended()
    assert "its last words" in told(caplog)[0]
    connection.begin()
    scene.after(3, UP)
    assert connection.ended()
    assert told(caplog) == ["is ready"]


def test_a_slow_start_is_no_news_but_retries_are(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    connection = scene.start()
    scene.after(30)
    connection.look()
    assert told(caplog) == []
    scene.after(30, RETRY)
    connection.look()
    assert "SuperLink does not answer" in told(caplog)[0]
