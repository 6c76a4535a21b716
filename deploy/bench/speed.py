"""Per-record gradients, records a second: `python -m deploy.bench.speed`.

One thread, clipping and summing included, as one step of DP-SGD needs them; each path at its best batch, the
best of several runs. Opacus' own LSTM has a second bias per gate, 64 parameters more than ours.
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from opacus.layers import DPLSTM
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from intertwine.models import clipping, dpsgd, lstm
from intertwine.models.dpsgd import Batch, Loss, Speed
from intertwine.models.task import Clipping

BATCHES = (128, 256, 512, 2048)
COLUMNS = 57
RUN_S = 1.0
"""Seconds that each path is measured at each batch."""
LIMITS = Clipping(0.15, 75, 2**20)

Gradients: TypeAlias = Iterator[Tensor]
Run: TypeAlias = Callable[[int], object]
"""One step on that many records."""


@dataclass(frozen=True)
class Problem:
    """A module, records of it, and the loss of each output against its record's target."""

    module: nn.Module
    features: Tensor
    target: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]

    def head(self, count: int) -> tuple[Tensor, Loss]:
        """The first records and the loss of their outputs."""
        target = self.target[:count]
        return self.features[:count], lambda output: self.loss(output, target)


Build: TypeAlias = Callable[[torch.dtype], Problem]
Path: TypeAlias = Callable[[Problem, int], Gradients]


def measure() -> dict[str, float]:
    """The figures of `make bench-tasks`: float64, which is what the shipped tasks train in."""
    with _one_thread():
        forecaster, opacus_own, scorer = (
            build(torch.float64) for build in (_forecaster, _opacus_lstm, _scorer)
        )
        fast = _best(_clipped(fast_path, forecaster), forecaster)
        return {
            "lstm16_records_per_s": fast,
            "lstm16_vs_dplstm": fast / _best(_clipped(opacus_path, opacus_own), opacus_own),
            "logistic_records_per_s": _best(_clipped(fast_path, scorer), scorer),
        }


def fast_path(problem: Problem, count: int) -> Gradients:
    """The path that the module's type has in `dpsgd`, a few rows at a time."""
    rows = max(1, clipping.CACHE // sum(value.numel() for value in problem.module.parameters()))
    yield from dpsgd.record_gradients(problem.module, Batch(*problem.head(count)), rows)


def opacus_path(problem: Problem, count: int) -> Gradients:
    """Opacus' GradSampleModule."""
    yield from dpsgd.opacus_gradients(problem.module, *problem.head(count), count)


def torch_func_path(problem: Problem, count: int) -> Gradients:
    """torch.func: the gradient of one record's loss, vectorised over records."""
    parameters = {name: value.detach() for name, value in problem.module.named_parameters()}

    def loss(values: dict[str, Tensor], record: Tensor, target: Tensor) -> Tensor:
        return problem.loss(functional_call(problem.module, values, (record[None],)), target[None]).sum()

    each = vmap(grad(loss), in_dims=(None, 0, 0))(
        parameters, problem.features[:count], problem.target[:count]
    )
    yield torch.cat([value.flatten(1) for value in each.values()], dim=1)


def _clipped(path: Path, problem: Problem) -> Run:
    """The sum of gradients clipped in real numbers, as Opacus' optimiser takes it."""

    def run(count: int) -> Tensor:
        total = torch.zeros(())
        for rows in path(problem, count):
            total = total + (LIMITS.record_norm / rows.norm(dim=1).clamp(min=LIMITS.record_norm)) @ rows
        return total

    return run


def _integers(problem: Problem) -> Run:
    """What an agent computes: the sum of gradients clipped and rounded to integers."""
    return lambda count: dpsgd.update(
        problem.module,
        count,
        lambda rows: Batch(problem.features[rows], lambda output: problem.loss(output, problem.target[rows])),
        LIMITS,
        Speed(batch=count),
    )


def _best(run: Run, problem: Problem) -> float:
    """Records a second at the best batch, by the process' CPU time."""
    return max(_rate(run, count) for count in BATCHES if count <= len(problem.features))


def _rate(run: Run, count: int) -> float:
    run(count)
    fastest, end = float("inf"), time.perf_counter() + RUN_S
    while time.perf_counter() < end:
        start = time.process_time()
        run(count)
        fastest = min(fastest, time.process_time() - start)
    return count / fastest


def _forecaster(dtype: torch.dtype) -> Problem:
    noise = np.random.default_rng(3).normal(0, 0.1, lstm.DIMENSION)
    module = lstm.LSTM.from_vector(lstm.initial_parameters() + noise)
    return _windows(module.to(dtype), dtype)


class _OpacusForecaster(nn.Module):
    """The forecaster on Opacus' LSTM layer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = DPLSTM(lstm.INPUTS, lstm.HIDDEN, batch_first=True), nn.Linear(lstm.HIDDEN, 1)

    def forward(self, windows: Tensor) -> Tensor:
        output: Tensor = self.head(self.lstm(windows)[0][:, -1])
        return output[:, 0]


def _opacus_lstm(dtype: torch.dtype) -> Problem:
    return _windows(_OpacusForecaster().to(dtype), dtype)


def _windows(module: nn.Module, dtype: torch.dtype) -> Problem:
    """One window a record."""
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(max(BATCHES), lstm.STEPS, lstm.INPUTS, generator=generator, dtype=dtype)
    target = torch.rand(max(BATCHES), generator=generator, dtype=dtype)
    return Problem(module, features, target, lambda output, wanted: (torch.exp(output) - wanted).abs())


def _scorer(dtype: torch.dtype) -> Problem:
    """Logistic regression on rows of norm 1, one in ten positive."""
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(max(BATCHES), COLUMNS, generator=generator, dtype=dtype)
    target = (torch.rand(max(BATCHES), generator=generator) < 0.1).to(dtype)
    module = nn.Linear(COLUMNS, 1, bias=False, dtype=dtype)
    return Problem(module, features / features.norm(dim=1, keepdim=True), target, _log_loss)


def _log_loss(output: Tensor, wanted: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(output[:, 0], wanted, reduction="none")


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Opacus' hooks warn about torch's own deprecations
            yield
    finally:
        torch.set_num_threads(before)


PATHS: dict[str, Path] = {
    "fast": fast_path,
    "Opacus GradSampleModule": opacus_path,
    "torch.func": torch_func_path,
}


def _rows() -> Iterator[tuple[str, str, Build, Callable[[Problem], Run]]]:
    """Model, path, and how to build the problem and what is measured of it."""
    models: dict[str, Build] = {"LSTM16": _forecaster, "logistic": _scorer}
    yield "LSTM16", "Opacus DPLSTM", _opacus_lstm, partial(_clipped, opacus_path)
    for name, build in models.items():
        for title, path in PATHS.items():
            yield name, title, build, partial(_clipped, path)
        yield name, "fast, rounded to integers", build, _integers


def _table() -> Table:
    """Every path in both precisions."""
    table = Table("model", "path", "float32", "float64", title="records a second, one thread")
    for name, title, build, run in _rows():
        problems = [build(dtype) for dtype in (torch.float32, torch.float64)]
        table.add_row(name, title, *(f"{_best(run(problem), problem):,.0f}" for problem in problems))
    return table


def main() -> int:
    """Print every path's rate."""
    with _one_thread():
        Console(width=None if sys.stdout.isatty() else 100).print(_table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
