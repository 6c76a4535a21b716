"""Exported models compute what torch does, on a thousand random and a thousand real inputs, in any batch."""

from pathlib import Path

import numpy as np
import pytest

from deploy.bench.tasks import onnx, risk
from deploy.demo.data.simulate import portfolio
from intertwine.models import vulnerability
from intertwine.models.registry import TASKS, task
from intertwine.models.task import Arrays

BATCHES = (1, 7, 1000)
LIMIT = 1e-5


@pytest.fixture
def real(tmp_path: Path, name: str) -> Arrays:
    """Inputs of real records; of simulated vulnerabilities where the evaluation data are not at hand."""
    if name != risk.NAME or not risk.missing():
        return onnx.real_inputs(name)
    path = tmp_path / "portfolio.csv"
    path.write_text(portfolio("a", onnx.ROWS, seed=3))
    return task(name).inputs(vulnerability.load(path))


def rows(inputs: Arrays) -> set[int]:
    return {len(values) for values in inputs.values()}


@pytest.mark.parametrize("name", TASKS)
def test_random_inputs(name: str) -> None:
    inputs, parameters = onnx.random_inputs(name), onnx.some_parameters(name)
    assert rows(inputs) == {onnx.ROWS} == {1000}
    assert all(np.isfinite(values).all() for values in task(name).reference(parameters, inputs).values())
    for batch in BATCHES:
        assert onnx.difference(name, parameters, onnx.head(inputs, batch)) <= LIMIT


@pytest.mark.parametrize("name", TASKS)
def test_real_inputs(name: str, real: Arrays) -> None:
    assert rows(real) == {1000}
    assert onnx.difference(name, onnx.some_parameters(name), real) <= LIMIT


@pytest.mark.parametrize("name", TASKS)
def test_a_row_does_not_depend_on_its_batch(name: str) -> None:
    inputs = onnx.random_inputs(name, 20)
    model = onnx.session(name, onnx.some_parameters(name))
    whole = model.run(None, inputs)
    for row in (0, 1, 19):
        alone = model.run(None, {key: values[row : row + 1] for key, values in inputs.items()})
        for one, all_rows in zip(alone, whole, strict=True):
            np.testing.assert_allclose(one[0], all_rows[row], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", TASKS)
def test_the_comparison_sees_other_parameters(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exported model of a run is not that of its first round."""
    parameters, definition = onnx.some_parameters(name), task(name)
    exported = onnx.session(name, definition.initial_parameters())
    monkeypatch.setattr(onnx, "session", lambda *_: exported)
    assert onnx.difference(name, parameters, onnx.random_inputs(name, 50)) > LIMIT


def test_a_prediction_is_timed_on_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "RUNS", 5)
    one = onnx.head(onnx.random_inputs("risk"), 1)
    assert 0 < onnx.latency_ms("risk", onnx.some_parameters("risk"), one) < 1000
