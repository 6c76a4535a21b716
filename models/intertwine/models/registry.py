"""Every task by its name: the three that come with intertwine, and those of installed plug-ins."""

from typing import Any

from intertwine.models import plugins
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
    """The task of that name; InputError lists the known ones, or says why the name is not clear."""
    plugins.refuse_clash(name, owners=int(name in TASKS))
    if name in TASKS:
        return TASKS[name]()
    if name in plugins.installed():
        return plugins.load(name)
    known = ", ".join([*TASKS, *sorted(plugins.installed())])
    raise InputError(f"There is no task {name!r}.", f"Use one of: {known}.")
