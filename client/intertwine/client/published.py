"""Published models on the agent's disk, each beside the signed record that it was checked against.

    models/TASK-DIGEST.onnx   a model whose digest the coordinator's signed log holds
    models/TASK.record        the record of the newest one: checked again whenever it is read

A model is used only if the log holds its digest, and if it is the installed task's graph around the logged
parameters. VerificationError `checkpoint_signature`, `log_inclusion`, `model_record`, `model_digest` or
`model_file` otherwise; `model_rollback` if the coordinator offers an older model than the one kept.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from intertwine.client.control import pinned, request
from intertwine.client.home import Home
from intertwine.models.task import Arrays, Parameters, Task
from intertwine.protocols.aggregation import parameters_from_bytes
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import Publication
from intertwine.protocols.errors import IntertwineError, VerificationError
from intertwine.protocols.files import make_private_directory, read_bounded, write_atomic
from intertwine.protocols.model_file import MAX_MODEL_BYTES, read_metadata, split_model
from intertwine.protocols.publication import ModelRecord

MAX_RECORD_BYTES = 64 << 10
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishedModel:
    """A model whose origin was checked.

    position: of its publication in the log. data: the ONNX file's bytes, those that were checked.
    metadata: what the file says of its task and run.
    """

    publication: Publication
    position: int
    path: Path
    data: bytes
    parameters: Parameters
    metadata: dict[str, str]

    def session(self) -> "Session":
        """The model, ready to run on one thread: it is small, and requests run beside each other."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return Session(onnxruntime.InferenceSession(self.data, options, providers=["CPUExecutionProvider"]))


class Session:
    """A loaded model; any number of threads may use it at once."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._names = [output.name for output in session.get_outputs()]

    def run(self, inputs: Arrays) -> Arrays:
        """The outputs by their names; both with the batch as first axis."""
        return dict(zip(self._names, self._session.run(self._names, inputs), strict=True))


def kept(home: Home, definition: Task[Any]) -> PublishedModel | None:
    """The model that was kept last, checked again; None if there is none. InputError if it is unreadable."""
    path = _record_path(home, definition)
    if not path.is_file():
        return None
    record = _verified(home, definition, read_bounded(path, MAX_RECORD_BYTES))
    model = _model_path(home, definition, record.publication)
    return _checked(definition, record, model, read_bounded(model, MAX_MODEL_BYTES))


def fetch(home: Home, definition: Task[Any]) -> PublishedModel:
    """The newest published model and its record, downloaded as far as they are not kept yet.

    Nothing is kept that a check refuses. FederationError if the coordinator cannot be reached.
    """
    url = f"{home.settings.control_url}/v1/models/{definition.name}"
    context = pinned(home.authority)
    token = read_bounded(home.access_token, 64).decode()
    answer = request("GET", url, context, token=token, limit=MAX_RECORD_BYTES)
    record, before = _verified(home, definition, answer), _kept_record(home, definition)
    _refuse_rollback(record, before)
    make_private_directory(home.models)
    path = _model_path(home, definition, record.publication)
    data = read_bounded(path, MAX_MODEL_BYTES) if path.is_file() else b""
    if sha256(data) != record.publication.onnx:
        data = request("GET", f"{url}/onnx", context, token=token, limit=MAX_MODEL_BYTES)
        _checked(definition, record, path, data)
        write_atomic(path, data)
    model = _checked(definition, record, path, data)
    if before is None or before.publication != record.publication:
        write_atomic(_record_path(home, definition), answer)
    return model


def _verified(home: Home, definition: Task[Any], data: bytes) -> ModelRecord:
    """A record that the log's signature covers, of this deployment and task."""
    settings, record = home.settings, ModelRecord.decode(data)
    publication = record.verify(settings.log_origin, settings.deployment)
    if (publication.round.task, publication.round.deployment) != (definition.name, settings.deployment):
        raise VerificationError("model_record", "the record is of another task or deployment.")
    return record


def _kept_record(home: Home, definition: Task[Any]) -> ModelRecord | None:
    """The record that was kept last; None if there is none, or none that can be believed."""
    path = _record_path(home, definition)
    if not path.is_file():
        return None
    try:
        return _verified(home, definition, read_bounded(path, MAX_RECORD_BYTES))
    except IntertwineError as error:
        _log.warning("the kept record of task %s is replaced: %s", definition.name, error)
        return None


def _refuse_rollback(record: ModelRecord, before: ModelRecord | None) -> None:
    if before is None or before.publication == record.publication:
        return
    if record.inclusion.index <= before.inclusion.index:
        raise VerificationError(
            "model_rollback",
            f"the coordinator offers the model at position {record.inclusion.index} of its log, but one at "
            f"position {before.inclusion.index} is known.",
            "Ask the coordinator whether its log was restored from an old backup.",
        )


def _checked(definition: Task[Any], record: ModelRecord, path: Path, data: bytes) -> PublishedModel:
    publication = record.publication
    if sha256(data) != publication.onnx:
        raise VerificationError("model_digest", "the model is not the one in the coordinator's log.")
    parameters, _ = split_model(data, definition.template(), definition.dimension)
    if sha256(parameters) != publication.parameters:
        raise VerificationError(
            "model_file", "the model's parameters are not those in the coordinator's log."
        )
    vector = parameters_from_bytes(parameters, definition.dimension)
    return PublishedModel(publication, record.inclusion.index, path, data, vector, read_metadata(data))


def _record_path(home: Home, definition: Task[Any]) -> Path:
    return home.models / f"{definition.name}.record"


def _model_path(home: Home, definition: Task[Any], publication: Publication) -> Path:
    return home.models / f"{definition.name}-{publication.onnx[:16]}.onnx"
