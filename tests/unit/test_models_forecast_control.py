"""The forecaster's control, and what forecasts say of themselves, on the demo's data."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from deploy.demo.data import write_participant_files
from intertwine.models import backtest as bt
from intertwine.models import intervals, series
from intertwine.models.forecast_control import RECIPE, ForecastControl
from intertwine.models.lstm import STEPS
from intertwine.models.recipes import recipe
from intertwine.models.series import Series
from intertwine.models.task import Clipping
from intertwine.protocols.aggregation import parameters_to_bytes
from intertwine.protocols.mechanism import ReleaseMechanism
from intertwine.protocols.model_file import expected_model

CONTROL = ForecastControl()


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """The model is tiny: several threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> list[Series]:
    files = write_participant_files(tmp_path_factory.mktemp("demo"))
    return [CONTROL.load(held["forecast"]) for held in files.values() if "forecast" in held]


@pytest.fixture(scope="module")
def together(shops: list[Series]) -> Series:
    skus = tuple(sku for shop in shops for sku in shop.skus)
    return replace(shops[0], skus=skus, units=np.concatenate([shop.units for shop in shops]))


@pytest.fixture(scope="module")
def trained(shops: list[Series]) -> np.ndarray[Any, Any]:
    """Parameters after a run of the recipe, with Gaussian noise, as the server's step makes them."""
    assert isinstance(RECIPE.mechanism, ReleaseMechanism)
    limits = Clipping(float(RECIPE.record_norm), RECIPE.record_bound, RECIPE.mechanism.update_bound)
    noise, parameters = np.random.default_rng(1), CONTROL.initial_parameters()
    velocity, after = np.zeros_like(parameters), []
    for _ in range(RECIPE.rounds):
        updates = [CONTROL.update(parameters, shop, limits) for shop in shops]
        assert all(np.linalg.norm(update) < limits.update_bound for update in updates)
        noised = sum(update + np.rint(noise.normal(0, RECIPE.sigma, len(update))) for update in updates)
        velocity = float(RECIPE.momentum) * velocity + noised / (limits.scale * float(RECIPE.normaliser))
        parameters = parameters + float(RECIPE.learning_rate) * velocity
        after.append(parameters)
    found: np.ndarray[Any, Any] = np.mean(after[-RECIPE.average_last :], axis=0)
    return found


def test_it_has_eighteen_parameters_and_the_forecasters_privacy() -> None:
    assert len(CONTROL.initial_parameters()) == CONTROL.dimension == 18
    assert replace(RECIPE, learning_rate=recipe("forecast").learning_rate) == recipe("forecast")


def test_trained_with_noise_it_beats_the_median(together: Series, trained: np.ndarray[Any, Any]) -> None:
    control, start = (
        bt.backtest(bt.model(CONTROL, parameters), together)
        for parameters in (trained, CONTROL.initial_parameters())
    )
    bar = bt.backtest(bt.median8, together)
    assert control.wape < 0.593
    assert control.wape + 0.003 < start.wape
    assert control.mase < bar.mase < 0.885
    assert bt.wape_difference(control, bar, seed=1).high < 0


def test_a_series_gradient_is_that_of_its_own_loss(shops: list[Series]) -> None:
    """One series' update, not clipped, against automatic differentiation."""
    alone = replace(shops[1], skus=shops[1].skus[:1], units=shops[1].units[:1])
    parameters = np.random.default_rng(2).normal(0, 0.05, 18)
    update = CONTROL.update(parameters, alone, Clipping(1e3, 10**9, 10**12))
    windows = series.training_windows(alone, slice(None))
    weights = torch.tensor(parameters, requires_grad=True)
    columns = CONTROL.features(windows.units, windows.week)
    ratio = torch.exp(columns @ weights[:-1] + weights[-1])
    mean = alone.units[:, :-12].mean()
    loss = (ratio * 0.85 * windows.units[..., -8:].mean(-1) - windows.target).abs().mean() / (
        6.5 * (mean + 1) ** 0.5
    )
    loss.backward()
    assert weights.grad is not None
    assert np.allclose(update / 1e6, -weights.grad.numpy(), atol=1e-5)


