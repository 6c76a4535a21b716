"""The benchmark of per-record gradients: every path computes the same step, and the figures are rates."""

import math

import pytest
import torch

from deploy.bench import speed


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("build", [speed._forecaster, speed._scorer])
def test_every_path_measures_the_same_step(build: speed.Build) -> None:
    problem = build(torch.float64)
    fast, *others = (speed._clipped(path, problem)(128) for path in speed.PATHS.values())
    assert isinstance(fast, torch.Tensor)
    for other in others:
        assert isinstance(other, torch.Tensor)
        assert torch.allclose(fast, other, rtol=0, atol=1e-9)
    assert fast.norm() <= 128 * speed.LIMITS.record_norm


def test_the_figures_are_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "RUN_S", 0.01)
    monkeypatch.setattr(speed, "BATCHES", (128,))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    figures = speed.measure()
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert set(figures) == {"lstm16_records_per_s", "lstm16_vs_dplstm", "logistic_records_per_s"}
    assert all(math.isfinite(value) and value > 0 for value in figures.values())
    assert after == 2
