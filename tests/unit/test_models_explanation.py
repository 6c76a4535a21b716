"""What a risk score is made of, and what a participant's own correction of it does."""

from pathlib import Path

import numpy as np
import pytest

from deploy.demo.data.simulate import portfolio
from intertwine.models import calibration, vulnerability
from intertwine.models.calibration import calibration_error, sigmoid
from intertwine.models.explanation import ExplainedTask
from intertwine.models.registry import task as find_task
from intertwine.models.risk import RiskTask
from intertwine.models.vulnerability import Vulnerabilities


@pytest.fixture
def records(tmp_path: Path) -> Vulnerabilities:
    path = tmp_path / "portfolio.csv"
    path.write_text(portfolio("a", 1000, seed=3))
    return vulnerability.load(path)


@pytest.fixture
def parameters() -> np.ndarray:
    task = RiskTask()
    return task.initial_parameters() + np.random.default_rng(5).normal(0, 1.5, task.dimension)


def test_shares_add_up_to_the_log_odds(records: Vulnerabilities, parameters: np.ndarray) -> None:
    task = RiskTask()
    probability = task.reference(parameters, {"features": records.features})["risk"]
    explained = task.explanation(parameters, records.features)
    assert explained.features.shape == records.features.shape
    np.testing.assert_allclose(
        explained.base + explained.features.sum(axis=1),
        np.log(probability) - np.log1p(-probability),
        atol=1e-9,
        rtol=0,
    )


def test_the_average_vulnerability_has_the_base_rate_and_no_shares(parameters: np.ndarray) -> None:
    task = RiskTask()
    average = task._whitening.mean[None, :]
    explained = task.explanation(parameters, average)
    assert not explained.features.any()
    assert sigmoid(explained.log_odds) == pytest.approx(
        task.reference(parameters, {"features": average})["risk"], abs=1e-12
    )


def test_every_feature_has_a_property() -> None:
    named = dict(zip(vulnerability.FEATURES, vulnerability.PROPERTIES, strict=True))
    assert named["AV:N"] == named["AV:P"] == "attack vector"
    assert named["base score"] == named["unscored"] == "CVSS score"
    assert named["SQL injection"] == named["no CWE"] == "weakness"
    assert named["automatable"] == named["automatable and total impact"] == "SSVC"
    assert named["older than 8 years"] == "age"


def test_the_shown_shares_add_up(records: Vulnerabilities, parameters: np.ndarray) -> None:
    task = RiskTask()
    assert isinstance(find_task("risk"), ExplainedTask)
    lines = task.explain(parameters, records)
    described = task.describe(records, task.reference(parameters, task.inputs(records)))
    assert [line.split(":")[0] for line in lines] == [line.split(":")[0] for line in described]
    for line in lines:
        total, shares = line.split("; ")[0].split("log odds ")[1].split(" = ")
        assert sum(float(share.split()[-1]) for share in shares.split(", ")) == pytest.approx(
            float(total), abs=0.03
        )


def drawn(count: int, slope: float, offset: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(11)
    log_odds = generator.normal(-2.0, 1.5, count)
    return log_odds, generator.random(count) < sigmoid(slope * log_odds + offset)


def test_calibration_finds_what_labels_were_drawn_with() -> None:
    log_odds, label = drawn(200_000, 1.7, 0.6)
    fitted = calibration.fit(log_odds, label)
    assert fitted is not None
    assert (fitted.slope, fitted.offset) == (pytest.approx(1.7, abs=0.05), pytest.approx(0.6, abs=0.1))
    assert calibration_error(fitted.probability(log_odds), label) < 0.003
    assert calibration_error(sigmoid(log_odds), label) > 0.02


def test_calibration_needs_both_classes_and_bears_extremes() -> None:
    log_odds = np.linspace(-800, 800, 60)
    assert calibration.fit(log_odds, np.arange(60) >= 60 - calibration.MIN_OF_A_CLASS + 1) is None
    fitted = calibration.fit(log_odds, log_odds > 0)
    assert fitted is not None
    assert np.isfinite(fitted.probability(log_odds)).all()
    assert fitted.slope > 0


def test_calibration_error_of_a_constant_is_its_distance_from_the_base_rate() -> None:
    label = np.arange(1000) % 4 == 0
    assert calibration_error(np.full(1000, 0.75), label) == pytest.approx(0.5)
