"""A small LSTM and its exact per-record gradients.

One bias per gate: a second one, as in cuDNN's layout, would add 64 coordinates that the noise fills and the
model cannot use.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intertwine.models.task import Parameters

INPUTS = 4
HIDDEN = 16
STEPS = 12
GATES = 4 * HIDDEN
DIMENSION = GATES * (INPUTS + HIDDEN) + GATES + HIDDEN + 1


_JOINT = INPUTS + HIDDEN + 1
"""What a step's gates read: the window's inputs, the state before the step, and 1 for the bias."""
_STATE = slice(INPUTS, INPUTS + HIDDEN)

Array: TypeAlias = NDArray[Any]
"""float64, or float32 if the module is."""


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
        windows = features.reshape(-1, STEPS, INPUTS)
        state = cell = windows.new_zeros(len(windows), HIDDEN)
        for step in range(STEPS):
            gates = windows[:, step] @ self.weight_input.T + state @ self.weight_hidden.T + self.bias
            enter, forget, candidate, leave = gates.chunk(4, dim=1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
            state = torch.sigmoid(leave) * torch.tanh(cell)
        return (state @ self.weight_head + self.bias_head).view(features.shape[:-2])


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

    Back-propagation through time by hand (Werbos 1990), for all windows at once. A weight's gradient is a sum
    over windows and steps of (gate gradient) times (gate input), so one batched matrix product gives it for
    each record apart: no gradient per window is ever formed. The tests compare it with torch.func and with
    Opacus.
    """
    records, windows = len(features), features.detach().reshape(-1, STEPS, INPUTS)
    trace = _forward(module, windows.numpy())
    output = torch.from_numpy(trace.output).view(features.shape[:-2]).requires_grad_()
    (slope,) = torch.autograd.grad(loss(output).sum(), output)
    gates = _backward(module, trace, slope.flatten().numpy())

    def per_record(steps: Tensor) -> Tensor:
        return steps.contiguous().view(records, -1, steps.shape[-1])

    states = torch.from_numpy(trace.joint[:, _STATE]).permute(2, 0, 1)
    wholes = (torch.from_numpy(gates), windows, states[:, :STEPS], slope.reshape(-1, 1), states[:, STEPS])
    parts = (torch.split(per_record(whole), rows) for whole in wholes)
    for gate, inputs, state, head, last in zip(*parts, strict=True):
        weights = (gate.mT @ inputs, gate.mT @ state, gate.sum(dim=1), head.mT @ last, head.sum(dim=1))
        yield torch.cat([weight.flatten(1) for weight in weights], dim=1)


@dataclass(frozen=True)
class _Trace:
    """What n windows leave behind on their way forward; windows are last, so that each gate is one block.

    joint: what each step reads, shape (13, 21, n); the last has the final state. gates: i, f, g, o of each
    step, shape (12, 64, n). cells: before each step and at the end, shape (13, 16, n). squashed: tanh of the
    cells after each step, shape (12, 16, n). output: shape (n,).
    """

    joint: Array
    gates: Array
    cells: Array
    squashed: Array
    output: Array


@np.errstate(over="ignore", invalid="ignore")  # A record that is not finite stays so, and counts as zero.
def _forward(module: LSTM, windows: Array) -> _Trace:
    """`LSTM.forward` of windows, shape (n, 12, 4)."""
    count, dtype = len(windows), windows.dtype
    joint = np.zeros((STEPS + 1, _JOINT, count), dtype)
    joint[:STEPS, :INPUTS] = windows.transpose(1, 2, 0)
    joint[:, -1] = 1.0
    gates = np.empty((STEPS, GATES, count), dtype)
    cells = np.zeros((STEPS + 1, HIDDEN, count), dtype)
    squashed = np.empty((STEPS, HIDDEN, count), dtype)
    # One tanh serves all gates: sigmoid(x) = tanh(x / 2) / 2 + 1 / 2.
    scale = np.full((GATES, 1), 0.5, dtype)
    scale[2 * HIDDEN : 3 * HIDDEN] = 1.0
    weights = scale * np.hstack(
        [_array(module.weight_input), _array(module.weight_hidden), _array(module.bias)[:, None]]
    )
    for step in range(STEPS):
        gate = np.tanh(weights @ joint[step], out=gates[step])
        gate *= scale
        gate += 1.0 - scale
        enter, forget, candidate, leave = gate.reshape(4, HIDDEN, count)
        np.add(forget * cells[step], enter * candidate, out=cells[step + 1])
        np.tanh(cells[step + 1], out=squashed[step])
        np.multiply(leave, squashed[step], out=joint[step + 1, _STATE])
    output = _array(module.weight_head) @ joint[STEPS, _STATE] + _array(module.bias_head)
    return _Trace(joint, gates, cells, squashed, output)


@np.errstate(over="ignore", invalid="ignore")
def _backward(module: LSTM, trace: _Trace, slope: Array) -> Array:
    """From the outputs' gradients, shape (n,), to those of the gates' inputs, shape (n, 12, 64).

    Slopes are written with what the gates gave: sigmoid' = s (1 - s) and tanh' = 1 - t^2.
    """
    found = np.empty((len(slope), STEPS, GATES), slope.dtype)
    gate = np.empty((4, HIDDEN, len(slope)), slope.dtype)
    weight_hidden = _array(module.weight_hidden).T
    state = np.outer(_array(module.weight_head), slope)
    cell = np.zeros_like(state)
    for step in reversed(range(STEPS)):
        enter, forget, candidate, leave = trace.gates[step].reshape(gate.shape)
        after = trace.joint[step + 1, _STATE]
        entered = enter * candidate
        cell += state * (leave - after * trace.squashed[step])
        kept = cell * forget
        np.multiply(cell * entered, 1.0 - enter, out=gate[0])
        np.multiply(kept * trace.cells[step], 1.0 - forget, out=gate[1])
        np.multiply(cell, enter - entered * candidate, out=gate[2])
        np.multiply(state * after, 1.0 - leave, out=gate[3])
        together = gate.reshape(GATES, -1)
        found[:, step] = together.T
        state, cell = weight_hidden @ together, kept
    return found


def _array(parameter: nn.Parameter) -> Array:
    values: Array = parameter.detach().numpy()
    return values
