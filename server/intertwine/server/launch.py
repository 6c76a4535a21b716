"""From a task and a few choices to a signed, logged plan, and from there to a running run."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.orm import Session

from intertwine.models.recipes import recipe
from intertwine.models.registry import task as find_task
from intertwine.models.task import DataBoundTask, ReleaseTask, Task
from intertwine.protocols.aggregation import parameters_to_bytes
from intertwine.protocols.entries import PlanEntry
from intertwine.protocols.errors import InputError, IntertwineError
from intertwine.protocols.mechanism import ReleaseMechanism
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Signed, model_digest
from intertwine.protocols.signing import SigningKey
from intertwine.server.closing import end_run
from intertwine.server.datasets import unprepared
from intertwine.server.membership import active_participants, revoked
from intertwine.server.store import Run, Store, now
from intertwine.zk.dataset import Shape
from intertwine.zk.round_proof import planned_shape

DEFAULT_DEADLINE_S = 120


def build_plan(store: Store, task: str, run: str, choices: Mapping[str, Any]) -> Plan:
    """A plan from the task's recipe and the coordinator's own choices.

    choices: any of the plan's fields, except those that follow from task and deployment. Without
    participants, it is for all who are enrolled for the task, and have enrolled records if it needs them.
    InputError names the field that does not fit.
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
    suggested = {"participants": enrolled, "deadline_s": DEFAULT_DEADLINE_S, **recipe(task).choices()}
    if isinstance(rounds := choices.get("rounds"), int):
        suggested["average_last"] = max(1, min(suggested["average_last"], rounds))
    values = {**suggested, **choices, **derived}
    plan = _parse(values)
    with store.reading() as session:
        _require_new(session, plan.run)
    _check_members(store, plan)
    _check_task(definition, plan)
    missing = unprepared(store, plan)
    ready = [name for name in plan.participants if name not in missing]
    if missing and ("participants" in choices or not ready):
        raise next(iter(missing.values()))
    return _parse({**values, "participants": ready})


def launch(store: Store, key: SigningKey, plan: Plan, start: Callable[[], object]) -> None:
    """Log the plan and let `start` start a driver of its run; if that fails, the log says so too."""
    with store.transaction() as session:
        _require_new(session, plan.run)
        if gone := revoked(session, plan.participants):
            raise InputError(f"Participant {min(gone)!r} is revoked.", "Leave it out of the plan.")
        store.append(session, PlanEntry(time=now(), plan=Signed[Plan].create(plan, key)))
        session.add(Run(name=plan.run, task=plan.task, plan=plan.encode(), state="launched", launched=now()))
    try:
        start()
    except IntertwineError as error:
        end_run(store, plan, "failed", str(error))
        raise


def _parse(values: Mapping[str, Any]) -> Plan:
    """The plan with these fields; its quorum is a majority unless they say otherwise."""
    participants = values["participants"]
    majority = len(participants) // 2 + 1 if isinstance(participants, list) else 1
    return Plan.parse({"quorum": majority, **values})


def _require_new(session: Session, run: str) -> None:
    if session.get(Run, run) is not None:
        raise InputError(f"There is a run {run!r} already.", "Choose another --run.")


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
