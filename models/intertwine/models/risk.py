"""How likely a vulnerability is to be exploited. A record is a vulnerability."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from intertwine.models import clipping as clip
from intertwine.models import vulnerability
from intertwine.models.onnx_graph import Graph, model_metadata
from intertwine.models.task import Arrays, Clipping, Evaluation, Parameters, Update
from intertwine.models.vulnerability import Vulnerabilities
from intertwine.models.whitening import Whitening, simulated_whitening

BASE_RATE = 0.02
"""Public share of exploited vulnerabilities, from which the scorer's intercept starts."""
GAIN = 4.0
"""About the norm of a whitened row: what clipping each to norm 1 took from the class mean."""


class RiskTask:
    """Logistic scorer by class sum: one release of the clipped, whitened features of exploited records.

    With whitened features the class mean is the discriminant direction, so that one noised sum is all the
    training there is.
    """

    name = "risk"
    version = 1
    record = "a vulnerability"
    dimension = len(vulnerability.FEATURES)
    metric_name = "AUC"
    higher_is_better = True
    baseline_name = "CVSS base score"

    def __init__(self, whitening: Whitening | None = None) -> None:
        self._whitening = whitening or simulated_whitening()

    def load(self, path: Path) -> Vulnerabilities:
        """Read a portfolio; see `vulnerability.load`."""
        return vulnerability.load(path)

    def initial_parameters(self) -> Parameters:
        """Zero: every vulnerability has the base rate."""
        return np.zeros(self.dimension)

    def update(self, parameters: Parameters, records: Vulnerabilities, clipping: Clipping) -> Update:
        """The sum over exploited training records; all others add zero. It ignores the parameters."""
        chosen = records.features[records.exploited & ~records.test]
        total = clip.quantize(self._whitening.apply(chosen), clipping).sum(axis=0)
        return clip.project(total, clipping.update_bound)

    def evaluate(self, parameters: Parameters, records: Vulnerabilities) -> Evaluation:
        """Log loss and AUC on the held-out rows; AUC is 0.5 where they are all of one class."""
        test = {"features": records.features[records.test]}
        label = records.exploited[records.test]
        probability = self.reference(parameters, test)["risk"].astype(np.float64)
        likelihood = np.where(label, probability, 1.0 - probability)
        loss = -np.log(np.maximum(likelihood, 1e-12)).mean() if len(label) else 0.0
        return Evaluation(float(loss), auc(probability, label), auc(records.score[records.test], label))

    def export(self, parameters: Parameters, metadata: Mapping[str, str]) -> bytes:
        """ONNX: `features` (batch, 56), in the order of `vulnerability.FEATURES`, to `risk` (batch,)."""
        graph = Graph(self.name)
        features = graph.input("features", self.dimension)
        weights, intercept = self._logistic(parameters)
        margin = graph.node("MatMul", features, graph.constant(weights))
        graph.output(graph.node("Sigmoid", graph.node("Add", margin, graph.constant(intercept))), "risk")
        return graph.serialize(model_metadata(self.name, self.version, metadata))

    def inputs(self, records: Vulnerabilities) -> Arrays:
        """The features of every row."""
        return {"features": records.features}

    def reference(self, parameters: Parameters, inputs: Arrays) -> Arrays:
        """Probability of exploitation by torch, in float64."""
        weights, intercept = self._logistic(parameters)
        features = torch.tensor(inputs["features"], dtype=torch.float64)
        return {"risk": torch.sigmoid(features @ torch.from_numpy(weights) + intercept).numpy()}

    def describe(self, records: Vulnerabilities, outputs: Arrays) -> list[str]:
        """The five riskiest rows, beside their CVSS base scores."""
        risk = outputs["risk"].astype(np.float64)
        return [
            f"{records.ids[row]}: risk {risk[row]:.3f} (CVSS {records.score[row]:.1f})"
            for row in np.argsort(-risk, kind="stable")[:5]
        ]

    def _logistic(self, parameters: Parameters) -> tuple[NDArray[np.float64], float]:
        """Weights (56,) and intercept on raw features: linear discriminants with a unit covariance."""
        mean = GAIN * parameters
        weights = self._whitening.matrix @ mean
        prior = np.log(BASE_RATE / (1.0 - BASE_RATE))
        return weights, float(prior - mean @ mean / 2.0 - self._whitening.mean @ weights)


def auc(score: NDArray[np.float64], label: NDArray[np.bool_]) -> float:
    """Probability that a positive scores above a negative, ties counting half (Mann and Whitney 1947)."""
    positive, negative = score[label], np.sort(score[~label])
    if not positive.size or not negative.size:
        return 0.5
    below = np.searchsorted(negative, positive, side="left") + np.searchsorted(
        negative, positive, side="right"
    )
    return float(below.sum() / (2.0 * positive.size * negative.size))
