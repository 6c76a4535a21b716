"""A federation in memory, for experiments: the task's own code, no network, no proofs.

What participants add up, the noise, the server's step and the accounting are those of a run, so that a
figure found here is what a launched plan would reach, up to the noise that is drawn.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, get_args

import numpy as np

from intertwine.models import discrete_gaussian, exact_sums
from intertwine.models.recipes import Recipe
from intertwine.models.task import (
    Clipping,
    DataBoundTask,
    Evaluation,
    Features,
    Labels,
    Parameters,
    Records,
    ReleaseTask,
    Task,
    Update,
)
from intertwine.protocols.accounting import Assurance, guarantee
from intertwine.protocols.aggregation import ServerOptimizer, aggregate
from intertwine.protocols.errors import InputError
from intertwine.protocols.mechanism import (
    FULL_LOT,
    MAX_UPDATE_BOUND,
    GlmMechanism,
    ReleaseMechanism,
    StatisticsMechanism,
)
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import model_digest

SIGMAS: tuple[int, ...] = get_args(Plan.model_fields["sigma"].annotation)
"""The deviations of noise that a plan may have, in integer units."""
_MAX_RESIDUAL_BOUND = 1023
_NO_DIGEST = "00" * 32


@dataclass(frozen=True)
class Simulation:
    """One simulated run.

    epsilon: towards one record, over the whole run; infinite without noise. rounds: evaluations after each
    round, one a participant. published: those of the published parameters, shape (d,).
    """

    epsilon: float
    rounds: tuple[tuple[Evaluation, ...], ...]
    published: tuple[Evaluation, ...]
    parameters: Parameters


class Participants(Generic[Records]):
    """Some participants' records of one task, ready for any number of simulated runs."""

    def __init__(self, task: Task[Records], records: Sequence[Records]) -> None:
        if not records:
            raise InputError("A simulation needs records.", "Give those of at least one participant.")
        self._task = task
        self._records = tuple(records)
        self._rows: tuple[tuple[Features, Labels | None], ...] = ()
        if isinstance(task, DataBoundTask):
            self._rows = tuple(task.dataset(each) for each in records)

    def simulate(self, recipe: Recipe, seed: int, *, noise: bool = True) -> Simulation:
        """Run the recipe; the same seed gives the same result.

        noise: False leaves the noise out and keeps the clipping, as if the records lay in one place.
        InputError if the recipe makes no valid plan or does not fit the task.
        """
        plan = plan_of(self._task, recipe, len(self._records))
        members = range(len(self._records))
        generator, optimizer = np.random.default_rng(seed), self._optimizer(plan)
        rounds = []
        for _ in range(plan.rounds):
            updates = [self._update(plan, optimizer.parameters, member, generator) for member in members]
            if noise:
                sampled = (discrete_gaussian.sample(plan.sigma, plan.dimension, generator) for _ in members)
                updates = [update + added for update, added in zip(updates, sampled, strict=True)]
            optimizer.step(aggregate(updates, plan.dimension))
            rounds.append(self._evaluate(optimizer.parameters))
        parameters = optimizer.published()
        published = rounds[-1] if plan.average_last == 1 else self._evaluate(parameters)
        epsilon = record_epsilon(plan) if noise else math.inf
        return Simulation(epsilon, tuple(rounds), published, parameters)

    def local_only(self, recipe: Recipe, seed: int = 0) -> tuple[Evaluation, ...]:
        """What each participant reaches alone by the same recipe: without noise, as nothing leaves it.

        Its own number of records is the normaliser. seed: of lots, if the recipe draws them.
        """
        found = []
        for member, records in enumerate(self._records):
            alone = replace(recipe, normaliser=str(max(1, self._count(member))))
            plan = plan_of(self._task, alone, 1)
            generator, optimizer = np.random.default_rng(seed), self._optimizer(plan)
            for _ in range(plan.rounds):
                optimizer.step(self._update(plan, optimizer.parameters, member, generator))
            found.append(self._task.evaluate(optimizer.published(), records))
        return tuple(found)

    def _optimizer(self, plan: Plan) -> ServerOptimizer:
        return ServerOptimizer(plan, self._task.initial_parameters())

    def _evaluate(self, parameters: Parameters) -> tuple[Evaluation, ...]:
        return tuple(self._task.evaluate(parameters, each) for each in self._records)

    def _count(self, member: int) -> int:
        """How many training records a participant has."""
        if self._rows:
            return len(self._rows[member][0])
        return len(self._records[member])

    def _update(
        self, plan: Plan, parameters: Parameters, member: int, generator: np.random.Generator
    ) -> Update:
        """What one participant would release, before noise."""
        mechanism = plan.mechanism
        if isinstance(mechanism, ReleaseMechanism):
            if not isinstance(self._task, ReleaseTask):
                raise InputError(f"Task {plan.task!r} has no releases.", "Choose a data-bound mechanism.")
            clipping = Clipping(float(plan.record_norm), plan.record_bound, mechanism.update_bound)
            return self._task.update(parameters, self._records[member], clipping)
        features, labels = self._enrolled(plan, member)
        if isinstance(mechanism, StatisticsMechanism):
            return exact_sums.statistic(mechanism, features, labels)
        if mechanism.sampled:
            chosen = generator.integers(FULL_LOT, size=len(features)) < mechanism.lot
            features, labels = features[chosen], labels if labels is None else labels[chosen]
        return exact_sums.glm_step(mechanism, plan.record_norm, parameters, features, labels)

    def _enrolled(self, plan: Plan, member: int) -> tuple[Features, Labels | None]:
        """A participant's records; InputError unless they are what the plan's statement is about."""
        task, mechanism = self._task, plan.mechanism
        if not isinstance(task, DataBoundTask) or isinstance(mechanism, ReleaseMechanism):
            raise InputError(f"Task {plan.task!r} has no records to enrol.", "Choose a release mechanism.")
        made = (task.columns, task.row_bound, task.label, task.entries, task.record_norm)
        asked = (
            mechanism.columns(plan.dimension),
            mechanism.row_bound,
            mechanism.label,
            mechanism.entries,
            plan.record_norm,
        )
        if made != asked:
            problem = f"The recipe is for records {asked}; those of task {plan.task!r} are {made}."
            raise InputError(problem, "Correct columns, row_bound, label, entries or record_norm.")
        return self._rows[member]


