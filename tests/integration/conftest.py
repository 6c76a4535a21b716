"""What the integration tests share."""

from pathlib import Path

import pytest

from tests.federation import MemoryFederation
from tests.toy import register, write_points


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a task whose proofs take a second."""
    return register(monkeypatch)


@pytest.fixture
def pair(tmp_path: Path, toy: str) -> MemoryFederation:
    """Two honest participants."""
    federation = MemoryFederation(tmp_path)
    for seed, name in enumerate(("alder", "birch-co")):
        federation.add(name, {toy: write_points(tmp_path / f"{name}.csv", 30, seed)})
    return federation
