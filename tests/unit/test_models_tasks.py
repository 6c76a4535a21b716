"""The three tasks on the demo's data: bounded updates, gains from a run, exported models that agree."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from deploy.demo.data import write_participant_files
from intertwine.models.baskets import Baskets, candidates
from intertwine.models.recipes import RECIPES, recipe
from intertwine.models.registry import TASKS, task
from intertwine.models.risk import auc
from intertwine.models.task import Clipping
from intertwine.protocols.accounting import guarantee, release_rho
from intertwine.protocols.errors import InputError

PARTICIPANTS = {
    "forecast": ["harbour-retail", "corner-supply"],
    "recommendation": ["harbour-retail", "studio-lumen", "corner-supply"],
    "risk": ["corner-supply", "redoubt-security"],
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    return write_participant_files(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def records(files: dict[str, dict[str, Path]]) -> Any:
    return cache(lambda name, participant: task(name).load(files[participant][name]))


def clipping(name: str) -> Clipping:
    chosen = recipe(name)
    return Clipping(float(chosen.record_norm), chosen.record_bound, chosen.update_bound)


def run(name: str, participants: list[Any], seed: int) -> np.ndarray:
    """The published parameters of a whole run by the recipe, with Gaussian noise."""
    definition, chosen, limits = task(name), recipe(name), clipping(name)
    rng = np.random.default_rng(seed)
    parameters, velocity, history = definition.initial_parameters(), 0.0, []
    for _ in range(chosen.rounds):
        total = np.zeros(definition.dimension)
        for held in participants:
            update = definition.update(parameters, held, limits)
            assert 0 < np.linalg.norm(update) < 0.9 * limits.update_bound
            total += update + np.rint(rng.normal(0, chosen.sigma, definition.dimension))
        velocity = float(chosen.momentum) * velocity + total / (limits.scale * float(chosen.normaliser))
        parameters = parameters + float(chosen.learning_rate) * velocity
        history.append(parameters)
    return np.mean(history[-chosen.average_last :], axis=0)


def test_every_participant_gets_the_tasks_of_its_role(files: dict[str, dict[str, Path]]) -> None:
    for name, holders in PARTICIPANTS.items():
        assert [who for who in files if name in files[who]] == [who for who in files if who in holders]


def test_the_demo_data_are_complete_and_apart(records: Any) -> None:
    skus = [set(records("forecast", who).skus) for who in PARTICIPANTS["forecast"]]
    assert sum(map(len, skus)) == len(set.union(*skus)) == 1238
    assert {sku[:5] for sku in skus[0]}.isdisjoint({sku[:5] for sku in skus[1]})
    assert records("forecast", "harbour-retail").units.shape[1] == 105
    customers = [set(records("recommendation", who).customers) for who in PARTICIPANTS["recommendation"]]
    assert sum(map(len, customers)) == len(set.union(*customers)) == 5305


def test_the_invented_portfolios_say_so(files: dict[str, dict[str, Path]]) -> None:
    for who in PARTICIPANTS["risk"]:
        path = files[who]["risk"]
        assert path.name.startswith("simulated")
        rows = path.read_text().splitlines()[1:]
        assert all(row.startswith("SIM-") and row.endswith(",simulated") for row in rows)


@pytest.mark.parametrize("name", TASKS)
def test_one_record_moves_an_update_by_at_most_the_record_bound(name: str, records: Any) -> None:
    definition, held = task(name), records(name, PARTICIPANTS[name][-1])
    limits = replace(clipping(name), update_bound=10**9)
    parameters = definition.initial_parameters()
    whole = definition.update(parameters, held, limits)
    for victim in (0, 17):
        moved = whole - definition.update(parameters, without(name, held, victim), limits)
        assert int(moved @ moved) <= limits.record_bound**2
        if name != "risk":
            assert moved.any()


def without(name: str, held: Any, victim: int) -> Any:
    """The records without one of them; of vulnerabilities, without an exploited training row."""
    if name == "forecast":
        skus = held.skus[:victim] + held.skus[victim + 1 :]
        return replace(held, skus=skus, units=np.delete(held.units, victim, axis=0))
    if name == "recommendation":
        customers = held.customers[:victim] + held.customers[victim + 1 :]
        full, held_out = np.delete(held.full, victim, axis=0), np.delete(held.held_out, victim)
        return replace(held, customers=customers, full=full, held_out=held_out)
    row = int(np.flatnonzero(held.exploited & ~held.test)[victim])
    keep = np.arange(len(held.ids)) != row
    fields = {field: getattr(held, field)[keep] for field in ("features", "score", "exploited", "test")}
    return replace(held, ids=tuple(np.array(held.ids)[keep]), **fields)


def test_updates_do_not_see_what_evaluation_holds_out(records: Any) -> None:
    series = records("forecast", "corner-supply")
    future = series.units.copy()
    future[:, -12:] += 1000.0
    same_update("forecast", series, replace(series, units=future))
    baskets = records("recommendation", "studio-lumen")
    full = baskets.full.copy()
    full[np.arange(len(full)), baskets.held_out] = 0.0
    same_update("recommendation", baskets, replace(baskets, full=full))
    portfolio = records("risk", "corner-supply")
    exploited = portfolio.exploited ^ portfolio.test
    same_update("risk", portfolio, replace(portfolio, exploited=exploited))


def same_update(name: str, held: Any, changed: Any) -> None:
    definition = task(name)
    start = definition.initial_parameters()
    one, other = (definition.update(start, which, clipping(name)) for which in (held, changed))
    assert (one == other).all()


def test_an_update_is_the_same_again_and_meets_a_binding_bound(records: Any) -> None:
    definition, held = task("forecast"), records("forecast", "corner-supply")
    parameters = definition.initial_parameters()
    first = definition.update(parameters, held, clipping("forecast"))
    assert first.dtype == np.int64
    assert (first == definition.update(parameters, held, clipping("forecast"))).all()
    bound = int(np.linalg.norm(first) / 3)
    projected = definition.update(parameters, held, replace(clipping("forecast"), update_bound=bound))
    assert bound - 40 < np.linalg.norm(projected) <= bound


def test_a_forecast_run_beats_where_it_began_and_the_median(records: Any) -> None:
    definition = task("forecast")
    participants = [records("forecast", who) for who in PARTICIPANTS["forecast"]]
    parameters = run("forecast", participants, seed=1)
    for held in participants:
        before = definition.evaluate(definition.initial_parameters(), held)
        after = definition.evaluate(parameters, held)
        assert after.loss < before.loss
        assert after.metric < min(before.metric, after.baseline)
        assert after.baseline == before.baseline


def test_a_recommendation_run_improves_the_shared_part(records: Any) -> None:
    definition = task("recommendation")
    participants = [records("recommendation", who) for who in PARTICIPANTS["recommendation"]]
    parameters = run("recommendation", participants, seed=1)
    for held in participants:
        before = definition.evaluate(definition.initial_parameters(), held)
        after = definition.evaluate(parameters, held)
        assert after.loss < before.loss
        assert after.metric > before.metric > after.baseline > 0.1


def test_the_blend_of_shared_and_local_scores_beats_local_scores_alone(records: Any) -> None:
    definition = task("recommendation")
    participants = [records("recommendation", who) for who in PARTICIPANTS["recommendation"]]
    parameters = run("recommendation", participants, seed=1)
    for held in participants:
        inputs = definition.inputs(replace(held, full=held.training))
        blend = definition.reference(parameters, inputs)["scores"]
        assert hit_rate(held, blend) > hit_rate(held, inputs["local_scores"])


def hit_rate(held: Baskets, scores: np.ndarray[Any, Any]) -> float:
    """HR@10 of every customer's last item against 99 others."""
    hits = []
    for row in np.flatnonzero(held.held_out >= 0):
        chosen = scores[row, candidates(held, int(row))]
        hits.append(np.count_nonzero(chosen[1:] >= chosen[0]) < 10)
    return float(np.mean(hits))


