"""DP-SGD: every path gives the gradients of torch.func and of Opacus, and no record counts for too much."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from opacus.layers import DPLSTM
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from intertwine.models import clipping, dpsgd, lstm
from intertwine.models.dpsgd import Batch, Speed
from intertwine.models.task import Clipping
from intertwine.protocols.errors import InputError

# Opacus' hooks warn about torch's own deprecations.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

COUNT = 40
LOOSE = Clipping(1e6, 10**6, 10**9)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def forecaster() -> nn.Module:
    noise = np.random.default_rng(3).normal(0, 0.1, lstm.DIMENSION)
    return lstm.LSTM.from_vector(lstm.initial_parameters() + noise)


def linear(inputs: int, outputs: int, bias: bool) -> nn.Module:
    torch.manual_seed(2)
    return nn.Linear(inputs, outputs, bias=bias, dtype=torch.float64)


def network() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 2)).double()


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "LSTM, one window a record": (forecaster, (lstm.STEPS, lstm.INPUTS)),
    "LSTM, six windows a record": (forecaster, (6, lstm.STEPS, lstm.INPUTS)),
    "linear, one output": (lambda: linear(57, 1, True), (57,)),
    "linear, several rows and outputs, no bias": (lambda: linear(7, 3, False), (4, 7)),
    "network": (network, (3,)),
}
every_case = pytest.mark.parametrize("name", CASES)


def absolute(output: Tensor) -> Tensor:
    """A loss a record whose slope differs from record to record."""
    return (torch.exp(output) - 0.7).abs().flatten(1).mean(dim=1) if output.dim() > 1 else torch.exp(output)


def problem(name: str) -> tuple[nn.Module, Tensor]:
    build, shape = CASES[name]
    return build(), random(COUNT, *shape)


def by_torch_func(module: nn.Module, features: Tensor) -> Tensor:
    parameters = {name: value.detach() for name, value in module.named_parameters()}

    def loss(values: dict[str, Tensor], record: Tensor) -> Tensor:
        return absolute(functional_call(module, values, (record[None],))).sum()

    each = vmap(grad(loss), in_dims=(None, 0))(parameters, features)
    return torch.cat([value.flatten(1) for value in each.values()], dim=1)


@every_case
def test_gradients_agree_with_torch_func(name: str) -> None:
    module, features = problem(name)
    ours = torch.cat(list(dpsgd.record_gradients(module, Batch(features, absolute), 7)))
    assert torch.allclose(ours, by_torch_func(module, features), rtol=0, atol=1e-12)


@every_case
def test_gradients_agree_with_opacus(name: str) -> None:
    module, features = problem(name)
    ours = torch.cat(list(dpsgd.record_gradients(module, Batch(features, absolute), 1000)))
    (theirs,) = dpsgd.opacus_gradients(module, features, absolute, 1000)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e308])
def test_a_record_that_is_not_finite_spoils_no_other(value: float) -> None:
    module, features = problem("LSTM, six windows a record")
    (clean,) = dpsgd.record_gradients(module, Batch(features, absolute), 1000)
    features[3, 2, 5] = value
    (spoilt,) = dpsgd.record_gradients(module, Batch(features, absolute), 1000)
    others = np.arange(COUNT) != 3
    assert torch.equal(spoilt[others], clean[others])
    assert not torch.equal(spoilt[3], clean[3])


@every_case
@pytest.mark.parametrize("speed", [Speed(1, 1), Speed(7, 5000), Speed(1000, 10**6)])
def test_speed_does_not_change_the_update(name: str, speed: Speed) -> None:
    module, features = problem(name)
    clip = Clipping(0.3, 75, 10**6)
    update = dpsgd.update(module, COUNT, lambda rows: Batch(features[rows], absolute), clip, speed)
    expected = clipping.quantize(-by_torch_func(module, features).numpy(), 0.3, 75).sum(axis=0)
    assert np.array_equal(update, expected)


def test_opacus_own_lstm_takes_the_general_path() -> None:
    class Forecaster(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = DPLSTM(4, 16, batch_first=True), nn.Linear(16, 1)

        def forward(self, windows: Tensor) -> Tensor:
            return self.head(self.lstm(windows)[0][:, -1])[:, 0]

    module, features = Forecaster().double(), random(COUNT, 12, 4)
    (gradients,) = dpsgd.record_gradients(module, Batch(features, torch.exp), 1)
    torch.exp(module(features[:1])).sum().backward()
    alone = torch.cat([value.grad.flatten() for value in module.parameters() if value.grad is not None])
    assert gradients.shape == (COUNT, 1361 + 64)
    assert torch.allclose(gradients[0], alone, rtol=0, atol=1e-12)


def test_a_subclass_that_computes_something_else_takes_the_general_path() -> None:
    class Squared(nn.Linear):
        def forward(self, values: Tensor) -> Tensor:
            return super().forward(values).square()

    torch.manual_seed(2)
    module, features = Squared(3, 1, dtype=torch.float64), random(COUNT, 3)
    (gradients,) = dpsgd.record_gradients(module, Batch(features, absolute), 1)
    assert torch.allclose(gradients, by_torch_func(module, features), rtol=0, atol=1e-12)


def test_the_general_path_leaves_the_module_as_it_was() -> None:
    module, features = problem("network")
    list(dpsgd.record_gradients(module, Batch(features, absolute), 1))
    assert all(value.grad is None and not hasattr(value, "grad_sample") for value in module.parameters())
    assert not any(part._forward_hooks or part._backward_hooks for part in module.modules())


def test_a_parameter_that_outputs_do_not_depend_on_has_a_zero_gradient() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = linear(3, 5, True), linear(2, 2, True)

        def forward(self, values: Tensor) -> Tensor:
            return self.used(values)

    (gradients,) = dpsgd.record_gradients(Partly(), Batch(random(COUNT, 3), absolute), 1)
    assert gradients.shape == (COUNT, 20 + 6)
    assert gradients[:, :20].any()
    assert not gradients[:, 20:].any()


def test_modules_and_losses_that_clipping_would_not_bound_are_refused() -> None:
    def update(module: nn.Module, loss: dpsgd.Loss) -> None:
        features = random(COUNT, 3)
        dpsgd.update(module, COUNT, lambda rows: Batch(features[rows], loss), LOOSE, Speed())

    mixing = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)).double()
    with pytest.raises(InputError, match="mix records"):
        update(mixing, absolute)
    with pytest.raises(InputError, match=r"loss of 40 records has shape \(\)"):
        update(network(), lambda output: output.mean())
    frozen = network()
    next(frozen.parameters()).requires_grad_(False)
    with pytest.raises(InputError, match="frozen"):
        update(frozen, absolute)


@pytest.mark.parametrize("size", [1e-300, 1e-9, 1.0, 1e9, 1e300, np.inf, np.nan])
def test_no_loss_moves_an_update_by_more_than_the_bound(size: float) -> None:
    """One record against none, with losses as steep as float64 allows and beyond."""
    features = random(1, 57)
    clip = Clipping(0.15, 75, 10**6)
    update = dpsgd.update(
        linear(57, 1, True),
        1,
        lambda rows: Batch(features, lambda output: output[:, 0] * size),
        clip,
        Speed(),
    )
    assert int(update @ update) <= 75**2
    assert update.any() == (1e-9 < size < 1e200)


def test_opacus_is_loaded_only_where_it_is_used() -> None:
    """Loading it configures logging, and takes longer than an agent's start."""
    script = "import sys, intertwine.client.run, intertwine.models.forecast; print('opacus' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
