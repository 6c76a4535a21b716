"""The LSTM: its size, where it starts, and its per-series gradients against two other implementations."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from intertwine.models import lstm
from intertwine.models.lstm import LSTM


def problem() -> tuple[LSTM, Tensor, Tensor]:
    """A model with a head that is not zero, six windows of each of five series, and their targets."""
    generator = torch.Generator().manual_seed(3)
    parameters = lstm.initial_parameters() + np.random.default_rng(3).normal(0, 0.1, lstm.DIMENSION)
    features = torch.randn(5, 6, lstm.STEPS, lstm.INPUTS, generator=generator, dtype=torch.float64)
    return (
        LSTM.from_vector(parameters),
        features,
        torch.randn(5, 6, generator=generator, dtype=torch.float64),
    )


def loss_against(target: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda output: (torch.exp(output) - target).abs().mean(dim=-1)


def test_the_dimension_is_that_of_one_bias_per_gate() -> None:
    assert lstm.DIMENSION == 1361 == sum(value.numel() for value in LSTM().parameters())


def test_initial_parameters_are_pinned() -> None:
    """Other bits here mean other models everywhere: raise the task's version then."""
    parameters = lstm.initial_parameters()
    digest = hashlib.sha256(parameters.astype("<f8").tobytes()).hexdigest()
    assert digest == "1cdb5dcb4a3a32654dc26db578fb1518b4c4c57b532fc276d08f631dc8cc9d55"
    assert not parameters[-17:].any()


def test_gradients_agree_with_torch_func() -> None:
    module, features, target = problem()
    parameters = {name: value.detach() for name, value in module.named_parameters()}

    def loss(values: dict[str, Tensor], windows: Tensor, wanted: Tensor) -> Tensor:
        return loss_against(wanted)(functional_call(module, values, (windows,)))

    per_series = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, features, target)
    expected = torch.cat([value.flatten(1) for value in per_series.values()], dim=1)
    assert torch.allclose(lstm.series_gradients(module, features, loss_against(target)), expected, atol=1e-12)


@pytest.mark.filterwarnings("ignore")  # Opacus' hooks warn about torch's own deprecations.
def test_gradients_agree_with_opacus() -> None:
    from opacus import GradSampleModule

    module, features, target = problem()
    ours = lstm.series_gradients(module, features, loss_against(target))
    wrapped = GradSampleModule(module, loss_reduction="sum")
    output = wrapped(features.flatten(0, 1)).view(target.shape)
    loss_against(target)(output).sum().backward()
    per_window = torch.cat([value.grad_sample.flatten(1) for value in module.parameters()], dim=1)
    assert torch.allclose(ours, per_window.view(5, 6, -1).sum(dim=1), atol=1e-12)


def test_a_series_gradient_ignores_the_other_series() -> None:
    module, features, target = problem()
    together = lstm.series_gradients(module, features, loss_against(target))
    alone = lstm.series_gradients(module, features[2:3], loss_against(target[2:3]))
    assert torch.allclose(together[2:3], alone, atol=1e-12)
