"""What the agent's releases have cost so far, and whether a plan stays within its limit."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from intertwine.client.ledger import Ledger, SlotRow
from intertwine.protocols.accounting import Assurance, Guarantee, Loss, guarantee
from intertwine.protocols.errors import BudgetError
from intertwine.protocols.plan import Plan
from intertwine.zk.privacy import together
from intertwine.zk.sampler import total_variation


@dataclass(frozen=True)
class Spent:
    """What one task has cost so far, at one level of assurance."""

    task: str
    assurance: Assurance
    releases: int
    guarantee: Guarantee


def spent(ledger: Ledger, task: str) -> list[Spent]:
    """The task's cost at every level that can be stated for all its releases together."""
    rows = ledger.released(task)
    return [Spent(task, level, len(rows), figure) for level, figure in cost(rows).items()]


def cost(rows: Sequence[SlotRow]) -> dict[Assurance, Guarantee]:
    """What one release in each of these slots adds up to, at every level that can be stated for them all."""
    return _costs([Plan.decode(row.plan) for row in rows])


def check_budget(ledger: Ledger, plan: Plan, number: int, max_epsilon: float) -> None:
    """BudgetError if rounds `number` and later of `plan` would bring its task above `max_epsilon`.

    The limit is for one record, at whatever level of assurance. Open slots count: their releases may still
    be asked for.
    """
    slots = ledger.slots(plan.task)
    plans = [Plan.decode(row.plan) for row in slots]
    costs = _costs([*plans, *[plan] * (plan.rounds - number + 1)])
    (total,) = (cost.epsilon for level, cost in costs.items() if level is not Assurance.PROVEN_PARTICIPANT)
    if total > max_epsilon:
        waiting = sum(not row.release for row in slots)
        counted = f" (open slots that count: {waiting})" if waiting else ""
        raise BudgetError(
            f"the rest of run {plan.run!r} would bring task {plan.task!r} to epsilon {total:.2f}{counted}, "
            f"above this participant's limit of {max_epsilon:g}.",
            "Raise its max_epsilon in settings.toml, or let the run go on without it.",
        )


def _costs(plans: list[Plan]) -> dict[Assurance, Guarantee]:
    """What one release under each of these plans adds up to."""
    if not plans:
        return {}
    losses: dict[Assurance, Loss] = reduce(together, map(_losses, plans))
    delta = max(float(plan.delta) for plan in plans)
    return {level: guarantee(loss, delta) for level, loss in losses.items()}


def _losses(plan: Plan) -> dict[Assurance, Loss]:
    return plan.losses(plan.dimension * total_variation(plan.sigma))
