"""What a customer may buy next. A record is a customer.

The shared part is public item descriptions and the items' recent popularity, which one noised sum over the
enrolled baskets gives. The local part is the participant's own item-to-item model; it never leaves the
participant and enters the exported graph as an input.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from intertwine.models import baskets as data
from intertwine.models import clipping as clip
from intertwine.models import ease, ranking
from intertwine.models.baskets import Baskets
from intertwine.models.catalogue import ITEMS, LIKENESS_STEPS, catalogue
from intertwine.models.ease import LocalModel
from intertwine.models.onnx_graph import DOUBLE, FLOAT, Graph
from intertwine.models.recipes import RECIPES
from intertwine.models.task import Arrays, Evaluation, Features, ModelCard, Parameters
from intertwine.protocols.mechanism import Entries, Label

POPULARITY_WEIGHT = 0.7
LOCAL_WEIGHT = 4.0
"""Own scores weigh 4 n / (n + 400) for n customers, and descriptions 1. So a merchant of fewer than 133 leans
on the shared part, and one of 25 almost wholly. Both weights were chosen on training baskets, whose own last
items were held out."""
FLOOR = 1.5 * RECIPES["recommendation"].noise * np.sqrt(3.0)
"""Popularity below 1.5 noise deviations, for three participants, says nothing and counts as that much."""
_TINY = 1e-12
_RANK_STEPS = 1e6
"""Scores closer than 1e-6 rank by position, so that rounding in the last bit moves no item."""
_BEHIND = 1e12
"""What excluded items fall behind the others, in those steps."""
_CUSTOMERS_AT_ONCE = 1024


class RecommendationTask:
    """Popularity by one noised sum of clipped baskets, blended with descriptions and local EASE scores."""

    name = "recommendation"
    version = 2
    record = "a customer"
    dimension = ITEMS
    fewest_records = 2
    metric_name = "HR@10 of the shared part (last item against 99 others)"
    higher_is_better = True
    baseline_name = "popularity among own customers"
    card = ModelCard(
        intended_use="Items of the public catalogue that a customer may buy next.",
        inputs={
            "basket": "1 for each item of the catalogue that the customer has bought, 0 for the others; "
            "an empty one gets what sells now",
            "local_scores": "the participant's own scores of the items, zeros if it has none",
            "exclude_bought": "1 to rank what the basket holds behind all other items, 0 otherwise",
        },
        outputs={
            "scores": "score of each item; only their order has a meaning",
            "items": "positions in the catalogue, the best first",
        },
        limits=(
            "What is shared is recent popularity: which items go together is known only from own sales.",
            "Items outside the catalogue are never recommended.",
            "It repeats what has sold well, and what sells little is seldom shown.",
        ),
    )
    columns = ITEMS
    row_bound = data.ROW_BOUND
    label: Label = "none"
    entries: Entries = "uniform"
    record_norm = data.RECORD_NORM

    def load(self, path: Path) -> Baskets:
        """Read `customer,item`; see `baskets.load`."""
        return data.load(path)

    def initial_parameters(self) -> Parameters:
        """No popularity known: all items are at the floor and the blend ignores it."""
        return np.zeros(ITEMS)

    def dataset(self, records: Baskets) -> tuple[Features, None]:
        """What each customer bought last before the held-out item, clipped."""
        baskets = records.before.recent
        rows = np.empty(baskets.shape, dtype=np.int64)
        for start in range(0, len(baskets), _CUSTOMERS_AT_ONCE):
            part = slice(start, start + _CUSTOMERS_AT_ONCE)
            rows[part] = clip.quantize(
                baskets[part].astype(np.float64), float(self.record_norm), self.row_bound
            )
        return rows, None

    def evaluate(self, parameters: Parameters, records: Baskets) -> Evaluation:
        """Cross-entropy and hit rate at 10 among the candidates, of the shared part alone.

        The local part is left out: it is the participant's own, and would hide what sharing brings.
        """
        baskets = records.before.full
        shared = _shared(parameters, torch.from_numpy(baskets).double()).numpy()
        own_popularity = baskets.sum(axis=0, dtype=np.float64)
        asked = ranking.questions(records, sampled=True)
        if not asked:
            return Evaluation(0.0, 0.0, 0.0)
        losses = [_cross_entropy(shared[row, chosen]) for row, chosen in asked]
        hits = ranking.hits(ranking.places(shared, asked))
        own_hits = ranking.hits(ranking.places(np.broadcast_to(own_popularity, shared.shape), asked))
        return Evaluation(float(np.mean(losses)), float(hits.mean()), float(own_hits.mean()))

    def template(self) -> bytes:
        """ONNX: a basket (batch, 1000) to the catalogue's items, ranked, and their scores, (batch, 1000).

        `local_scores` (batch, 1000) and `exclude_bought` (batch, 1) may be zeros. Excluded items rank behind
        all others, their scores unchanged.
        """
        graph = Graph(self)
        basket = graph.input("basket", ITEMS)
        local = graph.input("local_scores", ITEMS)
        exclude = graph.input("exclude_bought", 1)
        likeness = _graph_likeness(graph, basket)
        shared = graph.node("Add", _graph_standardise(graph, likeness), _graph_popularity(graph))
        scores = graph.node("Add", shared, local)
        steps = graph.node("Round", graph.node("Mul", scores, graph.constant(_RANK_STEPS)))
        behind = graph.node("Mul", graph.node("Mul", basket, exclude), graph.constant(_BEHIND))
        ranked = graph.nodes("TopK", 2, graph.node("Sub", steps, behind), graph.constant([ITEMS]), axis=1)[1]
        graph.output(scores, "scores", ITEMS)
        graph.output(ranked, "items", ITEMS, dtype=np.int64)
        return graph.template()

    def inputs(self, records: Baskets) -> Arrays:
        """Every customer's whole basket, with the participant's own scores; what it holds is excluded."""
        return self.basket_inputs(records.full, self.local_model(records))

    def local_model(self, records: Baskets) -> LocalModel:
        """The participant's own model, from whole baskets: made once, it scores any basket."""
        return ease.fit(records.full)

    def basket_inputs(
        self, baskets: NDArray[np.float32], local: LocalModel | None, *, exclude_bought: bool = True
    ) -> Arrays:
        """Inputs of the exported model for any baskets (n, 1000) of 0 and 1; `baskets.encode` makes them.

        local: None if the participant has no model of its own: descriptions and popularity then decide.
        """
        own = np.zeros(baskets.shape) if local is None else _local_scores(local, baskets)
        excluded = np.full((len(baskets), 1), float(exclude_bought))
        return {"basket": baskets.astype(np.float64), "local_scores": own, "exclude_bought": excluded}

    def reference(self, parameters: Parameters, inputs: Arrays) -> Arrays:
        """What torch computes for these inputs, in float64."""
        shared = _shared(parameters, torch.tensor(inputs["basket"], dtype=torch.float64))
        scores = shared + torch.tensor(inputs["local_scores"], dtype=torch.float64)
        behind = torch.from_numpy(_BEHIND * inputs["basket"] * inputs["exclude_bought"])
        steps = torch.round(scores * _RANK_STEPS) - behind
        ranked = torch.argsort(steps, dim=1, descending=True, stable=True)
        return {"scores": scores.numpy(), "items": ranked.numpy()}

    def describe(self, records: Baskets, outputs: Arrays) -> list[str]:
        """Five items for each of the first three customers that they do not have yet."""
        names = catalogue().descriptions
        lines = []
        for row, customer in enumerate(records.customers[:3]):
            best = outputs["items"][row, :5]
            lines.append(f"Customer {customer}: {', '.join(names[item] for item in best)}")
        return lines


