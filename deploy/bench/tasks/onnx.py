"""The exported models: how far they are from torch, and how long one prediction takes."""

import statistics
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime

from deploy.bench.tasks import risk
from deploy.demo.data import write_participant_files
from intertwine.models import lstm
from intertwine.models.catalogue import ITEMS
from intertwine.models.registry import TASKS, task
from intertwine.models.series import MAX_UNITS
from intertwine.models.task import Arrays, Parameters
from intertwine.models.vulnerability import FEATURES
from intertwine.protocols.aggregation import parameters_to_bytes
from intertwine.protocols.model_file import expected_model

ROWS = 1000
"""Inputs of each kind that an exported model is compared on."""
LARGEST_SHOP = "harbour-retail"
"""The demo's participant with the most customers and products."""
WARM_UPS, RUNS = 50, 500
SPREAD = {"forecast": 0.1, "recommendation": 0.5, "risk": 2.0}
"""Deviation of the parameters from where a run starts: about that of trained ones, and noisy ones."""


def measure() -> dict[str, dict[str, float]]:
    """By task: the largest difference from torch, and the median time of one prediction on one thread.

    Compared on random inputs and on those of real records; where the evaluation data of the risk scorer are
    missing, its are random alone.
    """
    return {name: _measured(name) for name in TASKS}


def _measured(name: str) -> dict[str, float]:
    inputs = [random_inputs(name)]
    if name != risk.NAME or not risk.missing():
        inputs.append(real_inputs(name))
    parameters = some_parameters(name)
    largest = max(difference(name, parameters, each) for each in inputs)
    return {"max_abs_difference": largest, "p50_ms": latency_ms(name, parameters, head(inputs[-1], 1))}


def some_parameters(name: str) -> Parameters:
    """Parameters as a run might publish them."""
    start = task(name).initial_parameters()
    moved: Parameters = start + np.random.default_rng(17).normal(0, SPREAD[name], len(start))
    return moved


def session(name: str, parameters: Parameters) -> onnxruntime.InferenceSession:
    """The exported model on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = expected_model(task(name).template(), parameters_to_bytes(parameters), {})
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def difference(name: str, parameters: Parameters, inputs: Arrays) -> float:
    """The largest absolute difference of any output from torch's, in its own unit."""
    reference = task(name).reference(parameters, inputs)
    outputs = session(name, parameters).run(list(reference), inputs)
    return max(
        float(np.abs(output - expected).max())
        for output, expected in zip(outputs, reference.values(), strict=True)
    )


def latency_ms(name: str, parameters: Parameters, inputs: Arrays) -> float:
    """The median time of RUNS predictions, in milliseconds."""
    model = session(name, parameters)
    for _ in range(WARM_UPS):
        model.run(None, inputs)
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        model.run(None, inputs)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def head(inputs: Arrays, rows: int) -> Arrays:
    """The first rows of a batch."""
    return {name: values[:rows] for name, values in inputs.items()}


def random_inputs(name: str, rows: int = ROWS) -> Arrays:
    """Inputs that no record need ever have, extremes included."""
    return _RANDOM[name](np.random.default_rng(23), rows)


def _random_windows(rng: np.random.Generator, rows: int) -> Arrays:
    """Sales of every size, a third of the weeks without any, in any week."""
    size = np.exp(rng.uniform(0, np.log(MAX_UNITS), (rows, 1)))
    sold = rng.random((rows, lstm.STEPS)) > 1 / 3
    units = np.floor(rng.random((rows, lstm.STEPS)) * size) * sold
    units[0] = 0.0
    return {"units": units, "week": rng.integers(0, 5000, rows).astype(np.float64)}


def _random_baskets(rng: np.random.Generator, rows: int) -> Arrays:
    """Baskets from empty to full; half of them with scores of an own model, half excluding what they hold."""
    full = rng.random((rows, ITEMS)) < rng.beta(0.5, 5.0, (rows, 1))
    full[0], full[1] = False, True
    own = rng.normal(0, 1, (rows, ITEMS)) * (np.arange(rows) % 2)[:, None]
    exclude = rng.integers(0, 2, (rows, 1)).astype(np.float64)
    return {"basket": full.astype(np.float64), "local_scores": own, "exclude_bought": exclude}


def _random_features(rng: np.random.Generator, rows: int) -> Arrays:
    return {"features": rng.normal(0, 1, (rows, len(FEATURES))) * np.exp(rng.normal(0, 2, (rows, 1)))}


_RANDOM: dict[str, Callable[[np.random.Generator, int], Arrays]] = {
    "forecast": _random_windows,
    "recommendation": _random_baskets,
    "risk": _random_features,
}


@cache
def real_inputs(name: str, rows: int = ROWS) -> Arrays:
    """Inputs of real records: shops' sales, which ship with the demo, or published vulnerabilities."""
    if name == risk.NAME:
        return {"features": risk.features()[:rows]}
    with TemporaryDirectory() as folder:
        largest = write_participant_files(Path(folder))[LARGEST_SHOP][name]
        inputs = task(name).inputs(task(name).load(largest))
    return head(inputs, rows)
