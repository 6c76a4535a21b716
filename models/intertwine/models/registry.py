"""Every task by its name."""

from typing import Any

from intertwine.models.forecast import ForecastTask
from intertwine.models.recommendation import RecommendationTask
from intertwine.models.risk import RiskTask
from intertwine.models.task import Task
from intertwine.protocols.errors import InputError

TASKS: dict[str, type[Task[Any]]] = {
    "forecast": ForecastTask,
    "recommendation": RecommendationTask,
    "risk": RiskTask,
}


def task(name: str) -> Task[Any]:
    """The task of that name; InputError lists the known ones."""
    if name not in TASKS:
        raise InputError(f"There is no task {name!r}.", f"Use one of: {', '.join(TASKS)}.")
    return TASKS[name]()
