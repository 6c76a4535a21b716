"""How likely a vulnerability is to be exploited. A record is a vulnerability."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from intertwine.models import calibration, vulnerability
from intertwine.models import clipping as clip
from intertwine.models.explanation import Explanation, split_log_odds
from intertwine.models.onnx_graph import Graph
from intertwine.models.task import Arrays, Evaluation, Features, Labels, ModelCard, Parameters
from intertwine.models.vulnerability import CONSTANT, RECORD_NORM, ROW_BOUND, SIDE, Vulnerabilities
from intertwine.models.whitening import Whitening, simulated_whitening
from intertwine.protocols.mechanism import Entries, Label

BASE_LOG_ODDS = -3.9
"""Public log odds of exploitation, those of 2%, from which the scorer's intercept starts."""


class RiskTask:
    """Logistic regression by DP-SGD with every record in each step.

    A record is the whitened features, scaled down to norm 64/66 if they are longer, and the constant 16/66.
    Nearly all rows are longer, so that a record is the direction in which it differs from the average.
    """

    name = "risk"
    version = 3
    record = "a vulnerability"
    dimension = len(vulnerability.FEATURES) + 1
    fewest_records = 5
    metric_name = "AUC"
    higher_is_better = True
    baseline_name = "CVSS base score"
    card = ModelCard(
        intended_use="An order in which to fix vulnerabilities: the likely exploited ones first.",
        inputs={"features": "the task's features of CVSS vector, weakness, age, SSVC points and EPSS score"},
        outputs={"risk": "probability that the vulnerability is known to be exploited"},
        limits=(
            "It learns from catalogues of known exploitation, which miss what nobody has reported.",
            "It knows nothing of where a vulnerability sits or of what a failure would cost: only the "
            "participant's own priorities do.",
            "EPSS scores are themselves estimated from exploitation that was seen. Where they are given, the "
            "metric tells more of them than of the model.",
            "A low score is no proof of safety; people decide what is left unfixed.",
        ),
    )
    columns = dimension
    row_bound = ROW_BOUND
    label: Label = "binary"
    entries: Entries = "integer"
    record_norm = RECORD_NORM

    def __init__(self, whitening: Whitening | None = None) -> None:
        self._whitening = whitening or simulated_whitening()

    def load(self, path: Path) -> Vulnerabilities:
        """Read a portfolio; see `vulnerability.load`."""
        return vulnerability.load(path)

    def initial_parameters(self) -> Parameters:
        """Every vulnerability has the base rate."""
        parameters = np.zeros(self.dimension)
        parameters[-1] = BASE_LOG_ODDS * ROW_BOUND / CONSTANT
        return parameters

    def dataset(self, records: Vulnerabilities) -> tuple[Features, Labels]:
        """The training rows in integers, and whether each was exploited."""
        training = ~records.test
        whitened = clip.quantize(self._whitening.apply(records.features[training]), 1.0, SIDE)
        constant = np.full(len(whitened), CONSTANT)
        return np.column_stack([whitened, constant]), records.exploited[training].astype(np.int64)

    def evaluate(self, parameters: Parameters, records: Vulnerabilities) -> Evaluation:
        """Log loss and AUC on the held-out rows; AUC is 0.5 where they are all of one class."""
        test = {"features": records.features[records.test]}
        label = records.exploited[records.test]
        probability = self.reference(parameters, test)["risk"].astype(np.float64)
        likelihood = np.where(label, probability, 1.0 - probability)
        loss = -np.log(np.maximum(likelihood, 1e-12)).mean() if len(label) else 0.0
        return Evaluation(float(loss), auc(probability, label), auc(records.score[records.test], label))

    def template(self) -> bytes:
        """ONNX: `features` (batch, 57), in the order of `vulnerability.FEATURES`, to `risk` (batch,)."""
        graph = Graph(self)
        features = graph.input("features", len(vulnerability.FEATURES))
        centred = graph.node("Sub", features, graph.constant(self._whitening.mean))
        whitened = graph.node("MatMul", centred, graph.constant(self._whitening.matrix))
        norm = graph.node("ReduceL2", whitened, axes=[1], keepdims=1)
        clipped = graph.node("Div", whitened, graph.node("Max", norm, graph.constant(1.0)))
        columns = len(vulnerability.FEATURES)
        weights = graph.node("Mul", graph.weights(0, columns), graph.constant(SIDE / ROW_BOUND))
        intercept = graph.node("Mul", graph.weights(columns, 1), graph.constant(CONSTANT / ROW_BOUND))
        margin = graph.node("Add", graph.node("MatMul", clipped, weights), intercept)
        graph.output(graph.node("Sigmoid", margin), "risk")
        return graph.template()

    def inputs(self, records: Vulnerabilities) -> Arrays:
        """The features of every row."""
        return {"features": records.features}

    def reference(self, parameters: Parameters, inputs: Arrays) -> Arrays:
        """Probability of exploitation by torch, in float64."""
        weights, intercept = _logistic(parameters)
        features = torch.tensor(inputs["features"], dtype=torch.float64)
        whitened = (features - torch.tensor(self._whitening.mean)) @ torch.tensor(self._whitening.matrix)
        clipped = whitened / whitened.norm(dim=1, keepdim=True).clamp(min=1.0)
        return {"risk": torch.sigmoid(clipped @ torch.from_numpy(weights) + intercept).numpy()}

    def describe(self, records: Vulnerabilities, outputs: Arrays) -> list[str]:
        """The five rows to fix first, beside their CVSS base scores.

        They are the riskiest; or, if the file has what `priority` needs, those of the highest priority.
        """
        risk = outputs["risk"].astype(np.float64)
        return [
            f"{records.ids[row]}: {_priority(risk, records, row)}risk {risk[row]:.3f} "
            f"(CVSS {records.score[row]:.1f})"
            for row in _first(risk, records)
        ]

    def explanation(self, parameters: Parameters, features: NDArray[np.float64]) -> Explanation:
        """What the log odds of some rows are made of. features: shape (n, 57)."""
        return split_log_odds(features, self._whitening, *_logistic(parameters))

    def explain(self, parameters: Parameters, records: Vulnerabilities) -> list[str]:
        """The rows of `describe`: what their log odds are made of, and the probability calibrated here."""
        explained = self.explanation(parameters, records.features)
        odds, test = explained.log_odds, records.test
        fitted = calibration.fit(odds[test], records.exploited[test])
        lines = []
        for row in _first(calibration.sigmoid(odds), records):
            own = f"; calibrated on own records {fitted.probability(odds[row]):.3f}" if fitted else ""
            lines.append(f"{records.ids[row]}: {explained.line(row)}{own}{_stake(records, row)}")
        return lines


