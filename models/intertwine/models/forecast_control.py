"""The forecaster's control: a linear model of 18 parameters in the place of the LSTM.

All else is the forecaster's: windows, loss, clipping, noise and evaluation. What the LSTM gains over it is
what the LSTM is worth.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from intertwine.models import lstm, series
from intertwine.models.forecast import ForecastTask
from intertwine.models.onnx_graph import Graph
from intertwine.models.recipes import RECIPES
from intertwine.models.task import Parameters

INPUTS = lstm.STEPS + 5

RECIPE = replace(RECIPES["forecast"], learning_rate="2")
"""The forecaster's, with the rate, of 0.25 to 5, that has the lowest mean WAPE on four blocks of 12 training
weeks. The blocks end 12, 25, 38 and 52 weeks before the file does; the model of each was trained on the weeks
before it."""


class ForecastControl(ForecastTask):
    """The forecast task with a linear model."""

    name = "forecast-control"
    dimension = INPUTS + 1

    def initial_parameters(self) -> Parameters:
        """Zeros: like the untrained LSTM, it forecasts 0.85 times the level."""
        return np.zeros(self.dimension)

    def module(self, parameters: Parameters) -> nn.Module:
        """Weights and a constant."""
        linear = nn.Linear(INPUTS, 1, dtype=torch.float64)
        nn.utils.vector_to_parameters(torch.tensor(parameters, dtype=torch.float64), linear.parameters())
        return linear

    def features(self, units: Tensor, week: Tensor) -> Tensor:
        """The LSTM's features, each once: the window's 12 weeks, its steadiness, the season; shape (..., 17).

        The season has a second harmonic, which the LSTM can make by itself.
        """
        features = series.features(units, week)
        last = features[..., -1, :]
        sine, cosine = last[..., 2:3], last[..., 3:4]
        second = (2 * sine * cosine, cosine * cosine - sine * sine)
        return torch.cat((features[..., 0], last[..., 1:], *second), dim=-1)

    def graph(self, graph: Graph, features: str) -> str:
        """`features` and the linear model in ONNX."""
        window = graph.node("Gather", features, graph.constant(np.array(0)), axis=2)
        last = graph.node("Gather", features, graph.constant(np.array(lstm.STEPS - 1)), axis=1)
        _, steadiness, sine, cosine = graph.nodes("Split", lstm.INPUTS, last, axis=1)
        product = graph.node("Mul", graph.constant(2.0), graph.node("Mul", sine, cosine))
        difference = graph.node("Sub", graph.node("Mul", cosine, cosine), graph.node("Mul", sine, sine))
        columns = graph.node("Concat", window, steadiness, sine, cosine, product, difference, axis=1)
        weighted = graph.node("MatMul", columns, graph.weights(0, INPUTS, 1))
        return graph.node("Add", weighted, graph.weights(INPUTS, 1))
