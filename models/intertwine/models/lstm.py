"""A small LSTM and its exact per-record gradients.

One bias per gate: a second one, as in cuDNN's layout, would add 64 coordinates that the noise fills and the
model cannot use.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from intertwine.models.task import Parameters

INPUTS = 4
HIDDEN = 16
STEPS = 12
GATES = 4 * HIDDEN
DIMENSION = GATES * (INPUTS + HIDDEN) + GATES + HIDDEN + 1


@dataclass(frozen=True)
class Unrolled:
    """One pass over n windows. gates[t]: pre-activations, shape (n, 64), of i, f, g, o in this order.

    hidden[t]: the state before step t, shape (n, 16); hidden[STEPS] is the last. output: shape (n,).
    """

    gates: list[Tensor]
    hidden: list[Tensor]
    output: Tensor


class LSTM(nn.Module):
    """LSTM with 16 hidden units and a linear head on its last state (Hochreiter and Schmidhuber 1997).

    float64: in float32, which series share a batch would decide the last bits of a gradient, and with them
    how some of its coordinates round. One record would then move others' vectors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight_input = nn.Parameter(torch.zeros(GATES, INPUTS, dtype=torch.float64))
        self.weight_hidden = nn.Parameter(torch.zeros(GATES, HIDDEN, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(GATES, dtype=torch.float64))
        self.weight_head = nn.Parameter(torch.zeros(HIDDEN, dtype=torch.float64))
        self.bias_head = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    @classmethod
    def from_vector(cls, parameters: Parameters) -> "LSTM":
        """The module whose parameters, flattened in the order above, are `parameters`, shape (1361,)."""
        module = cls()
        nn.utils.vector_to_parameters(torch.tensor(parameters, dtype=torch.float64), module.parameters())
        return module

    def forward(self, features: Tensor) -> Tensor:
        """Map windows, shape (..., 12, 4), to outputs, shape (...)."""
        return self.unroll(features.reshape(-1, STEPS, INPUTS)).output.view(features.shape[:-2])

    def unroll(self, features: Tensor) -> Unrolled:
        """`forward` of windows, shape (n, 12, 4), keeping what per-record gradients need."""
        state = features.new_zeros(len(features), HIDDEN)
        cell = state
        gates: list[Tensor] = []
        hidden = [state]
        for step in range(STEPS):
            gate = features[:, step] @ self.weight_input.T + state @ self.weight_hidden.T + self.bias
            enter, forget, candidate, leave = gate.chunk(4, dim=1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
            state = torch.sigmoid(leave) * torch.tanh(cell)
            gates.append(gate)
            hidden.append(state)
        return Unrolled(gates, hidden, state @ self.weight_head + self.bias_head)


def initial_parameters() -> Parameters:
    """Uniform in ±1/4 for the weights, 1 for the forget gate's bias, zero elsewhere; shape (1361,).

    Drawn from SHAKE256 and not from a library's generator, so that no version of anything changes it. The
    head is zero: the untrained model forecasts its documented multiple of the recent mean.
    """
    weights = GATES * (INPUTS + HIDDEN)
    stream = hashlib.shake_256(b"intertwine LSTM initial weights 1").digest(4 * weights)
    parameters = np.zeros(DIMENSION)
    parameters[:weights] = np.frombuffer(stream, dtype="<u4") / 2**33 - 0.25
    parameters[weights + HIDDEN : weights + 2 * HIDDEN] = 1.0
    return parameters


def record_gradients(
    module: LSTM, features: Tensor, loss: Callable[[Tensor], Tensor], rows: int
) -> Iterator[Tensor]:
    """The fast path of `dpsgd.record_gradients`; features: shape (n, ..., 12, 4), all windows of a record.

    A weight's gradient is a sum over windows and steps of (gate gradient) times (gate input), so one
    backward pass to the gates and one batched matrix product give it for each record apart: no gradient per
    window is ever formed. The tests compare it with torch.func and with Opacus.
    """
    records = len(features)
    unrolled = module.unroll(features.reshape(-1, STEPS, INPUTS))
    total = loss(unrolled.output.view(features.shape[:-2])).sum()
    *gates, output = torch.autograd.grad(total, [*unrolled.gates, unrolled.output])

    def per_record(steps: list[Tensor]) -> Tensor:
        stacked = torch.stack(steps, dim=1)
        return stacked.view(records, -1, stacked.shape[-1])

    gate = per_record(gates)
    inputs = features.reshape(records, -1, INPUTS)
    hidden = per_record(unrolled.hidden[:-1]).detach()
    last = unrolled.hidden[-1].detach().view(records, -1, HIDDEN)
    output = output.view(records, -1, 1)
    parts = zip(*(torch.split(part, rows) for part in (gate, inputs, hidden, output, last)), strict=True)
    for gate, inputs, hidden, output, last in parts:
        yield torch.cat(
            [
                (gate.mT @ inputs).flatten(1),
                (gate.mT @ hidden).flatten(1),
                gate.sum(dim=1),
                (output.mT @ last).flatten(1),
                output.sum(dim=1),
            ],
            dim=1,
        )