def plan_of(task: Task[Records], recipe: Recipe, participants: int) -> Plan:
    """The plan of a run that no coordinator launched; InputError names the field that does not fit."""
    fields = {
        "version": "intertwine/plan/v3",
        "deployment": _NO_DIGEST,
        "run": "simulation",
        "task": task.name,
        "model": model_digest(task.name, task.dimension, task.version),
        "dimension": task.dimension,
        "adjacency": "zero-out",
        "beacon": "M1",
        "participants": [f"participant-{number}" for number in range(1, participants + 1)],
        "quorum": participants,
        "deadline_s": 1,
        "initial": _NO_DIGEST,
        "template": _NO_DIGEST,
    }
    return Plan.parse(fields | recipe.choices())


def record_epsilon(plan: Plan) -> float:
    """The whole run's epsilon towards one record at the plan's delta, proven or attested."""
    losses = plan.losses(0.0)
    level = Assurance.PROVEN_RECORD if Assurance.PROVEN_RECORD in losses else Assurance.ATTESTED_RECORD
    return guarantee(losses[level] * plan.rounds, float(plan.delta)).epsilon


def for_epsilon(task: Task[Records], recipe: Recipe, epsilon: float) -> Recipe:
    """The recipe with the least noise that keeps `record_epsilon` at or below `epsilon`, above 0.

    A plan has one of SIGMAS, so the record bound makes up the difference: updates get more or fewer integer
    units for the same clipping norm. The smallest sigma is taken that leaves them no fewer than the recipe
    has, or else the largest. A statistic's bound is that of the enrolled records and stays: its epsilon is
    the nearest one below. InputError if no plan is that private.
    """
    if not epsilon > 0:
        raise InputError(f"epsilon is {epsilon}; it must be positive.", "Choose one between 0.1 and 10.")
    found = None
    for sigma in SIGMAS:
        chosen = replace(recipe, sigma=sigma)

        def cost(units: int, chosen: Recipe = chosen) -> float:
            return record_epsilon(plan_of(task, _with_units(chosen, units), 1))

        choices = _choices_of_units(recipe)
        fitting = choices[: bisect_right(choices, epsilon, key=cost)]
        if fitting:
            found = _with_units(chosen, fitting[-1])
            if fitting[-1] >= _units(recipe):
                return found
    if found is None:
        raise InputError(f"No plan of task {task.name!r} has an epsilon as small as {epsilon}.", "Raise it.")
    return found


def _units(recipe: Recipe) -> int:
    """What `for_epsilon` scales: integer units of a record's update, or of a glm's residual."""
    mechanism = recipe.mechanism
    return mechanism.residual_bound if isinstance(mechanism, GlmMechanism) else recipe.record_bound


def _choices_of_units(recipe: Recipe) -> range:
    """What they may be, in a plan."""
    mechanism = recipe.mechanism
    if isinstance(mechanism, ReleaseMechanism):
        return range(1, recipe.record_bound * MAX_UPDATE_BOUND // mechanism.update_bound + 1)
    if isinstance(mechanism, GlmMechanism):
        return range(1, _MAX_RESIDUAL_BOUND + 1)
    return range(recipe.record_bound, recipe.record_bound + 1)


def _with_units(recipe: Recipe, units: int) -> Recipe:
    """The same clipping in real numbers, at another resolution."""
    mechanism = recipe.mechanism
    if isinstance(mechanism, ReleaseMechanism):
        bound = -(-mechanism.update_bound * units // recipe.record_bound)
        return replace(recipe, mechanism=ReleaseMechanism(update_bound=bound), record_bound=units)
    if isinstance(mechanism, GlmMechanism):
        scaled = mechanism.model_copy(update={"residual_bound": units})
        return replace(recipe, mechanism=scaled, record_bound=scaled.record_bound())
    return recipe
