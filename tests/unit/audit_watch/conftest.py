"""A server that shows a log, and the watch that follows it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from intertwine.protocols.policy import Policy
from tests.log_server import LogServer, serving
from tests.recording import Recording
from tests.watching import HonestFederation, Start, Watch


@pytest.fixture(scope="session")
def _honest() -> Recording:
    return HonestFederation().play()


@pytest.fixture
def honest(_honest: Recording) -> Recording:
    return _honest.copy()


@pytest.fixture
def server() -> Iterator[LogServer]:
    with serving(LogServer()) as running:
        yield running


@pytest.fixture
def start(server: LogServer, honest: Recording, tmp_path: Path) -> Iterator[Start]:
    """Starts a watch; one that is started later takes the place of the one before."""
    lives: list[Watch] = []

    def begin(policy: Policy | None = None, **options: float) -> Watch:
        for life in lives:
            life.state.close()
        lives[:] = [
            Watch(server, tmp_path / "state", policy or Policy.of_key(honest.log_key.public), **options)
        ]
        return lives[0]

    yield begin
    for life in lives:
        life.state.close()
