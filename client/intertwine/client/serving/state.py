"""How the service stands: its health, its models with their cards, and its figures."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel

from intertwine.client.published import PublishedModel
from intertwine.client.serving.documents import ModelReference
from intertwine.client.serving.errors import NotJoinedError, Refusal, Responses, described
from intertwine.client.serving.metrics import Metrics
from intertwine.client.serving.predictors import Slot, State
from intertwine.protocols.model_file import MODEL_CARD

TaskName: TypeAlias = Literal["forecast", "recommendation", "risk"]


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class TaskState(BaseModel):
    """How a task stands."""

    task: str
    state: State


class Readiness(BaseModel):
    """ready: every task predicts."""

    ready: bool
    tasks: list[TaskState]


class TaskStatus(TaskState):
    """How a task stands. model: null if there is none yet. problem: why the newest one is not in use."""

    model: ModelReference | None
    problem: Refusal | None


class ModelDetail(BaseModel):
    """A model in use. metadata: what its file says of its task and of the run that made it."""

    model: ModelReference
    metadata: dict[str, str]


class CardResponse(Response):
    """A model card in Markdown."""

    media_type = "text/markdown"


class MetricsResponse(PlainTextResponse):
    """Figures in Prometheus' text format."""

    media_type = "text/plain; version=0.0.4"


def state_router(slots: Sequence[Slot[Any]]) -> APIRouter:
    """Health and readiness, which need no key: they say no more than which tasks predict."""
    router = APIRouter(tags=["state"])

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz")
    def health() -> Health:
        """The process answers."""
        return Health()

    absent: Responses = {503: {"model": Readiness, "description": "A task has no model."}}

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", response_model=Readiness, responses=absent)
    def ready() -> Response:
        """Whether every task predicts; a stale model does, but there may be a newer one."""
        tasks = [TaskState(task=slot.definition.name, state=slot.state) for slot in slots]
        found = Readiness(ready=all(each.state != "absent" for each in tasks), tasks=tasks)
        return JSONResponse(found.model_dump(), 200 if found.ready else 503)

    return router


def metrics_router(metrics: Metrics) -> APIRouter:
    """The figures for Prometheus."""
    router = APIRouter()

    @router.get("/metrics", response_class=MetricsResponse)
    def figures() -> Response:
        """The agent's figures in Prometheus' text format."""
        return MetricsResponse(metrics.text())

    return router


def model_router(slots: Sequence[Slot[Any]]) -> APIRouter:
    """The models in use."""
    router = APIRouter(prefix="/v1/models")
    by_task = {slot.definition.name: slot for slot in slots}
    not_joined = described({404: "This participant has not joined that task."})

    def current(task: str) -> PublishedModel:
        if task not in by_task:
            raise NotJoinedError(f"This participant has not joined task {task!r}.", "See /v1/models.")
        model: PublishedModel = by_task[task].current().model
        return model

    @router.get("")
    def models() -> list[TaskStatus]:
        """Every joined task with its model, and what is wrong, if anything is."""
        return [_status(slot) for slot in slots]

    @router.get("/{task}", responses=not_joined)
    def model(task: TaskName) -> ModelDetail:
        """The model of one task, and what its file says of the run that made it."""
        found = current(task)
        facts = {key: value for key, value in found.metadata.items() if key != MODEL_CARD}
        return ModelDetail(model=ModelReference.of(found), metadata=facts)

    @router.get("/{task}/card", response_class=CardResponse, responses=not_joined)
    def card(task: TaskName) -> Response:
        """What the model is for, and what it cannot do, in Markdown: the card inside the model file."""
        return CardResponse(current(task).metadata[MODEL_CARD])

    return router


def _status(slot: Slot[Any]) -> TaskStatus:
    model, problem = slot.model, slot.problem
    return TaskStatus(
        task=slot.definition.name,
        state=slot.state,
        model=ModelReference.of(model) if model else None,
        problem=Refusal(error=problem.problem, remedy=problem.remedy) if problem else None,
    )
