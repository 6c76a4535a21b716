"""`POST /v1/risk-scores`: how likely vulnerabilities are to be exploited, and why."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, Field

from intertwine.client.published import PublishedModel
from intertwine.client.serving.documents import Day, ModelReference, Query
from intertwine.client.serving.shallow import ShallowRoute
from intertwine.models import calibration, cvss, priority, vulnerability
from intertwine.models.explanation import Explanation
from intertwine.models.risk import RiskTask
from intertwine.models.table import Row
from intertwine.models.vulnerability import Vulnerabilities

PATH = "/v1/risk-scores"
MAX_VULNERABILITIES = 1000
MAX_NAME = 200

_BASE = "".join(f"/{metric}:[{letters}]" for metric, letters in cvss.VALUES.items())
_OTHER = {
    "E": "XUPFH",
    "RL": "XOTWU",
    "RC": "XURC",
    "CR": "XLMH",
    "IR": "XLMH",
    "AR": "XLMH",
    **{f"M{metric}": f"X{letters}" for metric, letters in cvss.VALUES.items()},
}
"""Temporal and environmental metrics, which say nothing to the model, in the specification's order."""
_VECTOR = rf"^CVSS:3\.[01]{_BASE}{''.join(f'(/{name}:[{letters}])?' for name, letters in _OTHER.items())}$"

Vector: TypeAlias = Annotated[str, Field(pattern=_VECTOR)]


def _range(column: str) -> Any:
    least, most = priority.COLUMNS[column]
    return Field(ge=least, le=most)


class Vulnerability(Query):
    """One vulnerability in the terms of its public record; null stands for what is not known.

    cvss_vector: CVSS 3.0 or 3.1, its metrics in the specification's order. automatable, technical_impact:
    CISA's SSVC points. epss: FIRST's score. The last four are the participant's own: they turn probabilities
    into priorities.
    """

    id: Annotated[str, Field(max_length=MAX_NAME)] = ""
    published: Day
    cvss_vector: Vector | None = None
    cwe: Annotated[str, Field(pattern="^CWE-[0-9]{1,5}$")] | None = None
    automatable: Literal["yes", "no"] | None = None
    technical_impact: Literal["partial", "total"] | None = None
    epss: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    exposure: Annotated[float, _range("exposure")] | None = None
    revenue_impact: Annotated[float, _range("revenue_impact")] | None = None
    asset_value: Annotated[float, _range("asset_value")] | None = None
    cost: Annotated[float, _range("cost")] | None = None

    def row(self, line: int) -> Row:
        """The same as a row of a portfolio; what is not known of the optional columns is left out."""
        optional = {name: getattr(self, name) for name in ("epss", *priority.COLUMNS)}
        cells = {
            "published": self.published.isoformat(),
            "cvss_vector": self.cvss_vector or "",
            "cwe": self.cwe or "",
            "automatable": self.automatable or "",
            "technical_impact": self.technical_impact or "",
            **{name: repr(float(value)) for name, value in optional.items() if value is not None},
        }
        return Row(Path("vulnerabilities"), line, cells)


class RiskQuery(Query):
    """Vulnerabilities, and whether to say what their scores are made of."""

    vulnerabilities: Annotated[list[Vulnerability], Field(min_length=1, max_length=MAX_VULNERABILITIES)]
    explain: bool = False


class Shares(BaseModel):
    """What the log odds are made of, exactly: the average vulnerability's, and each property's share."""

    log_odds: float
    average: float
    properties: dict[str, float]


class RiskScore(BaseModel):
    """probability: that the vulnerability is known to be exploited, by the shared model.

    calibrated_probability: corrected on the participant's own records, null if those are too few.
    base_score: of CVSS, null if there is no vector. priority: the probability times what is at stake, null if
    nothing is said of that. explanation: null unless it was asked for.
    """

    id: str
    probability: Annotated[float, Field(ge=0.0, le=1.0)]
    calibrated_probability: Annotated[float, Field(ge=0.0, le=1.0)] | None
    base_score: float | None
    priority: float | None
    explanation: Shares | None


class RiskAnswer(BaseModel):
    """A score for each vulnerability, in their order."""

    model: ModelReference
    scores: list[RiskScore]


class RiskScorer:
    """The shared model, and the correction of its probabilities on the participant's own records."""

    def __init__(self, model: PublishedModel, task: RiskTask, records: Vulnerabilities) -> None:
        self.model = model
        self._task = task
        self._session = model.session()
        held_out = task.explanation(model.parameters, records.features[records.test])
        self._calibration = calibration.fit(held_out.log_odds, records.exploited[records.test])

    def answer(self, query: RiskQuery) -> RiskAnswer:
        """Score every vulnerability of a request."""
        rows = [each.row(line) for line, each in enumerate(query.vulnerabilities)]
        features = np.array([vulnerability.features_of(row) for row in rows])
        probability = self._session.run({"features": features})["risk"]
        explained = self._task.explanation(self.model.parameters, features)
        corrected = self._calibration.probability(explained.log_odds) if self._calibration else None
        scores = [
            RiskScore(
                id=each.id,
                probability=float(probability[line]),
                calibrated_probability=None if corrected is None else float(corrected[line]),
                base_score=cvss.BaseMetrics.parse(each.cvss_vector).score() if each.cvss_vector else None,
                priority=_priority(float(probability[line]), rows[line]),
                explanation=_shares(explained, line) if query.explain else None,
            )
            for line, each in enumerate(query.vulnerabilities)
        ]
        return RiskAnswer(model=ModelReference.of(self.model), scores=scores)


def _priority(probability: float, row: Row) -> float | None:
    return next((probability * stake for stake in priority.stake(row)), None)


def _shares(explained: Explanation, line: int) -> Shares:
    return Shares(
        log_odds=float(explained.log_odds[line]),
        average=explained.base,
        properties=explained.properties(line),
    )


def router(current: Callable[[], RiskScorer]) -> APIRouter:
    """The endpoint, over whatever predicts at the time of a request."""
    found = APIRouter(route_class=ShallowRoute)

    @found.post(PATH)
    def risk_scores(query: RiskQuery) -> RiskAnswer:
        """How likely each vulnerability is to be exploited, and on request what its score is made of."""
        return current().answer(query)

    return found
