"""`POST /v1/recommendations`: what customers with these baskets may buy next."""

from collections.abc import Callable
from typing import Annotated, TypeAlias

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema

from intertwine.client.published import PublishedModel
from intertwine.client.serving.documents import WHOLE, ModelReference, Query
from intertwine.client.serving.shallow import ShallowRoute
from intertwine.models import baskets
from intertwine.models.baskets import Baskets
from intertwine.models.catalogue import catalogue
from intertwine.models.recommendation import RecommendationTask

PATH = "/v1/recommendations"
MAX_BASKETS = 64
MAX_BASKET = 200
"""Most items of a basket."""
MAX_COUNT = 100
"""Most recommended items. There are always so many that the largest basket does not hold."""


def _known(item: str) -> str:
    if catalogue().position(item) is None:
        raise ValueError("it is not in the catalogue, whose codes and descriptions /openapi.json lists")
    return item


Item: TypeAlias = Annotated[
    str,
    AfterValidator(_known),
    WithJsonSchema(
        {
            "type": "string",
            "description": "An item of the public catalogue: its code or its description.",
            "enum": [*catalogue().codes, *catalogue().descriptions],
        }
    ),
]


class Basket(Query):
    """What one customer has bought; nothing at all for a customer who is new."""

    items: Annotated[list[Item], Field(max_length=MAX_BASKET)]


class RecommendationQuery(Query):
    """Baskets, how many items to recommend for each, and whether to leave out what a basket holds."""

    baskets: Annotated[list[Basket], Field(min_length=1, max_length=MAX_BASKETS)]
    count: Annotated[int, Field(ge=1, le=MAX_COUNT), WHOLE] = 10
    exclude_bought: bool = True


class RecommendedItem(BaseModel):
    """An item of the catalogue. score: only the order within one basket's list has a meaning."""

    item: str
    description: str
    score: float


class Recommendation(BaseModel):
    """The items for one basket, the best first."""

    items: list[RecommendedItem]


class RecommendationAnswer(BaseModel):
    """A recommendation for each basket, in their order."""

    model: ModelReference
    recommendations: list[Recommendation]


class Recommender:
    """The shared model, blended with what the participant's own customers buy together."""

    def __init__(self, model: PublishedModel, task: RecommendationTask, records: Baskets) -> None:
        self.model = model
        self._task = task
        self._session = model.session()
        self._local = task.local_model(records)

    def answer(self, query: RecommendationQuery) -> RecommendationAnswer:
        """Recommend for every basket of a request."""
        held = baskets.encode([basket.items for basket in query.baskets])
        inputs = self._task.basket_inputs(held, self._local, exclude_bought=query.exclude_bought)
        outputs = self._session.run(inputs)
        recommendations = []
        for ranked, scores in zip(outputs["items"], outputs["scores"], strict=True):
            # What is excluded ranks behind everything else.
            items = [_item(int(place), float(scores[place])) for place in ranked[: query.count]]
            recommendations.append(Recommendation(items=items))
        return RecommendationAnswer(model=ModelReference.of(self.model), recommendations=recommendations)


def _item(position: int, score: float) -> RecommendedItem:
    items = catalogue()
    return RecommendedItem(item=items.codes[position], description=items.descriptions[position], score=score)


def router(current: Callable[[], Recommender]) -> APIRouter:
    """The endpoint, over whatever predicts at the time of a request."""
    found = APIRouter(route_class=ShallowRoute)

    @found.post(PATH)
    def recommendations(query: RecommendationQuery) -> RecommendationAnswer:
        """Items that customers with these baskets may buy next, the best first."""
        return current().answer(query)

    return found
