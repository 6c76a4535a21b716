"""Predictions on the participant's own machine, with a model whose origin was checked."""

from dataclasses import dataclass
from pathlib import Path

from intertwine.client.home import Home
from intertwine.client.published import fetch
from intertwine.models.explanation import ExplainedTask
from intertwine.models.registry import task as find_task
from intertwine.protocols.entries import Publication
from intertwine.protocols.errors import InputError


@dataclass(frozen=True)
class Prediction:
    """What a model says about the participant's own records, in lines for people."""

    task: str
    publication: Publication
    model: Path
    lines: list[str]


def predict(home: Home, task: str) -> Prediction:
    """Fetch the newest model of `task`, check it, and apply it to our own records with ONNX Runtime."""
    chosen = home.settings.tasks.get(task)
    if chosen is None:
        joined = ", ".join(sorted(home.settings.tasks))
        raise InputError(f"This participant has not joined task {task!r}.", f"It joined: {joined}.")
    definition = find_task(task)
    records = definition.load(chosen.data)
    model = fetch(home, definition)
    lines = definition.describe(records, model.session().run(definition.inputs(records)))
    if isinstance(definition, ExplainedTask):
        lines += definition.explain(model.parameters, records)
    return Prediction(task, model.publication, model.path, lines)
