"""What a portfolio may say besides: an EPSS score enters the probability, and what is at stake the order."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deploy.demo.data.simulate import portfolio
from intertwine.models import vulnerability
from intertwine.models.calibration import sigmoid
from intertwine.models.clipping import quantize
from intertwine.models.explanation import split_log_odds
from intertwine.models.recipes import recipe
from intertwine.models.risk import RiskTask
from intertwine.models.simulation import Participants
from intertwine.models.vulnerability import ROW_BOUND, SIDE, Vulnerabilities
from intertwine.models.whitening import simulated_whitening
from intertwine.protocols.errors import InputError

Load = Callable[..., Vulnerabilities]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """A portfolio of some rows with the given further columns, a function of the row's number each."""

    def read(rows: int, **columns: Callable[[int], object]) -> Vulnerabilities:
        header, *lines = portfolio("a", rows, seed=3).splitlines()
        lines = [
            ",".join([line, *(str(value(number)) for value in columns.values())])
            for number, line in enumerate(lines)
        ]
        path = tmp_path / "portfolio.csv"
        path.write_text("\n".join([",".join([header, *columns]), *lines]))
        return vulnerability.load(path)

    return read


def epss(score: float) -> float:
    """The feature of a score."""
    return float(np.log10(min(1.0, max(1e-4, score))))


def test_a_portfolio_without_scores_trains_as_if_there_were_none(load: Load) -> None:
    """All its rows are those of the 56 other features, and the score's column holds zeros."""
    records, task = load(300), RiskTask()
    features, labels = task.dataset(records)
    assert features.shape == ((~records.test).sum(), 58)
    assert not features[:, 56].any()
    facts, whole = records.features[~records.test][:, :56], simulated_whitening()
    whitened = (facts - whole.mean[:56]) @ whole.matrix[:56, :56]
    assert np.array_equal(features[:, :56], quantize(whitened, 1.0, SIDE))
    empty = load(300, epss=lambda number: "")
    same, same_labels = task.dataset(empty)
    assert np.array_equal(features, same)
    assert np.array_equal(labels, same_labels)


def test_a_score_moves_its_own_row_alone(load: Load) -> None:
    task = RiskTask()
    without, _ = task.dataset(load(300))
    records = load(300, epss=lambda number: 0.9 if number % 2 else "")
    some, _ = task.dataset(records)
    scored = (np.arange(300) % 2 == 1)[~records.test]
    assert np.array_equal(without[~scored], some[~scored])
    assert (some[scored, 56] > 0).all()
    assert (np.linalg.norm(some, axis=1) <= ROW_BOUND).all()


@pytest.mark.parametrize("score", [0.0, 1e-5, 0.00042, 0.01, 0.97432, 1.0])
def test_scores_count_by_their_logarithm_within_public_limits(load: Load, score: float) -> None:
    records = load(3, epss=lambda number: score)
    assert records.features[:, 56] == pytest.approx(epss(score))
    whitened = simulated_whitening().apply(records.features)[:, 56]
    assert np.abs(whitened).max() <= 1.68
    assert epss(0.01) == vulnerability.EPSS_MEAN


def test_scores_that_tell_are_learned_from(load: Load) -> None:
    plain = load(3000)
    told = load(3000, epss=lambda number: 0.6 if plain.exploited[number] else 0.002)
    task, metrics = RiskTask(), []
    for records in (plain, told):
        members = Participants(task, [records])
        metrics.append(members.simulate(recipe("risk"), seed=1, noise=False).published[0].metric)
    assert metrics[1] > max(0.9, metrics[0] + 0.05)


def test_a_score_has_its_share_in_the_log_odds(load: Load) -> None:
    records = load(20, epss=lambda number: 0.5)
    task = RiskTask()
    parameters = task.initial_parameters()
    parameters[56] = 40.0
    explained = task.explanation(parameters, records.features)
    assert (explained.features[:, 56] > 0).all()
    probability = task.reference(parameters, task.inputs(records))["risk"]
    assert sigmoid(explained.log_odds) == pytest.approx(probability)
    assert all("EPSS +" in line for line in task.explain(parameters, records))
    without = load(20)
    weights = np.ones(57)
    absent = split_log_odds(without.features, simulated_whitening(), weights, 0.0)
    assert not absent.features[:, 56].any()


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"exposure": 0.5}, 0.5),
        ({"revenue_impact": 2e6}, 2e6),
        ({"asset_value": 3000}, 3000),
        ({"cost": 4}, 0.25),
        ({"exposure": 0.1, "revenue_impact": 1000, "asset_value": "5e2", "cost": 30}, 5.0),
        ({"exposure": 0, "asset_value": 7}, 0.0),
    ],
    ids=["exposure", "revenue", "asset", "cost", "all", "nothing exposed"],
)
def test_what_is_at_stake(load: Load, columns: dict[str, object], expected: float) -> None:
    given = {name: (lambda number, value=value: value) for name, value in columns.items()}
    records = load(3, **given)
    assert records.stakes == pytest.approx(expected)
    assert load(3).stakes is None


def test_stakes_decide_the_order_and_never_train(load: Load) -> None:
    task = RiskTask()
    parameters = task.initial_parameters() + np.random.default_rng(5).normal(0, 1.5, task.dimension)
    plain, valued = load(200), load(200, asset_value=lambda number: 1e9 if number == 17 else number)
    for one, other in zip(task.dataset(plain), task.dataset(valued), strict=True):
        assert np.array_equal(one, other)
    outputs = task.reference(parameters, task.inputs(valued))
    assert np.array_equal(outputs["risk"], task.reference(parameters, task.inputs(plain))["risk"])
    lines, reasons = task.describe(valued, outputs), task.explain(parameters, valued)
    risk = outputs["risk"]
    assert lines[0].startswith(f"{valued.ids[17]}: priority {risk[17] * 1e9:,.4g}, risk {risk[17]:.3f} (CVSS")
    assert reasons[0].startswith(f"{valued.ids[17]}: log odds")
    assert reasons[0].endswith("; at stake 1e+09")
    assert [line.split(":")[0] for line in lines] == [line.split(":")[0] for line in reasons]
    without = replace(valued, stakes=None)
    assert task.describe(without, outputs) == task.describe(plain, outputs)
    assert not any("priority" in line for line in task.describe(plain, outputs))


@pytest.mark.parametrize("column", ["epss", "exposure", "revenue_impact", "asset_value", "cost"])
@pytest.mark.parametrize("cell", ["nan", "inf", "-1", "1e999", "1,5", "1_0", "high", "0x1", "٣"])
def test_what_is_no_number_in_its_range(load: Load, column: str, cell: str) -> None:
    with pytest.raises(InputError, match=f"row 3, column {column}: .* is not a number from 0") as caught:
        load(3, **{column: lambda number: 0.5 if number != 1 else f'"{cell}"'})
    assert caught.value.remedy


@pytest.mark.parametrize(("column", "cell"), [("epss", "1.01"), ("exposure", "2"), ("cost", "0")])
def test_what_is_out_of_its_range(load: Load, column: str, cell: str) -> None:
    with pytest.raises(InputError, match=f"row 2, column {column}: '{cell}' is not a number"):
        load(3, **{column: lambda number: cell})


@pytest.mark.parametrize("column", ["exposure", "revenue_impact", "asset_value", "cost"])
def test_what_is_at_stake_is_known_of_all_rows_or_of_none(load: Load, column: str) -> None:
    with pytest.raises(InputError, match=f"row 4, column {column}: the cell is empty"):
        load(3, **{column: lambda number: "" if number == 2 else 1})
