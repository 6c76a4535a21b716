"""The recommender's part of `make bench-tasks`, on a few customers: its wiring, not its figures."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from deploy.bench.tasks import recommendation as bench
from intertwine.models.baskets import Baskets
from intertwine.models.catalogue import catalogue
from intertwine.models.recipes import recipe

METRICS = ("hr10", "ndcg10", "full_hr10", "full_ndcg10", "coverage")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three shops of twenty customers, who buy among the first 200 items, the first ones most."""
    rng = np.random.default_rng(4)
    shares = 1.0 / np.arange(1, 201)
    made = []
    for name in "abc":
        orders = [rng.choice(200, 8, replace=False, p=shares / shares.sum()) for _ in range(20)]
        made.append(bench.Shop(Baskets(tuple(f"{name}{row}" for row in range(20)), tuple(orders))))
    bench.everybody.cache_clear()
    bench.total.cache_clear()
    monkeypatch.setattr(bench, "shops", lambda: tuple(made))
    monkeypatch.setattr(bench, "SIZES", (10, 20))
    monkeypatch.setattr(bench, "SMALL_SAMPLE", 40)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the benchmark's own processes
    yield
    torch.set_num_threads(threads)
    bench.everybody.cache_clear()
    bench.total.cache_clear()


def test_a_cell_has_every_figure_and_is_the_same_again(few: None) -> None:
    found = bench.cell(3.0, seed=1)
    assert found == bench.cell(3.0, seed=1)
    assert found != bench.cell(3.0, seed=2)
    assert 2.0 < found["epsilon"] <= 3.0
    for model in ("dp_pop_content", "hybrid"):
        assert all(0.0 <= found[f"{metric}_{model}"] <= 1.0 for metric in METRICS)
    gains = []
    for size in (10, 20):
        gains.append(found[f"small_{size}_hr10"] - found[f"small_{size}_best_alone"])
        assert found[f"small_merchant_gain_{size}"] == gains[-1]
    assert found["small_merchant_gain"] == pytest.approx(np.mean(gains))


def test_baselines_have_the_same_figures_of_each_model(few: None) -> None:
    found = bench.baselines()
    for model in ("popularity", "content", "local_ease", "nonprivate_pop_content"):
        assert {f"{metric}_{model}" for metric in METRICS} <= found.keys()
    assert (found["participants"], found["records"]) == (3, 60)
    assert found["hr10_nonprivate_pop_content"] > found["hr10_content"]


def test_a_small_merchants_popularity_is_of_all_customers(few: None) -> None:
    released = bench.released(recipe("recommendation"), np.random.default_rng(0)) * 258 / 4.5 * 5305
    assert (bench.total()[200:] == 0).all()
    assert 700 < np.std(released[200:]) < 900  # four participants' noise of 400 each
    assert released[:10].mean() > 700  # 57 for each of the many who bought them


def test_examples_offer_what_the_customer_does_not_have(few: None) -> None:
    found = bench.examples()
    assert len(found) == 3
    for each in found:
        assert len(each["bought"]) == len(each["offered"]) == bench.SHOWN
        assert set(each["offered"]) <= set(catalogue().descriptions) - set(each["bought"])
