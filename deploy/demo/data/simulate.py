"""Invent vulnerability portfolios that look plausible; nothing in them is real.

    python deploy/demo/data/simulate.py

writes the risk scorer's public statistics, `simulated_whitening.csv`, from an invented public set. The demo
calls `portfolio` for its participants. The same seed gives the same rows.

A row comes from one of five kinds of weakness, each with its own CWE ids and its own usual CVSS metrics. It
is exploited with a probability that depends on what the scorer can see and on luck: calibrated so that the
CVSS base score alone reaches an AUC near 0.75 and the best scorer one near 0.85.
"""

import csv
import io
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np

from intertwine.models.vulnerability import AS_OF, EPSS_MEAN, EPSS_VARIANCE, load
from intertwine.models.whitening import Whitening

WHITENING = Path(__file__).parents[3] / "models" / "intertwine" / "models" / "simulated_whitening.csv"
PUBLIC_ROWS = 2000
COLUMNS = (
    "id",
    "cvss_vector",
    "cwe",
    "published",
    "automatable",
    "technical_impact",
    "known_exploited",
    "origin",
)


@dataclass(frozen=True)
class Kind:
    """A kind of weakness. share: of all rows. metrics: for each CVSS metric its letters and their shares.

    automatable, total: shares of SSVC decisions. log_odds: how much more often it is exploited.
    """

    share: float
    cwes: tuple[str, ...]
    metrics: dict[str, dict[str, float]]
    automatable: float
    total: float
    log_odds: float


KINDS = (
    Kind(
        share=0.32,
        cwes=("CWE-79", "CWE-80", "CWE-352", "CWE-601"),
        metrics={
            "AV": {"N": 1.0},
            "AC": {"L": 0.95, "H": 0.05},
            "PR": {"N": 0.5, "L": 0.35, "H": 0.15},
            "UI": {"R": 0.9, "N": 0.1},
            "S": {"C": 0.75, "U": 0.25},
            "C": {"L": 0.85, "N": 0.1, "H": 0.05},
            "I": {"L": 0.9, "H": 0.1},
            "A": {"N": 0.9, "L": 0.1},
        },
        automatable=0.05,
        total=0.03,
        log_odds=-0.8,
    ),
    Kind(
        share=0.22,
        cwes=("CWE-787", "CWE-121", "CWE-122", "CWE-416", "CWE-125", "CWE-190", "CWE-843"),
        metrics={
            "AV": {"L": 0.5, "N": 0.4, "A": 0.1},
            "AC": {"L": 0.85, "H": 0.15},
            "PR": {"N": 0.55, "L": 0.4, "H": 0.05},
            "UI": {"R": 0.45, "N": 0.55},
            "S": {"U": 0.95, "C": 0.05},
            "C": {"H": 0.75, "L": 0.1, "N": 0.15},
            "I": {"H": 0.7, "N": 0.3},
            "A": {"H": 0.9, "N": 0.1},
        },
        automatable=0.1,
        total=0.55,
        log_odds=0.3,
    ),
    Kind(
        share=0.18,
        cwes=("CWE-89", "CWE-22", "CWE-78", "CWE-94", "CWE-502", "CWE-434", "CWE-77"),
        metrics={
            "AV": {"N": 0.95, "L": 0.05},
            "AC": {"L": 0.93, "H": 0.07},
            "PR": {"N": 0.5, "L": 0.35, "H": 0.15},
            "UI": {"N": 0.95, "R": 0.05},
            "S": {"U": 0.92, "C": 0.08},
            "C": {"H": 0.75, "L": 0.25},
            "I": {"H": 0.65, "L": 0.2, "N": 0.15},
            "A": {"H": 0.6, "L": 0.2, "N": 0.2},
        },
        automatable=0.45,
        total=0.5,
        log_odds=0.5,
    ),
    Kind(
        share=0.16,
        cwes=("CWE-287", "CWE-306", "CWE-862", "CWE-863", "CWE-269", "CWE-284", "CWE-798"),
        metrics={
            "AV": {"N": 0.75, "L": 0.2, "A": 0.05},
            "AC": {"L": 0.88, "H": 0.12},
            "PR": {"N": 0.4, "L": 0.5, "H": 0.1},
            "UI": {"N": 0.9, "R": 0.1},
            "S": {"U": 0.88, "C": 0.12},
            "C": {"H": 0.5, "L": 0.3, "N": 0.2},
            "I": {"H": 0.45, "L": 0.35, "N": 0.2},
            "A": {"H": 0.4, "N": 0.6},
        },
        automatable=0.25,
        total=0.35,
        log_odds=0.4,
    ),
    Kind(
        share=0.12,
        cwes=("", "CWE-20", "CWE-200", "CWE-400", "CWE-476", "CWE-770"),
        metrics={
            "AV": {"N": 0.65, "L": 0.3, "P": 0.05},
            "AC": {"L": 0.85, "H": 0.15},
            "PR": {"N": 0.55, "L": 0.4, "H": 0.05},
            "UI": {"N": 0.8, "R": 0.2},
            "S": {"U": 0.96, "C": 0.04},
            "C": {"N": 0.5, "L": 0.3, "H": 0.2},
            "I": {"N": 0.8, "L": 0.15, "H": 0.05},
            "A": {"H": 0.55, "L": 0.1, "N": 0.35},
        },
        automatable=0.3,
        total=0.08,
        log_odds=-0.6,
    ),
)

