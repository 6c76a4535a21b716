"""The recommender: whom it knows what to tell, what it leaves out, and how its figures are counted."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from intertwine.models import baskets, ease, ranking
from intertwine.models.baskets import Baskets
from intertwine.models.catalogue import ITEMS, catalogue
from intertwine.models.recommendation import LOCAL_WEIGHT, RecommendationTask
from intertwine.models.task import Arrays
from intertwine.protocols.aggregation import parameters_to_bytes
from intertwine.protocols.errors import InputError
from intertwine.protocols.model_file import expected_model

TASK = RecommendationTask()
CODES, DESCRIPTIONS = catalogue().codes, catalogue().descriptions


@pytest.fixture(scope="module")
def counts() -> np.ndarray[Any, Any]:
    """A popularity that sells item 7 best, then item 3."""
    parameters = np.random.default_rng(1).uniform(0.01, 0.02, ITEMS)
    parameters[[7, 3]] = 0.5, 0.4
    return parameters


@pytest.fixture(scope="module")
def session(counts: np.ndarray[Any, Any]) -> onnxruntime.InferenceSession:
    model = expected_model(TASK.template(), parameters_to_bytes(counts), {})
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


@pytest.fixture
def merchant() -> Baskets:
    """Thirty customers who always buy items 10, 20 and 30 together, after others."""
    rng = np.random.default_rng(2)
    orders = [np.append(rng.choice(np.arange(40, 400), 5, replace=False), [10, 20, 30]) for _ in range(30)]
    return Baskets(tuple(f"c{number}" for number in range(30)), tuple(orders))


def ask(session: onnxruntime.InferenceSession, inputs: Arrays) -> Arrays:
    return dict(zip(("scores", "items"), session.run(["scores", "items"], inputs), strict=True))


def test_an_empty_basket_gets_what_is_popular(
    session: onnxruntime.InferenceSession, counts: np.ndarray[Any, Any], merchant: Baskets
) -> None:
    empty = baskets.encode([[]])
    for local in (None, TASK.local_model(merchant)):
        items = ask(session, TASK.basket_inputs(empty, local))["items"][0]
        assert items[:2].tolist() == [7, 3]
        assert (np.diff(counts[items][:50]) <= 0).all()


def test_a_merchant_without_a_local_model_is_told_what_is_alike(
    session: onnxruntime.InferenceSession,
) -> None:
    held = baskets.encode([[CODES[100]]])
    best = ask(session, TASK.basket_inputs(held, None))["items"][0, 0]
    words = set(DESCRIPTIONS[100].split())
    assert best != 100
    assert words & set(DESCRIPTIONS[best].split())


def test_own_sales_show_what_goes_together(session: onnxruntime.InferenceSession, merchant: Baskets) -> None:
    held = baskets.encode([[CODES[10], CODES[20]]])
    alone, blended = (
        ask(session, TASK.basket_inputs(held, local))["items"][0].tolist()
        for local in (None, TASK.local_model(merchant))
    )
    assert blended.index(30) < alone.index(30)


@pytest.mark.parametrize("exclude", [True, False])
def test_bought_items_rank_behind_all_others_on_request(
    session: onnxruntime.InferenceSession, exclude: bool
) -> None:
    held = baskets.encode([[CODES[7], CODES[3], CODES[500]], []])
    inputs = TASK.basket_inputs(held, None, exclude_bought=exclude)
    outputs, reference = ask(session, inputs), TASK.reference(np.zeros(ITEMS), inputs)
    assert (set(outputs["items"][0, -3:].tolist()) == {7, 3, 500}) == exclude
    assert (set(reference["items"][0, -3:].tolist()) == {7, 3, 500}) == exclude
    assert sorted(outputs["items"][0].tolist()) == list(range(ITEMS))
    kept = ask(session, TASK.basket_inputs(held, None, exclude_bought=False))["scores"]
    assert (outputs["scores"] == kept).all()


def test_baskets_are_encoded_by_code_and_by_description() -> None:
    rows = baskets.encode([[CODES[5].lower(), DESCRIPTIONS[9], f" {CODES[5]} "], []])
    assert rows.shape == (2, ITEMS)
    assert np.flatnonzero(rows[0]).tolist() == [5, 9]
    assert not rows[1].any()


def test_an_unknown_item_of_a_basket_is_named_by_its_place() -> None:
    with pytest.raises(InputError, match=r"Basket 2, item 3: 'unicorn' is not in the catalogue"):
        baskets.encode([[CODES[1]], [CODES[1], CODES[2], "unicorn"]])


def test_every_name_of_an_item_leads_to_it() -> None:
    for place in range(ITEMS):
        assert catalogue().position(CODES[place]) == place
        assert catalogue().position(DESCRIPTIONS[place]) == place


def test_a_customers_record_is_the_last_items_before_the_held_out_one(merchant: Baskets) -> None:
    long = Baskets(("a", "b"), (np.arange(25), np.array([3])))
    assert long.held_out.tolist() == [24, -1]
    rows, labels = TASK.dataset(long)
    assert labels is None
    assert np.flatnonzero(rows[0]).tolist() == list(range(4, 24))
    assert np.flatnonzero(rows[1]).tolist() == [3]
    assert set(np.unique(rows)) == {0, 57}


def test_few_customers_lean_on_the_shared_part() -> None:
    weights = [LOCAL_WEIGHT * ease.trust(customers) for customers in (25, 100, 132, 134, 5000)]
    assert weights == sorted(weights)
    assert weights[0] < 0.25
    assert weights[2] < 1 < weights[3]


def test_the_local_model_is_the_regression_that_it_claims(merchant: Baskets) -> None:
    """EASE's column j is the ridge regression of item j on all others."""
    held, local = merchant.full.astype(np.float64), ease.fit(merchant.full)
    others = np.delete(held, 30, axis=1)
    penalty = ease.RIDGE * 30 / (30 + ease.HALF_TRUSTED)
    expected = np.linalg.solve(others.T @ others + penalty * np.eye(ITEMS - 1), others.T @ held[:, 30])
    assert np.abs(np.delete(local.weights[:, 30], 30) - expected).max() < 1e-9
    assert not np.diag(local.weights).any()
    assert np.abs(local.scores(held) - held @ local.weights).max() == 0