def _first(risk: NDArray[np.float64], records: Vulnerabilities) -> list[int]:
    """The five rows to fix first."""
    order = risk if records.stakes is None else risk * records.stakes
    return [int(row) for row in np.argsort(-order, kind="stable")[:5]]


def _priority(risk: NDArray[np.float64], records: Vulnerabilities, row: int) -> str:
    return "" if records.stakes is None else f"priority {risk[row] * records.stakes[row]:,.4g}, "


def _stake(records: Vulnerabilities, row: int) -> str:
    return "" if records.stakes is None else f"; at stake {records.stakes[row]:,.4g}"


def _logistic(parameters: Parameters) -> tuple[NDArray[np.float64], float]:
    """Weights (57,) on whitened features clipped to norm 1, and the intercept."""
    return parameters[:-1] * (SIDE / ROW_BOUND), float(parameters[-1]) * (CONSTANT / ROW_BOUND)


def auc(score: NDArray[np.float64], label: NDArray[np.bool_]) -> float:
    """Probability that a positive scores above a negative, ties counting half (Mann and Whitney 1947)."""
    positive, negative = score[label], np.sort(score[~label])
    if not positive.size or not negative.size:
        return 0.5
    below = np.searchsorted(negative, positive, side="left") + np.searchsorted(
        negative, positive, side="right"
    )
    return float(below.sum() / (2.0 * positive.size * negative.size))
