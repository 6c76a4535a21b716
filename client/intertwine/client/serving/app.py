"""The web service: predictions of every task that the participant joined, and what predicts.

Sessions run in the framework's threads; ONNX Runtime computes outside Python's lock.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.security import HTTPBearer

from intertwine.client.home import Home
from intertwine.client.published import PublishedModel
from intertwine.client.serving import forecasts, recommendations, risk_scores
from intertwine.client.serving.api_keys import ApiKeys
from intertwine.client.serving.errors import add_error_answers, described
from intertwine.client.serving.guard import Guard
from intertwine.client.serving.metrics import Metrics
from intertwine.client.serving.predictors import Slot
from intertwine.client.serving.state import metrics_router, model_router, state_router
from intertwine.models.registry import task as find_task
from intertwine.models.task import Task
from intertwine.protocols.errors import InputError


@dataclass(frozen=True)
class Endpoint:
    """How a task is served: its predictor from a model, its definition and own records; and its address."""

    predictor: Callable[[PublishedModel, Any, Any], Any]
    router: Callable[[Callable[[], Any]], APIRouter]


ENDPOINTS = {
    "forecast": Endpoint(forecasts.Forecaster, forecasts.router),
    "recommendation": Endpoint(recommendations.Recommender, recommendations.router),
    "risk": Endpoint(risk_scores.RiskScorer, risk_scores.router),
}

_REFUSALS = {
    400: "The body cannot be parsed.",
    401: "The API key is missing, unknown or removed.",
    411: "The body does not declare its length.",
    413: "The body is too large.",
    503: "There is no model yet, or there are too many requests.",
}


def open_slots(home: Home, metrics: Metrics) -> list[Slot[Any]]:
    """A slot for each joined task that has an address, with the model that was kept last.

    InputError if a task's data file cannot be used, or if there is nothing to serve.
    """
    slots = []
    for name, chosen in sorted(home.settings.tasks.items()):
        if name in ENDPOINTS:
            definition = find_task(name)
            slots.append(_slot(home, definition, definition.load(chosen.data), metrics))
    if not slots:
        raise InputError("This participant has joined no task that can be served.", "Enrol for one.")
    for slot in slots:
        slot.load()
    return slots


def _slot(home: Home, definition: Task[Any], records: Any, metrics: Metrics) -> Slot[Any]:
    build = ENDPOINTS[definition.name].predictor
    return Slot(home, definition, lambda model: build(model, definition, records), metrics)


def web_service(slots: Sequence[Slot[Any]], keys: ApiKeys, metrics: Metrics) -> Guard:
    """The application, behind its guard."""
    app = FastAPI(
        title="intertwine agent",
        summary="Predictions by the federation's published models, on the participant's own machine.",
        version=metadata.version("intertwine"),
        docs_url=None,
        redoc_url=None,
        responses=described({422: "The request is malformed."}),
    )
    add_error_answers(app)
    app.include_router(state_router(slots))
    # The guard checks keys; the scheme is named here so that the description of the service has it.
    key = Depends(HTTPBearer(auto_error=False, description="An API key of this agent."))
    guarded = described(_REFUSALS)
    for slot in slots:
        router = ENDPOINTS[slot.definition.name].router(slot.current)
        app.include_router(router, dependencies=[key], responses=guarded, tags=["predictions"])
    app.include_router(model_router(slots), dependencies=[key], responses=guarded, tags=["models"])
    app.include_router(metrics_router(metrics), dependencies=[key], responses=guarded, tags=["state"])
    return Guard(app, keys, metrics)
