"""Model cards: they describe the exported model, and the page shows them as they are."""

import onnx
import pytest

from docs import model_cards
from intertwine.models.model_card import render
from intertwine.models.registry import TASKS, task


@pytest.mark.parametrize("name", TASKS)
def test_a_card_names_every_input_and_output_of_the_exported_model(name: str) -> None:
    definition = task(name)
    graph = onnx.load_model_from_string(definition.template()).graph
    assert list(definition.card.inputs) == [value.name for value in graph.input]
    assert list(definition.card.outputs) == [value.name for value in graph.output]


@pytest.mark.parametrize("name", TASKS)
def test_a_card_says_what_is_measured_and_what_is_protected(name: str) -> None:
    definition, text = task(name), render(task(name))
    for said in (definition.record, definition.metric_name, definition.baseline_name):
        assert said in text
    assert all(limit in text for limit in definition.card.limits)
    assert ("enrolled records" in text) == (name != "forecast")


def test_the_page_is_the_one_that_the_tasks_make() -> None:
    assert model_cards.FILE.read_text() == model_cards.page()
