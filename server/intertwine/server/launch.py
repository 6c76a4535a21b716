"""From a task and a few choices to a signed, logged plan, and from there to a running run."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from intertwine.models.recipes import recipe
from intertwine.models.registry import task as find_task
from intertwine.models.task import DataBoundTask, ReleaseTask, Task
from intertwine.protocols.aggregation import parameters_to_bytes
from intertwine.protocols.entries import PlanEntry
from intertwine.protocols.errors import InputError, IntertwineError
from intertwine.protocols.files import read_bounded
from intertwine.protocols.mechanism import ReleaseMechanism
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Signed, model_digest
from intertwine.protocols.signing import SigningKey
from intertwine.server.closing import end_run
from intertwine.server.datasets import check_enrolled
from intertwine.server.membership import active_participants, revoked
from intertwine.server.store import Run, Store, now
from intertwine.zk.dataset import Shape
from intertwine.zk.round_proof import planned_shape

MAX_PLAN_FILE_BYTES = 64 << 10
DEFAULT_DEADLINE_S = 120


def read_plan_file(path: Path) -> dict[str, Any]:
    """The choices in a TOML plan file; InputError if it is not TOML."""
    try:
        return tomllib.loads(read_bounded(path, MAX_PLAN_FILE_BYTES).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}.", "Correct it.") from error


def build_plan(store: Store, task: str, run: str, choices: Mapping[str, Any]) -> Plan:
    """A plan from the task's recipe and the coordinator's own choices.

    choices: any of the plan's fields, except those that follow from task and deployment. InputError names
    the field that does not fit.
    """
    definition = find_task(task)
    derived = {
        "version": "intertwine/plan/v3",
        "deployment": store.deployment,
        "run": run,
        "task": task,
        "model": model_digest(task, definition.dimension, definition.version),
        "dimension": definition.dimension,
        "adjacency": "zero-out",
        "beacon": "M1",
        "initial": store.put_blob(parameters_to_bytes(definition.initial_parameters())),
        "template": store.put_blob(definition.template()),
    }
    for field in derived.keys() & choices.keys():
        if choices[field] != derived[field]:
            raise InputError(
                f"Plan field {field} is {choices[field]!r}; for task {task!r} it must be {derived[field]!r}.",
                "Leave the field out, or choose the task that it belongs to.",
            )
    enrolled = [member.name for member in active_participants(store) if task in member.tasks]
    if not enrolled:
        raise InputError(f"Nobody is enrolled for task {task!r}.", "Invite participants first.")
    values = {
        "participants": enrolled,
        "deadline_s": DEFAULT_DEADLINE_S,
        **recipe(task).choices(),
        **choices,
        **derived,
    }
    values.setdefault("quorum", len(values["participants"]) // 2 + 1)
    plan = Plan.parse(values)
    _check_members(store, plan)
    _check_task(definition, plan)
    check_enrolled(store, plan)
    return plan


def launch(store: Store, key: SigningKey, plan: Plan, start: Callable[[], object]) -> None:
    """Log the plan and let `start` start a driver of its run; if that fails, the log says so too."""
    if any(run.name == plan.run for run in store.runs()):
        raise InputError(f"There is a run {plan.run!r} already.", "Choose another --run.")
    with store.transaction() as session:
        if gone := revoked(session, plan.participants):
            raise InputError(f"Participant {min(gone)!r} is revoked.", "Leave it out of the plan.")
        store.append(session, PlanEntry(time=now(), plan=Signed[Plan].create(plan, key)))
        session.add(Run(name=plan.run, task=plan.task, plan=plan.encode(), state="launched", launched=now()))
    try:
        start()
    except IntertwineError as error:
        end_run(store, plan, "failed", str(error))
        raise


def _check_members(store: Store, plan: Plan) -> None:
    active = {member.name: member for member in active_participants(store)}
    for name in plan.participants:
        if name not in active:
            raise InputError(f"Participant {name!r} is not enrolled.", "Leave it out of the plan.")
        if plan.task not in active[name].tasks:
            raise InputError(
                f"Participant {name!r} is not enrolled for task {plan.task!r}.", "Leave it out of the plan."
            )


def _check_task(definition: Task[Any], plan: Plan) -> None:
    """InputError unless the task's definition makes what the plan's statement is about."""
    mechanism = plan.mechanism
    if isinstance(mechanism, ReleaseMechanism):
        if not isinstance(definition, ReleaseTask):
            raise _unfit(plan, "the task trains on enrolled records only")
        return
    if not isinstance(definition, DataBoundTask):
        raise _unfit(plan, "the task has no records to enrol")
    made = Shape(definition.columns, definition.row_bound, definition.label, definition.entries)
    planned = planned_shape(plan, mechanism)
    if planned != made:
        raise _unfit(plan, f"its records are {planned}, the task's {made}")
    if plan.record_norm != definition.record_norm:
        raise _unfit(plan, f"record_norm is {plan.record_norm}, the task's {definition.record_norm}")


def _unfit(plan: Plan, problem: str) -> InputError:
    return InputError(
        f"Plan field mechanism does not fit task {plan.task!r}: {problem}.",
        "Leave the field out to use the task's recipe.",
    )
