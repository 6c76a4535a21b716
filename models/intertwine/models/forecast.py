"""Next week's units of each product, by a small LSTM. A record is a product's whole weekly series."""

from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from intertwine.models import dpsgd, intervals, lstm, series
from intertwine.models.dpsgd import Batch, Speed
from intertwine.models.intervals import Tails, Units
from intertwine.models.lstm import LSTM
from intertwine.models.onnx_graph import Graph
from intertwine.models.series import Series, Windows
from intertwine.models.task import Arrays, Clipping, Evaluation, ModelCard, Parameters, Update
from intertwine.protocols.errors import InputError

SHRINK = 0.85
"""What the untrained model multiplies the level by: demand is skewed, its median is below its mean."""
ERROR_UNIT = 6.5
"""Errors count in units of 6.5 sqrt(mean + 1), between relative error and units, for losses near one."""
COVERAGES = (0.8, 0.9)
"""What bands should hold: those that are shown, and wider ones that are counted with them."""
_SPEED = Speed(batch=4)
"""A series has a window a week: few series are a pass that fits the processor's cache."""


class ForecastTask:
    """LSTM forecaster; DP-SGD with one clipped gradient a series and every series in the lot."""

    name = "forecast"
    version = 2
    record = "a weekly series (one SKU)"
    dimension = lstm.DIMENSION
    fewest_records = 6
    metric_name = "WAPE"
    higher_is_better = False
    baseline_name = "median of the last 8 weeks"
    card = ModelCard(
        intended_use="Units of each product in the coming week, to plan orders and stock.",
        inputs={
            "units": "units sold in each of the last 12 weeks, the oldest first",
            "week": "the week to forecast, counted from the Monday 2000-01-03",
        },
        outputs={"forecast": "units in that week"},
        limits=(
            "One week ahead; it knows of no prices, promotions or stock-outs.",
            "Its gain over the median of the last weeks is small: look at both.",
            "Trained on gifts and household goods; elsewhere it needs training of its own.",
        ),
    )

    def load(self, path: Path) -> Series:
        """Read `sku,week,units`; see `series.load`."""
        return series.load(path)

    def initial_parameters(self) -> Parameters:
        """The untrained LSTM, which forecasts 0.85 times the level."""
        return lstm.initial_parameters()

    def update(self, parameters: Parameters, records: Series, clipping: Clipping) -> Update:
        """Minus the clipped gradient of each series' mean scaled error, summed over the series."""
        unit = error_unit(records)

        def batch(rows: slice) -> Batch:
            windows = series.training_windows(records, rows)
            return Batch(
                self.features(windows.units, windows.week),
                partial(scaled_error, windows=windows, unit=unit[rows]),
            )

        return dpsgd.update(self.module(parameters), len(records.skus), batch, clipping, _SPEED)

    def evaluate(self, parameters: Parameters, records: Series) -> Evaluation:
        """Scaled error and WAPE of one-step forecasts over the last 12 weeks."""
        windows = series.test_windows(records)
        inputs = self.features(windows.units, windows.week)
        with torch.no_grad():
            output = self.module(parameters)(inputs)
        loss = float(scaled_error(output, windows, error_unit(records)).mean())
        return Evaluation(
            loss,
            _wape(forecast(output, windows.units), windows.target),
            _wape(series.median(windows.units), windows.target),
        )

    def template(self) -> bytes:
        """ONNX: `units` (batch, 12) and `week` (batch,), the week to forecast, to `forecast` (batch,)."""
        graph = Graph(self)
        units = graph.input("units", lstm.STEPS)
        level, inputs = _graph_features(graph, units, graph.input("week"))
        ratio = graph.node("Mul", graph.node("Exp", self.graph(graph, inputs)), graph.constant(SHRINK))
        units_ahead = graph.node("Mul", ratio, level)
        graph.output(graph.node("Squeeze", units_ahead, graph.constant([1])), "forecast")
        return graph.template()

    def inputs(self, records: Series) -> Arrays:
        """The latest 12 weeks of every series, to forecast the week after the file's last.

        Those before earlier weeks follow, week by week: what the model would have said of them shows how far
        to trust it now.
        """
        past = series.last_windows(records, intervals.PAST_WEEKS)
        units = [records.units[:, -lstm.STEPS :], *past.units.transpose(0, 1).numpy()]
        weeks = np.append(float(records.end_week), past.week.numpy())
        return {"units": np.concatenate(units), "week": np.repeat(weeks, len(records))}

    def reference(self, parameters: Parameters, inputs: Arrays) -> Arrays:
        """The torch module's forecasts in units, in float64."""
        units = torch.tensor(inputs["units"], dtype=torch.float64)
        week = torch.tensor(inputs["week"], dtype=torch.float64)
        with torch.no_grad():
            output = self.module(parameters)(self.features(units, week))
        return {"forecast": forecast(output, units).numpy()}

    def describe(self, records: Series, outputs: Arrays) -> list[str]:
        """Next week's units of the five largest forecasts, with their bands, beside the recent mean."""
        ahead, *past = outputs["forecast"].astype(np.float64).reshape(-1, len(records))
        try:
            bands, remark = _bands(records, ahead, np.stack(past, axis=1))
        except InputError as error:
            bands, remark = [""] * len(ahead), f"No bands: {error}"
        recent = records.units[:, -series.LEVEL_WEEKS :].mean(axis=1)
        monday = (series.EPOCH + timedelta(weeks=records.end_week)).isoformat()
        lines = [f"Units in the week of {monday}, the five largest of {len(ahead)} SKUs:"]
        for row in np.argsort(-ahead, kind="stable")[:5]:
            mean = f"{recent[row]:.0f} a week in the last {series.LEVEL_WEEKS}"
            lines.append(f"{records.skus[row]}: {ahead[row]:.0f}{bands[row]} ({mean})")
        return [*lines, remark]

    def module(self, parameters: Parameters) -> nn.Module:
        """The model, from `features` to what `forecast` reads."""
        return LSTM.from_vector(parameters)

    def features(self, units: Tensor, week: Tensor) -> Tensor:
        """What the model reads of windows (..., 12) and the week after each (...)."""
        return series.features(units, week)

    def graph(self, graph: Graph, features: str) -> str:
        """Model in ONNX, from `series.features`, shape (batch, 12, 4), to (batch, 1)."""
        return _graph_lstm(graph, features)