INTERCEPT = -5.4
AUTOMATABLE, TOTAL, OPEN_TO_NETWORK, SEVERE, A_YEAR = 0.8, 0.9, 0.7, 1.0, 0.2
"""Log odds of exploitation that each of these adds: see `_log_odds`."""


def _draw(rng: np.random.Generator, shares: dict[str, float]) -> str:
    """One key, with probability its share."""
    return list(shares)[int(np.searchsorted(np.cumsum(list(shares.values())), rng.random() * 0.999999))]


def _log_odds(kind: Kind, letters: dict[str, str], automatable: bool, total: bool, age: float) -> float:
    """Log odds that a vulnerability of this age, in years, is exploited."""
    is_open = (letters["AV"], letters["PR"], letters["UI"]) == ("N", "N", "N")
    is_severe = (letters["C"], letters["I"]) == ("H", "H")
    return (
        INTERCEPT
        + kind.log_odds
        + AUTOMATABLE * automatable
        + TOTAL * total
        + OPEN_TO_NETWORK * is_open
        + SEVERE * is_severe
        + A_YEAR * min(age, 5.0)
    )


def _row(rng: np.random.Generator, name: str) -> list[str]:
    kind = KINDS[int(_draw(rng, {str(number): kind.share for number, kind in enumerate(KINDS)}))]
    letters = {metric: _draw(rng, shares) for metric, shares in kind.metrics.items()}
    automatable, total = rng.random() < kind.automatable, rng.random() < kind.total
    age = min(rng.exponential(1.4), 10.0)
    exploited = rng.random() < 1.0 / (1.0 + np.exp(-_log_odds(kind, letters, automatable, total, age)))
    return [
        name,
        "CVSS:3.1/" + "/".join(f"{metric}:{letter}" for metric, letter in letters.items()),
        kind.cwes[int(rng.random() * len(kind.cwes))],
        (AS_OF - timedelta(days=int(age * 365.25))).isoformat(),
        "yes" if automatable else "no",
        "total" if total else "partial",
        str(int(exploited)),
        "simulated",
    ]


def portfolio(owner: str, rows: int, seed: int) -> str:
    """A participant's invented portfolio as CSV; ids are of the form SIM-owner-00001."""
    rng = np.random.default_rng(seed)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_row(rng, f"SIM-{owner}-{number:05d}") for number in range(1, rows + 1))
    return text.getvalue()


def main() -> None:
    """Whiten an invented public set of vulnerabilities that nobody has exploited."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "simulated_public.csv"
        path.write_text(portfolio("public", PUBLIC_ROWS, seed=1), encoding="utf-8")
        public = load(path)
    facts = Whitening.fit(public.features[~public.exploited, :-1])
    whitening = facts.with_feature(EPSS_MEAN, EPSS_VARIANCE)  # the public set has no EPSS scores
    rows = [whitening.mean, *whitening.matrix]
    lines = ["# Simulated: mean, then the rows of the matrix; see deploy/demo/data/simulate.py"]
    lines += [",".join(f"{value:.6g}" for value in row) for row in rows]
    WHITENING.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
