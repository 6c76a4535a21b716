"""Readers and calibration on real data, which do not ship: without them these tests are skipped."""

import csv
import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from intertwine.models import calibration, vulnerability
from intertwine.models.calibration import calibration_error, sigmoid
from intertwine.models.recipes import recipe
from intertwine.models.risk import RiskTask
from intertwine.models.simulation import Participants
from intertwine.models.vulnerability import Vulnerabilities
from intertwine.models.vulnerability_sources.kev import read_kev
from intertwine.models.whitening import Whitening

DATA = Path(os.environ.get("INTERTWINE_DATA", Path(__file__).parents[3] / "shared" / "data"))
KEV = DATA / "security_kev" / "cisa_kev_2025-08-25.csv.gz"
VULNRICHMENT = DATA / "security_vulnrichment" / "vulnrichment_2024-10-24.csv.gz"
PUBLIC_ROWS = 2000

pytestmark = pytest.mark.skipif(
    not (KEV.is_file() and VULNRICHMENT.is_file()),
    reason=f"no evaluation data in {DATA.name} (INTERTWINE_DATA)",
)


@pytest.fixture(scope="module")
def table() -> list[dict[str, str]]:
    with gzip.open(VULNRICHMENT, "rt", encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["published"]]


def load(rows: list[dict[str, str]], path: Path) -> Vulnerabilities:
    """The extract as a portfolio; vectors of CVSS 4.0 and 2.0 count as missing."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["id", "cvss_vector", "cwe", "published", "automatable", "technical_impact", "known_exploited"]
        )
        for row in rows:
            vector = row["cvss_vector"] if row["cvss_version"].startswith("cvssV3") else ""
            ssvc = [row["ssvc_automatable"].lower(), row["ssvc_technical_impact"].lower()]
            writer.writerow([row["cve"], vector, row["cwe"], row["published"], *ssvc, row["kev"]])
    return vulnerability.load(path)


def digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def taken(records: Vulnerabilities, rows: np.ndarray) -> Vulnerabilities:
    return Vulnerabilities(
        tuple(records.ids[row] for row in rows),
        records.features[rows],
        records.score[rows],
        records.exploited[rows],
        records.test[rows],
    )


def test_the_catalogue_has_the_exploited_vulnerabilities_of_an_earlier_extract(
    table: list[dict[str, str]],
) -> None:
    exploited = read_kev(KEV)
    assert len(exploited) == 1404
    withdrawn = {"CVE-2021-4043", "CVE-2024-43491"}
    assert {row["cve"] for row in table if row["kev"] == "1"} - exploited == withdrawn


def test_calibration_lowers_the_error_of_a_private_model(table: list[dict[str, str]], tmp_path: Path) -> None:
    records = load(table, tmp_path / "portfolio.csv")
    calm = sorted(np.flatnonzero(~records.exploited), key=lambda row: digest(records.ids[row] + "public"))
    public = np.array(calm[:PUBLIC_ROWS])
    rest = np.setdiff1d(np.arange(len(table)), public)
    owner = np.array([digest(table[row]["vendor"]) % 4 for row in rest])
    task = RiskTask(Whitening.fit(records.features[public]))
    members = Participants(task, [taken(records, rest[owner == member]) for member in range(4)])
    test = rest[records.test[rest]]
    half = np.array([digest(records.ids[row] + "half") % 2 == 0 for row in test])
    figures = []
    for seed in range(5):
        parameters = members.simulate(recipe("risk"), seed).parameters
        for own, other in ((test[half], test[~half]), (test[~half], test[half])):
            fitted = calibration.fit(
                task.explanation(parameters, records.features[own]).log_odds, records.exploited[own]
            )
            assert fitted is not None
            odds = task.explanation(parameters, records.features[other]).log_odds
            label = records.exploited[other]
            for probability in (sigmoid(odds), fitted.probability(odds)):
                loss = -np.log(np.where(label, probability, 1 - probability)).mean()
                figures.append((calibration_error(probability, label), loss))
    raw, calibrated = np.array(figures).reshape(-1, 2, 2).mean(axis=0)
    print(f"\nuncalibrated: error {raw[0]:.4f}, log loss {raw[1]:.4f}")
    print(f"calibrated: error {calibrated[0]:.4f}, log loss {calibrated[1]:.4f}")
    assert calibrated[0] < raw[0]
    assert calibrated[1] < raw[1]
