"""The recommender on Online Retail II: the demo's three shops, and small merchants beside them.

Every customer's last item is held out. It is ranked against 99 others, and (`full_*`) against all that the
customer did not buy; the figures of the one are not to be compared with those of the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from deploy.demo.data import write_participant_files
from intertwine.models import discrete_gaussian, ranking
from intertwine.models.baskets import Baskets
from intertwine.models.catalogue import catalogue
from intertwine.models.recipes import Recipe, recipe
from intertwine.models.recommendation import RecommendationTask
from intertwine.models.simulation import Participants, for_epsilon, plan_of, record_epsilon
from intertwine.models.task import Arrays, Parameters, Update
from intertwine.protocols.aggregation import ServerOptimizer, aggregate

NAME = "recommendation"
SIZES = (25, 50, 100)
"""Customers of a small merchant."""
SMALL_SAMPLE = 1000
"""Customers of the small merchants of one size, in one cell."""
OWN_POPULARITY, OWN_ITEMS = 0.2, 1.5
"""Weights of a blend without the shared part: of own recent popularity, and of own scores as a multiple of
the task's. Chosen like the task's own weights: on training baskets, whose own last items were held out."""
SHOWN = 5

Scores: TypeAlias = NDArray[np.float64]


class Example(TypedDict):
    """A customer, what it bought last, and what it is offered: descriptions of items."""

    customer: str
    bought: list[str]
    offered: list[str]


@dataclass(frozen=True)
class Shop:
    """Customers, asked about the item that each bought last by models that saw what it bought before."""

    records: Baskets

    @cached_property
    def inputs(self) -> Arrays:
        """The task's inputs, with the scores of the shop's own model."""
        return TASK.inputs(self.records.before)

    @cached_property
    def sampled(self) -> list[ranking.Question]:
        """The held-out items against 99 others."""
        return ranking.questions(self.records, sampled=True)

    @cached_property
    def full(self) -> list[ranking.Question]:
        """The held-out items against all others."""
        return ranking.questions(self.records, sampled=False)

    def scores(self, parameters: Parameters, *, own: bool) -> Scores:
        """The model's, with the shop's own scores or without, shape (customers, items)."""
        inputs = self.inputs if own else self.inputs | {"local_scores": np.zeros((1, 1))}
        scores: Scores = TASK.reference(parameters, inputs)["scores"]
        return scores

    def popularity(self) -> Scores:
        """How many of its customers bought each item, for each customer."""
        return np.broadcast_to(self.inputs["basket"].sum(axis=0), self.inputs["basket"].shape)

    def hit_rate(self, scores: Scores) -> float:
        """HR@10 against 99 others."""
        return float(ranking.hits(ranking.places(scores, self.sampled)).mean())


TASK = RecommendationTask()


def cell(epsilon: float, seed: int) -> dict[str, float]:
    """One federation of the three shops, and many of a small merchant with three that hold the rest."""
    private = for_epsilon(TASK, recipe(NAME), epsilon)
    cohort = Participants(TASK, [shop.records for shop in shops()])
    parameters = cohort.simulate(private, seed).parameters
    found = {"epsilon": record_epsilon(plan_of(TASK, private, len(shops())))}
    found |= _figures("dp_pop_content", [shop.scores(parameters, own=False) for shop in shops()])
    found |= _figures("hybrid", [shop.scores(parameters, own=True) for shop in shops()])
    return found | small_merchants(private, seed)


def baselines() -> dict[str, float]:
    """Each shop alone, by popularity and by its own model; public descriptions; and no noise."""
    unknown = TASK.initial_parameters()
    cohort = Participants(TASK, [shop.records for shop in shops()])
    exact = cohort.simulate(recipe(NAME), 0, noise=False).parameters
    pooled = Shop(everybody())
    return {
        **_figures("popularity", [shop.popularity() for shop in shops()]),
        **_figures("content", [shop.scores(unknown, own=False) for shop in shops()]),
        **_figures("local_ease", [shop.inputs["local_scores"] for shop in shops()]),
        **_figures("nonprivate_pop_content", [shop.scores(exact, own=False) for shop in shops()]),
        "hr10_central_ease": pooled.hit_rate(pooled.inputs["local_scores"]),
        "participants": len(shops()),
        "records": len(everybody()),
    }


def examples() -> list[Example]:
    """Three customers of the smallest shop, what they bought last and what a model at epsilon 3 offers."""
    private = for_epsilon(TASK, recipe(NAME), 3.0)
    cohort = Participants(TASK, [shop.records for shop in shops()])
    parameters = cohort.simulate(private, 0).parameters
    records = min((shop.records for shop in shops()), key=len)
    ranked = TASK.reference(parameters, TASK.inputs(records))["items"]
    names = catalogue().descriptions
    return [
        Example(
            customer=records.customers[row],
            bought=[names[item] for item in records.orders[row][-SHOWN:]],
            offered=[names[item] for item in ranked[row, :SHOWN]],
        )
        for row in range(3)
    ]


def small_merchants(private: Recipe, seed: int) -> dict[str, float]:
    """What a small merchant gains over the best that it can do alone, by its size and on average."""
    found: dict[str, float] = {}
    for size in SIZES:
        trials = [_small_merchant(private, seed, size, number) for number in range(SMALL_SAMPLE // size)]
        rates = {name: float(np.mean([trial[name] for trial in trials])) for name in trials[0]}
        shared = rates.pop("shared")
        best = max(rates.values())
        found |= {f"small_{size}_hr10": shared, f"small_{size}_best_alone": best}
        found[f"small_merchant_gain_{size}"] = shared - best
    found["small_merchant_gain"] = float(np.mean([found[f"small_merchant_gain_{size}"] for size in SIZES]))
    return found


def _small_merchant(private: Recipe, seed: int, size: int, number: int) -> Mapping[str, float]:
    """HR@10 of one merchant's customers: with what is shared, and by all that it can do without."""
    order = np.random.default_rng([seed, size]).permutation(len(everybody()))
    merchant = Shop(_taken(everybody(), order[number * size : (number + 1) * size]))
    parameters = released(private, np.random.default_rng([seed, size, number]))
    content, own = merchant.scores(TASK.initial_parameters(), own=False), merchant.inputs["local_scores"]
    recent = np.log(merchant.records.before.recent.sum(axis=0) + 0.5)
    popular = OWN_POPULARITY * (recent - recent.mean()) / recent.std()
    alone = {
        "popularity": np.broadcast_to(recent, own.shape),
        "own": own,
        "content": content,
        "content and popularity": content + popular,
        "all": content + popular + OWN_ITEMS * own,
    }
    scores = alone | {"shared": merchant.scores(parameters, own=True)}
    return {name: merchant.hit_rate(each) for name, each in scores.items()}


