"""A participant's records for a task, if there are enough of them to take part with."""

import logging
from pathlib import Path
from typing import Any

from intertwine.models.task import Task
from intertwine.protocols.errors import InputError

_log = logging.getLogger(__name__)

FEW = 10
"""Below this many times `Task.fewest_records` the agent warns."""


def read_records(task: Task[Any], path: Path) -> Any:
    """Read a data file to take part with; a warning if it has few records, InputError if too few.

    To predict, any number will do: that gives nothing away.
    """
    records = task.load(path)
    count, advised = len(records), FEW * task.fewest_records
    if count < task.fewest_records:
        raise InputError(
            f"{path} has {count} records for task {task.name!r}, fewer than the {task.fewest_records} "
            "that it needs: under the noise they would add nothing.",
            "Add records, or take part without this task: its published model still predicts.",
        )
    if count < advised:
        _log.warning(
            "only %d records for task %s, fewer than the %d advised: they hardly show under the noise, and "
            "the privacy of %s means little where there are so few",
            *(count, task.name, advised, task.record),
        )
    return records
