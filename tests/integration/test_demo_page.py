"""The demo's report page: what it says, that it escapes, and what a real browser makes of it."""

import itertools
import json
import math
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from deploy.demo import page
from tests import chromium

NAMES = ("harbour-retail", "studio-lumen", "redoubt-security")
HOSTILE = "<script>alert('x')</script>\"&"
FREE_TEXTS = (
    "intertwine/demo-report/v2",
    "retailer",
    "forecast",
    "risk",
    "forecast-drill",
    "WAPE",
    "trivial WAPE",
    "zero-out",
    "a customer",
    "constraint_identity",
    "a" * 64,
    "22423: 148 units",
    "bundle_format",
    "complete",
    "d" * 64,
)
VOID = {"meta", "link", "br", "hr", "img", "input"}


@dataclass
class Element:
    """A parsed element: enough to ask what it says and what it is called."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    above: list["Element"] = field(default_factory=list)

    def within(self, other: "Element") -> bool:
        return any(element is other for element in self.above)


class Dom(HTMLParser):
    """All elements of a page in document order; an element's text includes that of its children."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, above=list(self._open))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop().tag != tag:
            pass

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, *tags: str) -> list[Element]:
        return [element for element in self.elements if element.tag in tags]

    def section(self, heading_id: str) -> str:
        """The text of the section that this heading names."""
        return next(
            " ".join(element.text.split())
            for element in self.all("section")
            if element.attributes.get("aria-labelledby") == heading_id
        )

    def rows(self, assurance: str) -> list[Element]:
        return [row for row in self.all("tr") if row.attributes.get("data-assurance") == assurance]

    def badges(self, row: Element) -> set[tuple[str, str]]:
        """(style class, label) of every badge in a row."""
        return {
            (element.attributes["class"], element.text)
            for element in self.all("span")
            if element.within(row) and "badge" in element.attributes.get("class", "").split()
        }


def _privacy(who: str, task: str, assurance: str, epsilon: float, precision: float) -> dict[str, Any]:
    return {
        "participant": who,
        "task": task,
        "assurance": assurance,
        "adjacency": "zero-out",
        "epsilon": epsilon,
        "delta": 1e-5,
        "precision_delta": precision,
        "releases": 2,
        "invalid_releases": int(math.isinf(epsilon)),
        "record": "a customer",
    }


RELEASE = {"statement": "release", "update_bound": 90_000}
GLM = {"statement": "glm", "link": "logistic", "label": "binary", "row_bound": 66, "residual_bound": 71}


