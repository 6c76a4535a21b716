"""Tasks that other installed packages bring: entry points of the group `intertwine.tasks`.

Only packages that are installed beside intertwine count, and only the one that is asked for is imported. No
message of the network names code to load: a plan names a task, which a machine has or has not.
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from intertwine.models.task import DataBoundTask, ReleaseTask, Task
from intertwine.protocols.errors import InputError

GROUP = "intertwine.tasks"


@cache
def installed() -> dict[str, tuple[EntryPoint, ...]]:
    """Every name of a task that installed packages claim, and the entry points that claim it."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=GROUP):
        found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def refuse_clash(name: str, owners: int) -> None:
    """InputError if more than one package has a task of that name; owners: how many have it besides."""
    claims = installed().get(name, ())
    if len(claims) + owners > 1:
        packages = ["intertwine"] * owners + [package(entry) for entry in claims]
        problem = f"Several installed packages have a task {name!r}: {', '.join(packages)}."
        raise InputError(problem, "Uninstall all but one of them, or rename their tasks.")


def load(name: str) -> Task[Any]:
    """The task of the one package that has it; InputError if the package is broken.

    KeyError if there is none: ask `installed` first.
    """
    (entry,) = installed()[name]
    try:
        task = entry.load()()
    except Exception as error:
        problem = f"Task {name!r} of package {package(entry)} cannot be loaded: {error}."
        raise InputError(problem, "Reinstall the package, or remove it.") from error
    if not isinstance(task, ReleaseTask | DataBoundTask) or task.name != name:
        problem = f"Package {package(entry)} has no task {name!r} behind {entry.value}."
        raise InputError(problem, "Its entry point must name a class of a task with that name.")
    return task


def package(entry: EntryPoint) -> str:
    """The name of the package that an entry point belongs to."""
    return entry.dist.name if entry.dist else "unknown"
