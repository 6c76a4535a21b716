"""The three tasks on the demo's data: bounded records, gains from a run, exported models that agree."""

import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from deploy.demo.data import write_participant_files
from intertwine.models import exact_sums, ranking, simulation
from intertwine.models.model_card import render
from intertwine.models.recipes import RECIPES, recipe
from intertwine.models.registry import TASKS, task
from intertwine.models.risk import auc
from intertwine.models.simulation import Participants
from intertwine.models.task import Clipping, DataBoundTask, Parameters, ReleaseTask
from intertwine.models.vulnerability import CONSTANT, ROW_BOUND
from intertwine.protocols.accounting import Assurance, guarantee
from intertwine.protocols.aggregation import parameters_to_bytes
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import PlanEntry
from intertwine.protocols.errors import InputError
from intertwine.protocols.mechanism import ReleaseMechanism, StatisticsMechanism
from intertwine.protocols.model_file import expected_model, read_metadata
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Signed
from intertwine.protocols.signing import SigningKey
from intertwine.zk import glm
from intertwine.zk.dataset import Shape, commit_dataset
from intertwine.zk.training_record import model_metadata

PARTICIPANTS = {
    "forecast": ["harbour-retail", "corner-supply"],
    "recommendation": ["harbour-retail", "studio-lumen", "corner-supply"],
    "risk": ["corner-supply", "redoubt-security"],
}
DATA_BOUND = ["recommendation", "risk"]
TEMPLATES = {
    "forecast": "e798ddb20b2bc82ff01cc17a1c3f7dcb6dedb636ab3c69f19d6b3f156c0b75d0",
    "recommendation": "4a9f0dd8454ceef66d71c8b4ecfd99dd365b32b3887f394f518438eb5a07763f",
    "risk": "2fc1e4ba8942d47d1c82047fe5184bafa271a584b9e45c8a319e2e9a99f13553",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    return write_participant_files(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def records(files: dict[str, dict[str, Path]]) -> Any:
    return cache(lambda name, participant: task(name).load(files[participant][name]))


def plan_of(name: str) -> Plan:
    """The plan that the recipe makes."""
    return simulation.plan_of(task(name), recipe(name), len(PARTICIPANTS[name]))


def clipping(plan: Plan) -> Clipping:
    assert isinstance(plan.mechanism, ReleaseMechanism)
    return Clipping(float(plan.record_norm), plan.record_bound, plan.mechanism.update_bound)


def run(name: str, participants: list[Any], **changes: Any) -> Parameters:
    """The published parameters of a run of the recipe with some fields chosen differently."""
    chosen = replace(recipe(name), **changes)
    return Participants(task(name), participants).simulate(chosen, seed=1).parameters


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


def test_one_series_moves_an_update_by_at_most_the_record_bound(records: Any) -> None:
    definition, held = task("forecast"), records("forecast", "corner-supply")
    limits = replace(clipping(plan_of("forecast")), update_bound=10**9)
    parameters = definition.initial_parameters()
    whole = definition.update(parameters, held, limits)
    for victim in (0, 17):
        skus = held.skus[:victim] + held.skus[victim + 1 :]
        others = replace(held, skus=skus, units=np.delete(held.units, victim, axis=0))
        moved = whole - definition.update(parameters, others, limits)
        assert 0 < int(moved @ moved) <= limits.record_bound**2


@pytest.mark.parametrize("name", DATA_BOUND)
def test_records_fit_the_dataset_that_the_recipe_asks_for(name: str, records: Any) -> None:
    definition, plan = task(name), plan_of(name)
    assert plan.mechanism.columns(plan.dimension) == definition.columns
    assert (plan.mechanism.label, plan.mechanism.row_bound) == (definition.label, definition.row_bound)
    assert plan.record_norm == definition.record_norm
    for participant in PARTICIPANTS[name]:
        features, labels = definition.dataset(records(name, participant))
        assert features.dtype == np.int64
        assert features.shape[1] == definition.columns
        assert np.abs(features).max() <= 1023
        assert np.einsum("nd,nd->n", features, features).max() <= definition.row_bound**2
        if labels is None:
            assert definition.label == "none"
        else:
            assert definition.label == "binary"
            assert labels.shape == (len(features),)
            assert set(labels.tolist()) == {0, 1}


def test_every_vulnerability_carries_the_constant_unclipped(records: Any) -> None:
    features, _ = task("risk").dataset(records("risk", "redoubt-security"))
    assert set(features[:, -1].tolist()) == {CONSTANT}
    assert np.linalg.norm(features, axis=1).min() > 0.97 * ROW_BOUND


@pytest.mark.parametrize("name", DATA_BOUND)
def test_appended_records_append_rows(name: str, files: dict[str, dict[str, Path]], tmp_path: Path) -> None:
    definition = task(name)
    lines = files[PARTICIPANTS[name][-1]][name].read_text().splitlines()
    # A customer's purchases stand together in the demo's file: cut between two customers.
    cut = next(i for i in range(3000, len(lines)) if lines[i].split(",")[0] != lines[i - 1].split(",")[0])
    path = tmp_path / "data.csv"
    path.write_text("\n".join(lines[:cut]) + "\n")
    before, before_labels = definition.dataset(definition.load(path))
    path.write_text("\n".join(lines[: cut + 500]) + "\n")
    after, after_labels = definition.dataset(definition.load(path))
    assert len(before) > 1000 or name == "recommendation"
    assert len(after) > len(before)
    assert (after[: len(before)] == before).all()
    if before_labels is not None:
        assert (after_labels[: len(before)] == before_labels).all()


def test_training_does_not_see_what_evaluation_holds_out(records: Any) -> None:
    definition, series = task("forecast"), records("forecast", "corner-supply")
    future = series.units.copy()
    future[:, -12:] += 1000.0
    start, limits = definition.initial_parameters(), clipping(plan_of("forecast"))
    changed = definition.update(start, replace(series, units=future), limits)
    assert (definition.update(start, series, limits) == changed).all()
    baskets = records("recommendation", "studio-lumen")
    orders = tuple(np.append(order[:-1], 999 - order[-1]) for order in baskets.orders)
    same_dataset("recommendation", baskets, replace(baskets, orders=orders))
    portfolio = records("risk", "corner-supply")
    exploited = portfolio.exploited ^ portfolio.test
    same_dataset("risk", portfolio, replace(portfolio, exploited=exploited))


def same_dataset(name: str, held: Any, changed: Any) -> None:
    (one, one_labels), (other, other_labels) = (task(name).dataset(which) for which in (held, changed))
    assert np.array_equal(one, other)
    assert np.array_equal(one_labels, other_labels)


def test_an_update_is_the_same_again_and_meets_a_binding_bound(records: Any) -> None:
    definition, held = task("forecast"), records("forecast", "corner-supply")
    parameters, limits = definition.initial_parameters(), clipping(plan_of("forecast"))
    first = definition.update(parameters, held, limits)
    assert first.dtype == np.int64
    assert (first == definition.update(parameters, held, limits)).all()
    bound = int(np.linalg.norm(first) / 3)
    projected = definition.update(parameters, held, replace(limits, update_bound=bound))
    assert bound - 40 < np.linalg.norm(projected) <= bound


def test_a_forecast_run_beats_where_it_began_and_the_median(records: Any) -> None:
    definition = task("forecast")
    participants = [records("forecast", who) for who in PARTICIPANTS["forecast"]]
    parameters, limits = run("forecast", participants), clipping(plan_of("forecast"))
    for held in participants:
        for reached in (definition.initial_parameters(), parameters):
            update = definition.update(reached, held, limits)
            assert np.linalg.norm(update) < 0.9 * limits.update_bound
        before = definition.evaluate(definition.initial_parameters(), held)
        after = definition.evaluate(parameters, held)
        assert after.loss < before.loss
        assert after.metric < min(before.metric, after.baseline)
        assert after.baseline == before.baseline


def test_a_recommendation_run_improves_the_shared_part(records: Any) -> None:
    definition = task("recommendation")
    participants = [records("recommendation", who) for who in PARTICIPANTS["recommendation"]]
    parameters = run("recommendation", participants)
    for held in participants:
        before = definition.evaluate(definition.initial_parameters(), held)
        after = definition.evaluate(parameters, held)
        assert after.loss < before.loss
        assert after.metric > before.metric > after.baseline > 0.1


def test_the_blend_of_shared_and_local_scores_beats_local_scores_alone(records: Any) -> None:
    definition = task("recommendation")
    participants = [records("recommendation", who) for who in PARTICIPANTS["recommendation"]]
    parameters = run("recommendation", participants)
    for held in participants:
        inputs = definition.inputs(held.before)
        asked = ranking.questions(held, sampled=True)
        blend = ranking.places(definition.reference(parameters, inputs)["scores"], asked)
        local = ranking.places(inputs["local_scores"], asked)
        assert ranking.hits(blend).mean() > ranking.hits(local).mean()


def test_a_risk_run_beats_the_cvss_score(records: Any) -> None:
    definition = task("risk")
    participants = [records("risk", who) for who in PARTICIPANTS["risk"]]
    parameters = run("risk", participants)
    for held in participants:
        before = definition.evaluate(definition.initial_parameters(), held)
        after = definition.evaluate(parameters, held)
        assert before.metric == 0.5
        assert after.loss < before.loss
        assert after.metric > after.baseline + 0.05


def test_the_proven_statements_compute_what_these_runs_train_with(records: Any) -> None:
    definition, plan = task("risk"), plan_of("risk")
    features, labels = (part[:200] for part in definition.dataset(records("risk", "corner-supply")))
    shape = Shape(definition.columns, definition.row_bound, definition.label, definition.entries)
    opening = commit_dataset(features, labels, shape, bytes(32))
    model = glm.Model(
        plan.mechanism.link, plan.mechanism.residual_bound, plan.record_norm, plan.mechanism.lot
    )
    parameters = definition.initial_parameters() + np.random.default_rng(3).normal(0, 1, definition.dimension)
    weights, exponent = glm.quantise_weights(parameters, shape, model)
    step = glm.exact_step(opening, model, weights, exponent, None, bytes(32), bytes(32))
    ours = exact_sums.glm_step(plan.mechanism, plan.record_norm, parameters, features, labels)
    assert (step == ours).all()


def test_the_class_sum_of_the_same_records_does_about_as_well(records: Any) -> None:
    participants = [records("risk", who) for who in PARTICIPANTS["risk"]]
    mechanism = StatisticsMechanism(
        moment="sum", weights="label", label="binary", entries="integer", row_bound=ROW_BOUND
    )
    class_sum: dict[str, Any] = {
        "mechanism": mechanism,
        "record_bound": mechanism.record_bound(),
        "rounds": 1,
        "sigma": 100,
        "learning_rate": "1000",
        "momentum": "0",
    }
    by_sum = run("risk", participants, **class_sum)
    by_steps = run("risk", participants)
    for held in participants:
        one, other = (task("risk").evaluate(parameters, held) for parameters in (by_sum, by_steps))
        assert abs(one.metric - other.metric) < 0.03
        assert max(one.loss, other.loss) < task("risk").evaluate(np.zeros(58), held).loss


@pytest.mark.parametrize("name", TASKS)
def test_the_exported_model_agrees_with_torch(name: str, records: Any) -> None:
    definition, held = task(name), records(name, PARTICIPANTS[name][-1])
    shift = np.random.default_rng(5).normal(0, 0.05, definition.dimension)
    parameters = definition.initial_parameters() + shift
    model = expected_model(definition.template(), parameters_to_bytes(parameters), {})
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
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
            assert 3 <= len(lines) <= 7
            assert all(line.strip() for line in lines)


@pytest.mark.parametrize("name", TASKS)
def test_a_template_is_the_same_in_every_process(name: str) -> None:
    """The digests are those that plans hold: another one means another version of the task."""
    code = f"from intertwine.models.registry import task; print(task({name!r}).template().hex())"
    alone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert bytes.fromhex(alone.stdout) == task(name).template()
    assert sha256(task(name).template()) == TEMPLATES[name]


@pytest.mark.parametrize("name", TASKS)
def test_the_exported_model_is_standard_and_holds_the_logged_bytes(name: str) -> None:
    definition, plan = task(name), plan_of(name)
    parameters = parameters_to_bytes(definition.initial_parameters())
    entry = PlanEntry(time=0, plan=Signed[Plan].create(plan, SigningKey.generate()))
    labels = model_metadata("log.example", [(0, entry)], parameters)
    data = expected_model(definition.template(), parameters, labels)
    model = onnx.load_model_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    assert model.SerializeToString(deterministic=True) == data
    assert model.graph.initializer[0].raw_data == parameters
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata == read_metadata(data)
    assert metadata == labels | {"model_card": render(definition), "task_version": str(definition.version)}
    assert (model.graph.name, model.model_version) == (name, definition.version)
    assert {node.domain for node in model.graph.node} == {""}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_stay_near_epsilon_three_for_a_record(name: str) -> None:
    plan = plan_of(name)
    level = Assurance.PROVEN_RECORD if name in DATA_BOUND else Assurance.ATTESTED_RECORD
    assert 2.0 < guarantee(plan.losses(0.0)[level] * plan.rounds, float(plan.delta)).epsilon < 3.2
    assert len(task(name).initial_parameters()) == task(name).dimension


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_either_data_bound_or_computes_its_own_update(name: str) -> None:
    assert isinstance(task(name), DataBoundTask) == (name in DATA_BOUND)
    assert isinstance(task(name), ReleaseTask) != isinstance(task(name), DataBoundTask)


def test_an_unknown_task_has_no_recipe() -> None:
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