def test_a_risk_run_beats_the_cvss_score(records: Any) -> None:
    definition = task("risk")
    participants = [records("risk", who) for who in PARTICIPANTS["risk"]]
    parameters = run("risk", participants, seed=1)
    for held in participants:
        before = definition.evaluate(definition.initial_parameters(), held)
        after = definition.evaluate(parameters, held)
        assert before.metric == 0.5
        assert after.loss < before.loss
        assert after.metric > after.baseline + 0.05


@pytest.mark.parametrize("name", TASKS)
def test_the_exported_model_agrees_with_torch(name: str, records: Any) -> None:
    definition, held = task(name), records(name, PARTICIPANTS[name][-1])
    shift = np.random.default_rng(5).normal(0, 0.05, definition.dimension)
    parameters = definition.initial_parameters() + shift
    session = onnxruntime.InferenceSession(
        definition.export(parameters, {}), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    inputs = definition.inputs(held)
    for batch in (len(next(iter(inputs.values()))), 1):
        part = {key: value[:batch] for key, value in inputs.items()}
        outputs = dict(zip(names, session.run(names, part), strict=True))
        reference = definition.reference(parameters, part)
        assert outputs.keys() == reference.keys()
        for key, value in reference.items():
            assert outputs[key].shape == value.shape
            assert np.abs(outputs[key] - value).max() <= 1e-5
        if batch > 1:
            lines = definition.describe(held, outputs)
            assert 3 <= len(lines) <= 6
            assert all(line.strip() for line in lines)


@pytest.mark.parametrize("name", TASKS)
def test_the_exported_model_is_reproducible_standard_and_labelled(name: str) -> None:
    definition = task(name)
    parameters = definition.initial_parameters()
    data = definition.export(parameters, {"run": "r1", "parameters_sha256": "ab"})
    assert data == definition.export(parameters, {"parameters_sha256": "ab", "run": "r1"})
    model = onnx.load_model_from_string(data)
    assert {node.domain for node in model.graph.node} == {""}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    labels = {entry.key: entry.value for entry in model.metadata_props}
    assert labels == {"run": "r1", "parameters_sha256": "ab", "task": name, "task_version": "1"}
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    with pytest.raises(InputError, match="the model is"):
        definition.export(parameters, {"task": "another"})


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_stay_near_epsilon_three_for_a_record(name: str) -> None:
    chosen = recipe(name)
    rho = chosen.rounds * release_rho(chosen.record_bound, chosen.sigma)
    assert 2.0 < guarantee(rho, float(chosen.delta), 0.0).epsilon < 3.2
    assert len(task(name).initial_parameters()) == task(name).dimension
    with pytest.raises(InputError, match="forecast"):
        recipe("weather")


@pytest.mark.parametrize(
    ("score", "label", "expected"),
    [
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.75),
        ([1.0, 1.0, 1.0], [0, 1, 0], 0.5),
        ([0.1, 0.2], [0, 1], 1.0),
        ([0.1, 0.2], [1, 1], 0.5),
    ],
)
def test_auc_of_small_cases(score: list[float], label: list[int], expected: float) -> None:
    assert auc(np.array(score), np.array(label, dtype=bool)) == expected
