"""What the integration tests share."""

import pytest

from tests.toy import register


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a task whose proofs take a second."""
    return register(monkeypatch)