def popularity(parameters: Parameters) -> NDArray[np.float64]:
    """What popularity adds to every customer's scores, shape (1000,): its standardised logarithm."""
    logs = np.log(np.maximum(parameters, FLOOR))
    centred = logs - logs.mean()
    weighted: NDArray[np.float64] = POPULARITY_WEIGHT * centred / (np.sqrt(np.mean(centred**2)) + _TINY)
    return weighted


def _shared(parameters: Parameters, baskets: Tensor) -> Tensor:
    """The shared part's scores for baskets (n, 1000), same shape: likeness of descriptions and popularity."""
    likeness = torch.from_numpy(catalogue().likeness)
    return _standardise(baskets @ likeness) + torch.tensor(popularity(parameters))


def _local_scores(local: LocalModel, baskets: NDArray[np.float32]) -> NDArray[np.float64]:
    """A participant's own scores, standardised and weighed for the blend, shape (n, 1000)."""
    standard = _standardise(torch.from_numpy(local.scores(baskets))).numpy()
    own: NDArray[np.float64] = LOCAL_WEIGHT * local.trust * standard
    return own


def _standardise(scores: Tensor) -> Tensor:
    """Each row with mean zero and deviation one; a constant row becomes zero."""
    centred = scores - scores.mean(dim=1, keepdim=True)
    return centred / (centred.square().mean(dim=1, keepdim=True).sqrt() + _TINY)


def _graph_standardise(graph: Graph, scores: str) -> str:
    centred = graph.node("Sub", scores, graph.node("ReduceMean", scores, axes=[1], keepdims=1))
    square = graph.node("Mul", centred, centred)
    deviation = graph.node("Sqrt", graph.node("ReduceMean", square, axes=[1], keepdims=1))
    return graph.node("Div", centred, graph.node("Add", deviation, graph.constant(_TINY)))


def _graph_popularity(graph: Graph) -> str:
    """`popularity`, as (1, 1000)."""
    logs = graph.node("Log", graph.node("Max", graph.weights(0, 1, ITEMS), graph.constant(FLOOR)))
    return graph.node("Mul", _graph_standardise(graph, logs), graph.constant(POPULARITY_WEIGHT))


def _graph_likeness(graph: Graph, basket: str) -> str:
    """`Catalogue.likeness` of every item to the basket's, summed, from the word vectors.

    One entry in two hundred of those is not zero, so only these are stored; a runtime computes the likeness
    once, when it loads the model. The sums are exact in float32, which halves what each basket reads.
    """
    words = catalogue().words
    places = np.argwhere(words)
    empty = graph.node("ConstantOfShape", graph.constant(list(words.shape)))
    zeros = graph.node("Cast", empty, to=DOUBLE)
    full = graph.node("ScatterND", zeros, graph.constant(places), graph.constant(words[tuple(places.T)]))
    cosine = graph.node("MatMul", full, graph.node("Transpose", full, perm=[1, 0]))
    steps = graph.node("Round", graph.node("Mul", cosine, graph.constant(LIKENESS_STEPS)))
    likeness = graph.node("Cast", graph.node("Div", steps, graph.constant(LIKENESS_STEPS)), to=FLOAT)
    summed = graph.node("MatMul", graph.node("Cast", basket, to=FLOAT), likeness)
    return graph.node("Cast", summed, to=DOUBLE)


def _cross_entropy(scores: NDArray[np.float64]) -> float:
    """Minus the log softmax of the first score."""
    return float(np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[0])