def test_places_hits_and_gains_of_small_cases() -> None:
    scores = np.zeros((3, ITEMS))
    scores[0, 5] = 1.0
    scores[1, :9], scores[1, 20] = 2.0, 1.0
    asked = [(0, np.array([5, 1, 2])), (1, np.array([20, *range(9)])), (2, np.arange(40))]
    places = ranking.places(scores, asked)
    assert places.tolist() == [0.0, 9.0, 19.5]
    assert ranking.hits(places).tolist() == [1.0, 1.0, 0.0]
    assert ranking.gains(places).tolist() == [1.0, 1.0 / np.log2(11.0), 0.0]


def test_questions_never_ask_about_what_was_bought(merchant: Baskets) -> None:
    for sampled, size in ((True, 100), (False, ITEMS - 7)):
        asked = ranking.questions(merchant, sampled=sampled)
        assert len(asked) == len(merchant)
        for row, chosen in asked:
            assert len(chosen) == len(set(chosen.tolist())) == size
            assert chosen[0] == merchant.held_out[row]
            assert not merchant.full[row, chosen[1:]].any()


def test_coverage_counts_items_among_somebodys_ten_best() -> None:
    scores = np.tile(np.arange(ITEMS, dtype=np.float64), (2, 1))
    held = np.zeros((2, ITEMS), dtype=np.float32)
    assert ranking.coverage(scores, held) == 10 / ITEMS
    held[1, -3:] = 1.0
    assert ranking.coverage(scores, held) == 13 / ITEMS


def test_an_item_bought_again_counts_once_where_it_first_stands(tmp_path: Path) -> None:
    path = tmp_path / "purchases.csv"
    rows = [f"a,{CODES[1]}", f"b,{CODES[2]}", f"a,{CODES[3]}", f"a,{CODES[1]}", "b,unicorn"]
    path.write_text("\n".join(["customer,item", *rows]), encoding="utf-8")
    held = baskets.load(path)
    assert [order.tolist() for order in held.orders] == [[1, 3], [2]]
