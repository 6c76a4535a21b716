"""What the integration tests share."""

import pytest

from intertwine.models.recipes import RECIPES
from intertwine.models.registry import TASKS
from tests.toy import TOY_RECIPE, ToyTask


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a task whose proofs take a second."""
    monkeypatch.setitem(TASKS, ToyTask.name, ToyTask)
    monkeypatch.setitem(RECIPES, ToyTask.name, TOY_RECIPE)
    return ToyTask.name
