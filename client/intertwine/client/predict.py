"""Predictions on the participant's own machine, with a model whose origin was checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from intertwine.client.control import pinned, request
from intertwine.client.home import Home
from intertwine.models.explanation import ExplainedTask
from intertwine.models.registry import task as find_task
from intertwine.models.task import Parameters, Task
from intertwine.protocols.aggregation import parameters_from_bytes
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import Publication
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.files import make_private_directory, read_bounded, write_atomic
from intertwine.protocols.model_file import MAX_MODEL_BYTES, split_model
from intertwine.protocols.publication import ModelRecord

MAX_RECORD_BYTES = 64 << 10


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
    publication, model = fetch_model(home, definition)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, definition.inputs(records)), strict=True))
    lines = definition.describe(records, outputs)
    if isinstance(definition, ExplainedTask):
        lines += definition.explain(_parameters(model, definition), records)
    return Prediction(task, publication, model, lines)


def fetch_model(home: Home, definition: Task[Any]) -> tuple[Publication, Path]:
    """Download a task's newest model and its record.

    It is kept only if the signed log holds its digest, and if it is the installed task's graph around the
    logged parameters. VerificationError `checkpoint_signature`, `log_inclusion`, `model_record`,
    `model_digest` or `model_file` otherwise.
    """
    settings, task = home.settings, definition.name
    url = f"{settings.control_url}/v1/models/{task}"
    context = pinned(home.authority)
    token = read_bounded(home.access_token, 64).decode()
    answer = request("GET", url, context, token=token, limit=MAX_RECORD_BYTES)
    publication = ModelRecord.decode(answer).verify(settings.log_origin, settings.deployment)
    if (publication.round.task, publication.round.deployment) != (task, settings.deployment):
        raise VerificationError("model_record", "the record is of another task or deployment.")
    make_private_directory(home.models)
    path = home.models / f"{task}-{publication.onnx[:16]}.onnx"
    if not path.is_file() or sha256(read_bounded(path, MAX_MODEL_BYTES)) != publication.onnx:
        data = request("GET", f"{url}/onnx", context, token=token, limit=MAX_MODEL_BYTES)
        _check_model(data, publication, definition)
        write_atomic(path, data)
    return publication, path


def _parameters(model: Path, definition: Task[Any]) -> Parameters:
    """The parameters within a checked model."""
    data = read_bounded(model, MAX_MODEL_BYTES)
    parameters, _ = split_model(data, definition.template(), definition.dimension)
    return parameters_from_bytes(parameters, definition.dimension)


def _check_model(data: bytes, publication: Publication, definition: Task[Any]) -> None:
    if sha256(data) != publication.onnx:
        raise VerificationError(
            "model_digest", "the downloaded model is not the one in the coordinator's log."
        )
    parameters, _ = split_model(data, definition.template(), definition.dimension)
    if sha256(parameters) != publication.parameters:
        raise VerificationError(
            "model_file", "the model's parameters are not those in the coordinator's log."
        )