def released(private: Recipe, generator: np.random.Generator) -> Parameters:
    """What four participants release who hold all customers; the sum does not tell who holds whom."""
    members = 4
    plan = plan_of(TASK, private, members)
    noise = [discrete_gaussian.sample(plan.sigma, plan.dimension, generator) for _ in range(members)]
    optimizer = ServerOptimizer(plan, TASK.initial_parameters())
    optimizer.step(aggregate([total() + noise[0], *noise[1:]], plan.dimension))
    return optimizer.published()


def _figures(name: str, scores: list[Scores]) -> dict[str, float]:
    """Figures of one model over all shops' customers; scores: one array a shop."""
    pairs = list(zip(shops(), scores, strict=True))
    found = {}
    for prefix, places in (
        ("", np.concatenate([ranking.places(each, shop.sampled) for shop, each in pairs])),
        ("full_", np.concatenate([ranking.places(each, shop.full) for shop, each in pairs])),
    ):
        found[f"{prefix}hr10_{name}"] = float(ranking.hits(places).mean())
        found[f"{prefix}ndcg10_{name}"] = float(ranking.gains(places).mean())
    bought = np.concatenate([shop.inputs["basket"] for shop in shops()])
    return found | {f"coverage_{name}": ranking.coverage(np.concatenate(scores), bought)}


@cache
def shops() -> tuple[Shop, ...]:
    """The demo's three."""
    with TemporaryDirectory() as folder:
        held = write_participant_files(Path(folder)).values()
        return tuple(Shop(TASK.load(files[NAME])) for files in held if NAME in files)


@cache
def everybody() -> Baskets:
    """All customers, whoever holds them."""
    parts = [shop.records for shop in shops()]
    customers = (customer for part in parts for customer in part.customers)
    return Baskets(tuple(customers), tuple(order for part in parts for order in part.orders))


@cache
def total() -> Update:
    """The exact sum over all customers' records, in integer units, shape (1000,)."""
    rows, _ = TASK.dataset(everybody())
    counted: Update = rows.sum(axis=0)
    return counted


def _taken(records: Baskets, rows: NDArray[np.intp]) -> Baskets:
    customers = (records.customers[row] for row in rows)
    return Baskets(tuple(customers), tuple(records.orders[row] for row in rows))