def _task(
    run: str, rounds: int, metric: Mapping[str, Any], mechanism: Mapping[str, Any] = RELEASE
) -> dict[str, Any]:
    losses = [0.9 - 0.05 * number for number in range(rounds + 1)]
    step = (metric["final"] - metric["initial"]) / rounds
    return {
        "run": run,
        "record": "a customer",
        "rounds": rounds,
        "average_last": max(1, rounds // 2),
        "dimension": 1361,
        "sigma": 400,
        "record_bound": 75,
        "mechanism": mechanism,
        "metric": metric,
        "history": [
            {"round": number, "loss": loss, "metric": metric["initial"] + step * number}
            for number, loss in enumerate(losses)
        ],
    }


def _metric(name: str, higher: bool, initial: float, final: float, baseline: float) -> dict[str, Any]:
    return {
        "name": name,
        "higher_is_better": higher,
        "initial": initial,
        "final": final,
        "baseline_name": f"trivial {name}",
        "baseline": baseline,
    }


def _round(run: str, number: int, accepted: list[str], rejected: list[str]) -> dict[str, Any]:
    task = run.removesuffix("-drill")
    return {
        "run": run,
        "task": task,
        "round": number,
        "accepted": accepted,
        "rejected": rejected,
        "aborted": [],
    }


@pytest.fixture
def report() -> dict[str, Any]:
    """Three participants, a task of six rounds, a simulated one of one round, and a rejected update."""
    retailer, creator, security = NAMES
    costs = {"dimension": 1361, "prove_s": [1.0, 1.3], "verify_s": [0.03, 0.031], "bytes": [4321, 4321]}
    digests = {"forecast": "a" * 64, "risk": "b" * 64}
    return {
        "version": "intertwine/demo-report/v2",
        "seconds": 183.2,
        "participants": [
            {"name": retailer, "role": "retailer", "tasks": ["forecast"]},
            {"name": creator, "role": "creator", "tasks": ["forecast"]},
            {"name": security, "role": "security", "tasks": ["risk"]},
        ],
        "simulated": ["risk"],
        "tasks": {
            "forecast": _task("forecast", 6, _metric("WAPE", False, 0.61, 0.589, 0.597)),
            "risk": _task("risk", 1, _metric("AUC", True, 0.5, 0.7, 0.777), GLM),
        },
        "datasets": [
            {
                "participant": security,
                "task": "risk",
                "records": 9600,
                "columns": 57,
                "entries": "integer",
                "label": "binary",
                "row_bound": 66,
                "pages": 3,
                "bytes": 9_000,
                "enrol_s": 17.3,
            }
        ],
        "proofs": {
            "made": 15,
            "verified": 14,
            "rejected": [
                {
                    "participant": creator,
                    "run": "forecast-drill",
                    "task": "forecast",
                    "round": 1,
                    "check": "constraint_identity",
                }
            ],
            "prove_s_median": 1.1,
            "verify_s_median": 0.03,
            "bytes_median": 4321,
            "dimension_max": 1361,
            "by_task": {"forecast": costs, "risk": {**costs, "dimension": 57}},
        },
        "rounds": [
            *(_round("forecast", number, [retailer, creator], []) for number in range(1, 7)),
            _round("risk", 1, [security], []),
            _round("forecast-drill", 1, [retailer], [creator]),
        ],
        "privacy": [
            _privacy(retailer, "forecast", "proven-participant", 2600.1, 1.0),
            _privacy(retailer, "forecast", "attested-record", 2.98, 3e-11),
            _privacy(creator, "forecast", "proven-participant", math.inf, 1.0),
            _privacy(creator, "forecast", "attested-record", math.inf, 1.0),
            _privacy(security, "risk", "proven-record", 1.5, 1e-12),
        ],
        "proof_files": ["risk-records.json", "risk-accepted.json", "forecast-drill-rejected.json"],
        "onnx": {
            task: {"path": f"models/{task}.onnx", "sha256": digest, "max_abs_difference": 3e-7}
            for task, digest in digests.items()
        },
        "predictions": [
            {"participant": retailer, "task": "forecast", "sha256": "a" * 64, "lines": ["22423: 148 units"]},
            {"participant": security, "task": "risk", "sha256": "c" * 64, "lines": ["asset-0193: 0.93"]},
        ],
        "audit": {
            "verdict": "pass",
            "checks": [
                {"number": 1, "name": "bundle_format", "status": "pass", "detail": "complete"},
                {"number": 2, "name": "entry_encoding", "status": "pass", "detail": "canonical"},
            ],
            "entries": 120,
            "log_key": "d" * 64,
        },
    }


def test_infinity_is_shown_as_no_bound(report: dict[str, Any]) -> None:
    written = json.dumps(report).replace("Infinity", "1e999")  # as report.json has it
    dom = Dom(page.render(json.loads(written)))
    unbounded = [row for row in dom.rows("proven-participant") if "studio-lumen" in row.text]
    assert len(unbounded) == 1
    assert "∞ (no bound)" in unbounded[0].text
    assert "1 invalid" in unbounded[0].text


def test_an_assurance_never_shares_its_label_or_its_style(report: dict[str, Any]) -> None:
    dom = Dom(page.render(report))
    bounded = {
        assurance: [row for row in dom.rows(assurance) if "∞" not in row.text]
        for assurance in page.ASSURANCES
    }
    labels = {name: {badge for row in rows for badge in dom.badges(row)} for name, rows in bounded.items()}
    assert labels == {
        "proven-participant": {("badge proven", "Proven · whole participant")},
        "proven-record": {("badge proven", "Proven · per record")},
        "attested-record": {("badge attested", "Attested · per record")},
    }


def test_a_figure_without_bound_is_called_neither_proven_nor_attested(report: dict[str, Any]) -> None:
    dom = Dom(page.render(report))
    unbounded = [row for name in page.ASSURANCES for row in dom.rows(name) if "∞" in row.text]
    assert len(unbounded) == 2
    for row in unbounded:
        ((style, label),) = dom.badges(row)
        assert style == "badge rejected"
        assert label.startswith("No guarantee")


@pytest.mark.parametrize(
    ("epsilon", "precision", "reading"),
    [
        (2600.1, 1e-9, "No meaningful protection of the participant as a whole."),
        (12.5, 1e-5, "No meaningful protection of the participant as a whole."),
        (12.5, 1e-9, "Holds by proof."),
    ],
    ids=["epsilon_too_large", "precision_exceeds_delta", "bounded"],
)
def test_a_proven_figure_that_protects_nothing_says_so(
    report: dict[str, Any], epsilon: float, precision: float, reading: str
) -> None:
    report["privacy"] = [_privacy("harbour-retail", "forecast", "proven-participant", epsilon, precision)]
    dom = Dom(page.render(report))
    (row,) = dom.rows("proven-participant")
    assert reading in row.text
    honest = (
        "no meaningful protection of the participant as a whole; what is proven is that the noise was honest"
    )
    assert (honest in dom.section("proven-participant")) == reading.startswith("No")


def test_a_proven_record_is_a_record_as_it_was_enrolled(report: dict[str, Any]) -> None:
    dom = Dom(page.render(report))
    (row,) = dom.rows("proven-record")
    assert "Holds by proof, for a record as it was enrolled." in row.text
    assert "nothing is claimed for a participant as a whole" in dom.section("proven-record")


def test_each_task_says_what_its_own_statement_shows(report: dict[str, Any]) -> None:
    dom = Dom(page.render(report))
    forecast, risk = [card for card in dom.all("article") if card.attributes.get("class") == "task"]
    assert dom.badges(forecast) == {
        ("badge proven", "Proven · whole participant"),
        ("badge attested", "Attested · per record"),
    }
    assert dom.badges(risk) == {("badge proven", "Proven · per record")}
    assert "participant’s word" in forecast.text
    assert "participant’s word" not in risk.text


def test_a_caption_says_which_rounds_the_published_model_comes_from(report: dict[str, Any]) -> None:
    assert "averages the last rounds" in Dom(page.render(report)).section("learned")
    report["tasks"]["forecast"]["average_last"] = 1
    assert "is that of the last round" in Dom(page.render(report)).section("learned")


def test_enrolled_records_are_listed(report: dict[str, Any]) -> None:
    shown = Dom(page.render(report)).section("enrolled")
    for fact in (
        "redoubt-security",
        "risk simulated",
        "9,600",
        "57",
        "at most 66",
        "binary",
        "9.0 kB",
        "17 s",
    ):
        assert fact in shown
    report["datasets"] = []
    assert "enrolled" not in {h.attributes.get("id") for h in Dom(page.render(report)).all("h2")}


def test_every_string_is_escaped(report: dict[str, Any]) -> None:
    text = json.dumps(report)
    for value in (*NAMES, *FREE_TEXTS):
        assert json.dumps(value) in text
        text = text.replace(json.dumps(value), json.dumps(HOSTILE + value))
    dom = Dom(page.render(json.loads(text)))
    assert not dom.all("script")
    whole = dom.elements[0].text
    assert all(HOSTILE + value in whole for value in (*NAMES, *FREE_TEXTS))
    assert any(HOSTILE in svg.text for svg in dom.all("svg"))
    assert any(HOSTILE in svg.attributes["aria-label"] for svg in dom.all("svg"))
    assert len(dom.elements) == len(Dom(page.render(report)).elements)


def test_the_simulated_task_is_marked_wherever_it_shows(report: dict[str, Any]) -> None:
    dom = Dom(page.render(report))
    rows = [row for row in dom.all("tr", "article") if "risk" in row.text.casefold()]
    assert len(rows) >= 5
    assert all("simulated" in row.text for row in rows)
    pictures = [svg for svg in dom.all("svg") if "risk" in svg.text]
    assert pictures
    assert all("risk (simulated)" in svg.text for svg in pictures)


def test_it_admits_a_model_below_its_baseline_and_a_wrong_digest(report: dict[str, Any]) -> None:
    dom = Dom(page.render(report))
    assert "reaches 0.777: the published model does not beat it" in dom.section("learned")
    assert "reaches 0.597: the published model does better" in dom.section("learned")
    (forecast, risk) = [card for card in dom.all("article") if "The file’s digest" in card.text]
    assert "digest is the published one" in forecast.text
    assert "digest is not the published one" in risk.text


def test_a_failed_audit_and_a_run_without_rejections_read_as_such(report: dict[str, Any]) -> None:
    report["audit"] = {**report["audit"], "verdict": "fail"}
    report["audit"]["checks"][1] |= {"status": "not-reached", "detail": "needs check bundle_format"}
    report["proofs"]["rejected"] = []
    dom = Dom(page.render(report))
    assert "The auditor’s verdict: fail" in dom.section("audit")
    assert "not-reached" in dom.section("audit")
    assert "No update was rejected" in dom.section("rejected")


@pytest.fixture
def browser() -> str:
    found = chromium.program()
    if found is None:
        pytest.skip(f"none of {', '.join(chromium.PROGRAMS)} is installed")
    return found


def test_a_real_browser_shows_the_whole_story(report: dict[str, Any], browser: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page.render(report), encoding="utf-8")
    command = [
        browser,
        *chromium.OPTIONS,
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        file.as_uri(),
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    dom = Dom(shown)

    levels = [int(element.tag[1]) for element in dom.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    headings = [element.text for element in dom.all("h2")]
    assert len(headings) == 10
    assert "One update was rejected" in headings
    assert "The auditor’s verdict: pass" in headings

    for name in NAMES:
        assert name in dom.section("who")
    for fact in ("studio-lumen", "Round 1 of run forecast-drill", "constraint_identity", "harbour-retail"):
        assert fact in dom.section("rejected")

    pictures = dom.all("svg")
    assert len(pictures) == 9  # how, outcomes, two for each task, three for the cost
    assert all(
        svg.attributes.get("role") == "img" and svg.attributes.get("aria-label", "").strip()
        for svg in pictures
    )
    identifiers = [element.attributes["id"] for element in dom.elements if "id" in element.attributes]
    assert len(identifiers) == len(set(identifiers))

    assert not dom.all("script", "iframe", "object", "embed", "base")
    assert not re.search(r"(?i)\b(?:https?|wss?|ftp):|@import|url\(\s*['\"]?//", shown)
    addresses = {element.attributes.get(name) for element in dom.elements for name in ("src", "href")}
    assert addresses <= {None, "data:,"}