def forecast(output: Tensor, units: Tensor) -> Tensor:
    """Units ahead from a model's output, one number a window, and the windows (..., 12), to shape (...)."""
    return torch.exp(output).view(units.shape[:-1]) * SHRINK * series.level(units)


def scaled_error(output: Tensor, windows: Windows, unit: Tensor) -> Tensor:
    """Each series' mean absolute error in its own unit: outputs (s, n) and units (s,) to (s,)."""
    return (forecast(output, windows.units) - windows.target).abs().mean(dim=1) / unit


def error_unit(records: Series) -> Tensor:
    """The unit of each series' errors, shape (s,), from its training weeks alone."""
    mean = records.units[:, : -series.TEST_WEEKS].mean(axis=1)
    return torch.tensor(ERROR_UNIT * np.sqrt(mean + 1.0), dtype=torch.float64)


def calibrated(records: Series, past: Units) -> tuple[Tails, list[float]]:
    """What makes a band of `COVERAGES[0]` out of past errors, and what bands of each coverage held lately.

    past: forecasts of the weeks of `last_windows`, shape (s, n). InputError if the past is too short.
    """
    windows = series.last_windows(records, intervals.PAST_WEEKS)
    scores = intervals.scores(past, windows.target.numpy(), windows.units.numpy())
    held = [intervals.rolling_coverage(scores, coverage) for coverage in COVERAGES]
    return intervals.calibrate(scores[:, -intervals.CALIBRATION_WEEKS :], COVERAGES[0]), held


def _bands(records: Series, ahead: Units, past: Units) -> tuple[list[str], str]:
    """Each forecast's band, shape (s,), and what such bands held lately, in words; see `calibrated`."""
    tails, held = calibrated(records, past)
    low, high = intervals.band(ahead, records.units[:, -lstm.STEPS :], tails)
    bands = [f", {lower:.0f} to {upper:.0f}" for lower, upper in zip(low, high, strict=True)]
    counted = ", ".join(
        f"those of {coverage:.0%} held {share:.0%}" for coverage, share in zip(COVERAGES, held, strict=True)
    )
    remark = f"Bands should hold {COVERAGES[0]:.0%}. In the last {intervals.COUNTED_WEEKS} weeks {counted}."
    return bands, remark


