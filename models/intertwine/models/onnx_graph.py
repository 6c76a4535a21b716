"""A small writer of ONNX templates: the same calls give the same bytes, whatever the machine.

A template is a model file whose parameters are still a marker and whose metadata are the task's own: its card
and version. `model_file` in protocols turns it into the file that is published.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from intertwine.models.model_card import render
from intertwine.models.task import Task
from intertwine.protocols.model_file import MODEL_CARD, TASK_VERSION, parameters_marker

OPSET = 17
IR_VERSION = 8
"""What opset 17 came with: any ONNX Runtime from 1.12 on reads it."""

DOUBLE = int(TensorProto.DOUBLE)
"""The float64 type, as an attribute of a Cast node."""
FLOAT = int(TensorProto.FLOAT)
"""The float32 type, likewise."""

_TYPES = {
    np.dtype(np.float64): TensorProto.DOUBLE,
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.int64): TensorProto.INT64,
}


class Graph:
    """Collects nodes and constants; names of values are handed out in order.

    Arithmetic is float64: the models are small, and torch and ONNX Runtime then agree far below 1e-5
    in any unit. All that a run learns is one initializer, `parameters`, whose bytes are those in the log.
    """

    def __init__(self, task: Task[Any]) -> None:
        """task: its name becomes the graph's, its version the file's, and its card goes with them."""
        self._task = task
        self._nodes: list[onnx.NodeProto] = []
        marker = np.frombuffer(parameters_marker(task.dimension), dtype="<f8")
        self._parameters = numpy_helper.from_array(marker, "parameters")
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, *shape: int, dtype: type[np.generic] = np.float64) -> str:
        """Declare an input of shape (batch, *shape)."""
        self._inputs.append(_value(name, shape, dtype))
        return name

    def output(self, value: str, name: str, *shape: int, dtype: type[np.generic] = np.float64) -> None:
        """Declare `value` as the output `name` of shape (batch, *shape)."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(_value(name, shape, dtype))

    def constant(self, array: NDArray[np.generic] | float | Sequence[int]) -> str:
        """A constant: floats as float64, integers as int64."""
        values = np.asarray(array)
        values = values.astype(np.int64 if values.dtype.kind in "iu" else np.float64)
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def weights(self, start: int, *shape: int) -> str:
        """The parameters from `start` on, as many as fill an array of this shape, in row-major order."""
        first, end = self.constant([start]), self.constant([start + math.prod(shape)])
        part = self.node("Slice", self._parameters.name, first, end, self.constant([0]))
        return self.node("Reshape", part, self.constant(shape))

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and return that output's name."""
        return self.nodes(operator, 1, *inputs, **attributes)[0]

    def nodes(self, operator: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node with several outputs and return their names."""
        names = [f"v{len(self._nodes)}_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def template(self) -> bytes:
        """The finished, checked template."""
        initializers = [self._parameters, *self._constants]
        graph = helper.make_graph(self._nodes, self._task.name, self._inputs, self._outputs, initializers)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="intertwine",
            model_version=self._task.version,
        )
        helper.set_model_props(model, {MODEL_CARD: render(self._task), TASK_VERSION: str(self._task.version)})
        onnx.checker.check_model(model, full_check=True)
        data: bytes = model.SerializeToString(deterministic=True)
        return data


def _value(name: str, shape: Sequence[int], dtype: type[np.generic]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, _TYPES[np.dtype(dtype)], ["batch", *shape])
