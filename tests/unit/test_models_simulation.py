"""The simulator: the integers of the proofs, the proven noise, the privacy that plans state."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.demo.data import write_participant_files
from intertwine.models import discrete_gaussian, exact_sums
from intertwine.models.recipes import RECIPES
from intertwine.models.registry import task
from intertwine.models.simulation import SIGMAS, Participants, for_epsilon, plan_of, record_epsilon
from intertwine.protocols.accounting import noise_variance
from intertwine.protocols.errors import InputError
from intertwine.protocols.mechanism import GlmMechanism, ReleaseMechanism, StatisticsMechanism
from intertwine.zk import glm, statistics
from intertwine.zk.dataset import Shape, commit_dataset
from intertwine.zk.sampler import sampler, threshold_rows
from tests.toy import TOY_RECIPE, Points, ToyTask, write_points
from tests.toy import glm as toy_glm

ROWS = 60
NUMBER = re.compile(r"[0-9]+\.[0-9]+")


def records(label: str, bound: int, columns: int = 5) -> tuple[Any, Any]:
    """Random integer records of norm at most `bound` and labels of one kind."""
    rng = np.random.default_rng(2)
    features = rng.integers(-bound // 3, bound // 3 + 1, (ROWS, columns))
    features = features[np.linalg.norm(features, axis=1) <= bound]
    high = {"binary": 2, "integer": 900}[label]
    return features, rng.integers(0, high, len(features))


@pytest.mark.parametrize(
    ("link", "label", "label_unit", "residual_norm"),
    [("logistic", "binary", "1", "1"), ("identity", "integer", "0.003", "0.7")],
)
@pytest.mark.parametrize("size", [0.0, 0.3, 20.0])
def test_a_glm_step_is_the_one_that_is_proven(
    link: Any, label: Any, label_unit: str, residual_norm: str, size: float
) -> None:
    features, labels = records(label, 40)
    mechanism = GlmMechanism(
        link=link,
        label=label,
        entries="integer",
        row_bound=40,
        residual_bound=57,
        lot=2048,
        label_unit=label_unit,
        residual_norm=residual_norm,
    )
    opening = commit_dataset(features, labels, Shape(5, 40, label), bytes(32))
    model = glm.Model(link, 57, "1.5", 2048, label_unit, residual_norm)
    parameters = size * np.random.default_rng(3).normal(size=5)
    weights, exponent = glm.quantise_weights(parameters, opening.shape, model)
    proven = glm.exact_step(opening, model, weights, exponent, None, bytes(32), bytes(32))
    assert (exact_sums.glm_step(mechanism, "1.5", parameters, features, labels) == proven).all()


@pytest.mark.parametrize(("moment", "weights"), [("sum", "one"), ("sum", "label"), ("gram", "one")])
def test_a_statistic_is_the_one_that_is_proven(moment: Any, weights: Any) -> None:
    features, labels = records("binary", 40)
    opening = commit_dataset(features, labels, Shape(5, 40, "binary"), bytes(32))
    mechanism = StatisticsMechanism(
        moment=moment, weights=weights, label="binary", entries="integer", row_bound=40
    )
    proven = statistics.exact_sum(opening, moment, weights)
    assert (exact_sums.statistic(mechanism, features, labels) == proven).all()


@pytest.mark.parametrize("sigma", [50, 400, 64, 200])
def test_a_level_of_noise_has_the_proven_probabilities(sigma: int) -> None:
    bits = 64
    proven = {
        magnitude: (high - low) / 2.0 ** (bits - 1) for magnitude, low, high in threshold_rows(sigma, bits)
    }
    table = discrete_gaussian.cumulative(sigma)
    ours = np.diff(table, prepend=0.0)
    zero = len(ours) // 2
    folded = np.concatenate([ours[zero : zero + 1], ours[zero + 1 :] + ours[zero - 1 :: -1]])
    expected = np.array([proven.get(magnitude, 0.0) for magnitude in range(len(folded))])
    assert np.abs(folded - expected).sum() / 2 < 1e-11


@pytest.mark.parametrize("sigma", SIGMAS)
def test_noise_has_the_variance_that_is_accounted_for(sigma: int) -> None:
    drawn = discrete_gaussian.sample(sigma, 200_000, np.random.default_rng(4))
    assert drawn.dtype == np.int64
    assert sampler(sigma).variance == noise_variance(sigma)
    assert abs(drawn.var() / noise_variance(sigma) - 1) < 5 * np.sqrt(2 / len(drawn))
    assert abs(drawn.mean()) < 5 * sigma / np.sqrt(len(drawn))


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_for_an_epsilon_keeps_the_clipping_and_makes_a_plan(name: str, epsilon: float) -> None:
    definition, recipe = task(name), RECIPES[name]
    chosen = for_epsilon(definition, recipe, epsilon)
    reached = record_epsilon(plan_of(definition, chosen, 3))
    assert reached <= epsilon
    if not isinstance(recipe.mechanism, StatisticsMechanism):
        assert reached > 0.92 * epsilon
    kept = ("rounds", "record_norm", "learning_rate", "momentum", "normaliser", "average_last")
    assert all(getattr(chosen, field) == getattr(recipe, field) for field in kept)
    if isinstance(chosen.mechanism, ReleaseMechanism):
        real = chosen.mechanism.update_bound / chosen.record_bound
        assert real == pytest.approx(70_000 / 75, rel=1e-3)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), 0.01])
def test_an_epsilon_that_no_plan_has_is_refused(epsilon: float) -> None:
    with pytest.raises(InputError, match="No plan" if epsilon > 0 else "must be positive"):
        for_epsilon(task("recommendation"), RECIPES["recommendation"], epsilon)


@pytest.fixture
def members(tmp_path: Path) -> list[Points]:
    return [ToyTask().load(write_points(tmp_path / f"{seed}.csv", 30, seed)) for seed in range(3)]


def test_without_noise_a_run_is_the_servers_step_on_the_exact_sum(members: list[Points]) -> None:
    ran = Participants(ToyTask(), members).simulate(TOY_RECIPE, 1, noise=False)
    total = sum(each.features.sum(axis=0) for each in members)
    assert ran.parameters == pytest.approx(total / (32 * 10))
    assert ran.epsilon == np.inf
    assert (len(ran.rounds), len(ran.rounds[0]), len(ran.published)) == (1, 3, 3)


def test_noise_is_drawn_for_each_participant_and_follows_the_seed(members: list[Points]) -> None:
    cohort = Participants(ToyTask(), members)
    exact = cohort.simulate(TOY_RECIPE, 1, noise=False).parameters
    first, again, other = (cohort.simulate(TOY_RECIPE, seed) for seed in (1, 1, 2))
    assert (first.parameters == again.parameters).all()
    assert (first.parameters != other.parameters).any()
    assert first.epsilon == record_epsilon(plan_of(ToyTask(), TOY_RECIPE, 3))
    noise = [(cohort.simulate(TOY_RECIPE, seed).parameters - exact) * 320 for seed in range(200)]
    assert np.std(noise) == pytest.approx(50 * np.sqrt(3), rel=0.15)


def test_a_secret_lot_takes_its_share_of_the_records(members: list[Points]) -> None:
    choices = toy_glm(lot=512)
    recipe = replace(TOY_RECIPE, mechanism=GlmMechanism(**choices["mechanism"]), record_bound=160, sigma=400)
    cohort = Participants(ToyTask(), members)
    whole = replace(recipe, mechanism=recipe.mechanism.model_copy(update={"lot": 2048}))
    plan = plan_of(ToyTask(), recipe, 3)
    assert record_epsilon(plan) < record_epsilon(plan_of(ToyTask(), whole, 3)) / 2
    published = [cohort.simulate(recipe, seed, noise=False).parameters for seed in range(400)]
    full = cohort.simulate(whole, 1, noise=False).parameters
    assert np.mean(published, axis=0) == pytest.approx(full / 4, abs=0.05 * np.abs(full).max())


def test_alone_a_participant_divides_by_its_own_records(members: list[Points]) -> None:
    seen: list[Any] = []

    class Watched(ToyTask):
        def evaluate(self, parameters: Any, records: Points) -> Any:
            seen.append(parameters)
            return super().evaluate(parameters, records)

    assert len(Participants(Watched(), members).local_only(TOY_RECIPE)) == 3
    for parameters, each in zip(seen, members, strict=True):
        assert parameters == pytest.approx(each.features.sum(axis=0) / (32 * 30))


@pytest.mark.parametrize(
    ("name", "recipe", "problem"),
    [
        ("forecast", RECIPES["risk"], r"dimension|no records to enrol"),
        ("risk", RECIPES["forecast"], "no releases"),
        ("risk", RECIPES["recommendation"], "those of task 'risk'"),
        ("risk", replace(RECIPES["risk"], sigma=3), "sigma"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(
    name: str, recipe: Any, problem: str, simulated: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=problem):
        Participants(task(name), [simulated[name]]).simulate(recipe, 1)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The smallest file of two tasks."""
    files = write_participant_files(tmp_path_factory.mktemp("demo"))["corner-supply"]
    return {name: task(name).load(files[name]) for name in ("forecast", "risk")}


def test_a_simulation_needs_participants() -> None:
    with pytest.raises(InputError, match="needs records"):
        Participants(ToyTask(), [])


def test_the_pages_experiment_runs_as_it_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "simulate.md"
    text = page.read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (shown,) = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    exec(compile(code, str(page), "exec"), {})  # noqa: S102
    printed = capsys.readouterr().out
    # Another library's last bits may move a figure's last digit.
    assert [float(number) for number in NUMBER.findall(printed)] == pytest.approx(
        [float(number) for number in NUMBER.findall(shown)], abs=2e-3
    )
    assert NUMBER.sub("", printed) == NUMBER.sub("", shown)


def test_the_shipped_scorer_learns_and_noise_costs_little(simulated: dict[str, Any]) -> None:
    cohort = Participants(task("risk"), [simulated["risk"]])
    noised = cohort.simulate(RECIPES["risk"], 1).published[0]
    exact = cohort.simulate(RECIPES["risk"], 1, noise=False).published[0]
    (alone,) = cohort.local_only(RECIPES["risk"])
    assert noised.metric > noised.baseline
    assert exact.metric > noised.metric - 0.02
    assert alone.metric > alone.baseline