def _wape(ahead: Tensor, target: Tensor) -> float:
    """Weighted absolute percentage error: all units of error over all units sold."""
    return float((ahead - target).abs().sum() / target.sum().clamp(min=1.0))


def _graph_features(graph: Graph, units: str, week: str) -> tuple[str, str]:
    """`series.level` as (batch, 1) and `series.features`, by the same formulas."""
    axis = graph.constant([1])
    first = graph.constant([lstm.STEPS - series.LEVEL_WEEKS])
    recent = graph.node("Slice", units, first, graph.constant([lstm.STEPS]), axis)
    level = graph.node("ReduceMean", recent, axes=[1], keepdims=1)
    log_level = _graph_log1p(graph, level)
    ordered = graph.nodes("TopK", 2, recent, graph.constant([series.LEVEL_WEEKS]), axis=1)[0]
    low, high = graph.constant([series.MIDDLE.start]), graph.constant([series.MIDDLE.stop])
    median = graph.node("ReduceMean", graph.node("Slice", ordered, low, high, axis), axes=[1], keepdims=1)
    steadiness = graph.node("Sub", _graph_log1p(graph, median), log_level)
    steps = graph.constant(np.arange(1.0 - lstm.STEPS, 1.0))
    weeks = graph.node("Add", graph.node("Unsqueeze", week, axis), steps)
    phase = graph.node("Mul", weeks, graph.constant(series.PHASE))
    # ONNX Runtime has no cosine in float64.
    cosine = graph.node("Sin", graph.node("Add", phase, graph.constant(np.pi / 2)))
    parts = [
        graph.node("Sub", _graph_log1p(graph, units), log_level),
        graph.node("Expand", steadiness, graph.node("Shape", units)),
        graph.node("Sin", phase),
        cosine,
    ]
    last = graph.constant([2])
    return level, graph.node("Concat", *(graph.node("Unsqueeze", part, last) for part in parts), axis=2)


def _graph_log1p(graph: Graph, value: str) -> str:
    return graph.node("Log", graph.node("Add", value, graph.constant(1.0)))


def _graph_lstm(graph: Graph, inputs: str) -> str:
    """`LSTM.forward` unrolled, with output (batch, 1).

    ONNX's own LSTM operator runs in float32 only, and forecasts of thousands of units would then differ from
    torch's by more than 1e-5.
    """
    weights = _graph_weights(graph)
    weight_input = graph.node("Transpose", weights["weight_input"], perm=[1, 0])
    weight_hidden = graph.node("Transpose", weights["weight_hidden"], perm=[1, 0])
    projected = graph.node("Add", graph.node("MatMul", inputs, weight_input), weights["bias"])
    steps = graph.nodes("Split", lstm.STEPS, projected, axis=1)
    state = cell = ""
    for step in steps:
        gate = graph.node("Squeeze", step, graph.constant([1]))
        if state:
            gate = graph.node("Add", gate, graph.node("MatMul", state, weight_hidden))
        enter, forget, candidate, leave = graph.nodes("Split", 4, gate, axis=1)
        new = graph.node("Mul", graph.node("Sigmoid", enter), graph.node("Tanh", candidate))
        kept = graph.node("Mul", graph.node("Sigmoid", forget), cell) if cell else ""
        cell = graph.node("Add", kept, new) if kept else new
        state = graph.node("Mul", graph.node("Sigmoid", leave), graph.node("Tanh", cell))
    column = graph.node("Unsqueeze", weights["weight_head"], graph.constant([1]))
    return graph.node("Add", graph.node("MatMul", state, column), weights["bias_head"])


def _graph_weights(graph: Graph) -> dict[str, str]:
    """The module's parameters by their names, in the order of `LSTM.from_vector`."""
    weights, start = {}, 0
    for name, value in LSTM().named_parameters():
        weights[name] = graph.weights(start, *value.shape)
        start += value.numel()
    return weights
