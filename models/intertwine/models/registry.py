"""Every task by its name: the three that come with intertwine, and those of installed plug-ins.

A task's module is imported when the task is asked for: torch, which the shipped ones need, takes 200 MB and
seconds that a coordinator's servers can do without.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from intertwine.models import plugins
from intertwine.models.task import Task
from intertwine.protocols.errors import InputError


def _shipped(module: str, name: str) -> Callable[[], Task[Any]]:
    def make() -> Task[Any]:
        made: Task[Any] = getattr(import_module(f"intertwine.models.{module}"), name)()
        return made

    return make


TASKS: dict[str, Callable[[], Task[Any]]] = {
    "forecast": _shipped("forecast", "ForecastTask"),
    "recommendation": _shipped("recommendation", "RecommendationTask"),
    "risk": _shipped("risk", "RiskTask"),
}


def require(name: str) -> None:
    """InputError if there is no task of that name, or if several packages have one; imports none."""
    plugins.refuse_clash(name, owners=int(name in TASKS))
    if name not in TASKS and name not in plugins.installed():
        known = ", ".join([*TASKS, *sorted(plugins.installed())])
        raise InputError(f"There is no task {name!r}.", f"Use one of: {known}.")


def task(name: str) -> Task[Any]:
    """The task of that name; InputError as `require` raises it, or if the plug-in that has it is broken."""
    require(name)
    return TASKS[name]() if name in TASKS else plugins.load(name)