def test_the_exported_control_agrees_with_torch(shops: list[Series], trained: np.ndarray[Any, Any]) -> None:
    model = expected_model(CONTROL.template(), parameters_to_bytes(trained), {})
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    inputs = CONTROL.inputs(shops[1])
    (found,) = session.run(["forecast"], inputs)
    assert np.abs(found - CONTROL.reference(trained, inputs)["forecast"]).max() <= 1e-5


def test_inputs_are_the_latest_weeks_and_then_the_past(shops: list[Series]) -> None:
    shop = shops[1]
    inputs, count = CONTROL.inputs(shop), len(shop)
    units = inputs["units"].reshape(-1, count, STEPS)
    weeks = inputs["week"].reshape(-1, count)
    assert len(units) == 1 + intervals.PAST_WEEKS
    assert (weeks == weeks[:, :1]).all()
    for window, week in zip(units, weeks[:, 0].astype(int) - shop.first_week, strict=True):
        assert (window == shop.units[:, week - STEPS : week]).all()
    assert weeks[:, 0].tolist() == [shop.end_week, *range(shop.end_week - 24, shop.end_week)]


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_bands_hold_about_what_they_promise(
    coverage: float, shops: list[Series], trained: np.ndarray[Any, Any]
) -> None:
    for shop in shops:
        result = bt.backtest(bt.model(CONTROL, trained), shop, intervals.PAST_WEEKS)
        windows = series.last_windows(shop, intervals.PAST_WEEKS).units.numpy()
        scores = intervals.scores(result.ahead, result.target, windows)
        assert abs(intervals.rolling_coverage(scores, coverage) - coverage) < 0.03


def described(records: Series, parameters: np.ndarray[Any, Any]) -> list[str]:
    return CONTROL.describe(records, CONTROL.reference(parameters, CONTROL.inputs(records)))


def test_forecasts_come_with_bands(shops: list[Series], trained: np.ndarray[Any, Any]) -> None:
    header, *rows, remark = described(shops[0], trained)
    assert "five largest of 878" in header
    assert len(rows) == 5
    for row in rows:
        ahead, low, _, high = row.split(": ")[1].split(" (")[0].replace(",", "").split()
        assert 0 <= int(low) <= int(ahead) <= int(high)
    assert remark.startswith("Bands should hold 80%. In the last 12 weeks those of 80% held ")


@pytest.mark.parametrize(
    ("weeks", "count", "reason"),
    [(35, 9, "23 weeks of past forecasts"), (36, 1, "12 past errors are fewer than")],
)
def test_too_short_a_past_gives_forecasts_without_bands(
    weeks: int, count: int, reason: str, shops: list[Series]
) -> None:
    short = Series(shops[0].skus[:count], shops[0].first_week, shops[0].units[:count, :weeks])
    _, *rows, remark = described(short, CONTROL.initial_parameters())
    assert remark.startswith(f"No bands: {reason}")
    assert all(" to " not in row for row in rows)


def test_a_file_of_the_shortest_length_is_described(tmp_path: Path, shops: list[Series]) -> None:
    short = replace(shops[0], units=shops[0].units[:, : series.MIN_WEEKS])
    assert "No bands: 13 weeks" in described(short, CONTROL.initial_parameters())[-1]


def test_the_documented_comparison_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page's own code, on the first 30 series of each shop."""

    def fewer(_root: Path) -> dict[str, dict[str, Path]]:
        files = write_participant_files(tmp_path)
        for held in files.values():
            if "forecast" in held:
                lines = held["forecast"].read_text().splitlines(keepends=True)
                held["forecast"].write_text("".join(lines[: 1 + 30 * 105]))
        return files

    monkeypatch.setattr("deploy.demo.data.write_participant_files", fewer)
    page = Path(__file__).parents[2] / "docs" / "how-to" / "judge-forecasts.md"
    (code,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    exec(compile(code, str(page), "exec"), {})  # noqa: S102
    header, *rows = capsys.readouterr().out.splitlines()
    (shown,) = re.findall(r"^```text\n(forecaster .*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert header == shown.splitlines()[0]
    names = ["median8", "seasonal naive", "forecast", "forecast-control"]
    for name, row, example in zip(names, rows, shown.splitlines()[1:], strict=True):
        assert row.startswith(f"{name}  ")
        assert example.startswith(f"{name}  ")
