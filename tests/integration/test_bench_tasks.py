"""`make bench-tasks` on a few records: what is measured, judged and shown, not the figures themselves."""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from deploy.bench.tasks import __main__ as bench
from deploy.bench.tasks import forecast, report, risk
from deploy.bench.tasks.figures import GOALS, Goal, summary, verdicts
from intertwine.models.series import Series
from intertwine.models.sweep import Place, sweep
from tests.toy import federation_baselines, federation_cell, federation_examples

EPSILONS = (1.0, 3.0)


@pytest.fixture
def evaluation_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small extract in the real format: network-reachable CVEs are the exploited ones, mostly."""
    monkeypatch.setenv("INTERTWINE_DATA", str(tmp_path))
    monkeypatch.setattr(risk, "PUBLIC_ROWS", 100)
    caches = (risk._extract, risk._task, risk._held_out, risk._folds, risk._later)
    for cache in caches:
        cache.cache_clear()
    yield tmp_path
    for cache in caches:
        cache.cache_clear()


def write_extract(folder: Path, rows: int = 700) -> None:
    generator = np.random.default_rng(5)
    header = [
        *("cve", "published", "vendor", "cvss_version", "cvss_vector", "cwe"),
        *("ssvc_automatable", "ssvc_technical_impact", "kev"),
    ]
    lines = []
    for number in range(rows):
        exploited = generator.random() < 0.15
        reach = "N" if generator.random() < (0.9 if exploited else 0.4) else "L"
        vector = f"CVSS:3.1/AV:{reach}/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:{generator.choice(['H', 'N'])}"
        date = f"202{number % 4}-03-0{1 + number % 9}"
        lines.append([f"CVE-2021-{10_000 + number}", date, f"vendor {number % 40}", "cvssV3_1", vector])
        lines[-1] += ["CWE-79", "yes", "total", str(int(exploited))]
    lines.append(["CVE-2021-99999", "", "vendor 1", "", "", "", "", "", "0"])
    save(folder / "security_vulnrichment" / "vulnrichment_2024-10-24.csv.gz", [header, *lines])
    known = [line[0] for line in lines if line[-1] == "1"] + [lines[3][0], lines[12][0], lines[21][0]]
    catalogue = [[name, "2025-01-01"] for name in sorted(set(known))]
    save(folder / "security_kev" / "cisa_kev_2025-08-25.csv.gz", [["cveID", "dateAdded"], *catalogue])


def save(path: Path, rows: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    path.parent.mkdir()
    path.write_bytes(gzip.compress(text.getvalue().encode()))


def test_a_figure_is_a_mean_with_an_interval_over_seeds() -> None:
    cells = [
        {"a": 1.0, "b": 5.0, "b_low": 4.0, "b_high": 6.0},
        {"a": 3.0, "b": 7.0, "b_low": 5.0, "b_high": 8.0},
    ]
    found = summary(cells)
    assert found["a"] == 2.0
    assert (found["a_low"], found["a_high"]) == pytest.approx((2 - 12.706, 2 + 12.706))
    assert (found["b"], found["b_low"], found["b_high"]) == (6.0, 4.5, 7.0)
    assert set(found) == {"a", "a_low", "a_high", "b", "b_low", "b_high"}


@pytest.mark.parametrize(
    ("goal", "passed"),
    [
        (Goal(("t", "3", "a"), 0.5), True),
        (Goal(("t", "3", "a"), 0.51), False),
        (Goal(("t", "3", "a"), 0.5, least=False), True),
        (Goal(("t", "3", "a"), 0.2, over="base"), True),
        (Goal(("t", "3", "a"), 0.21, over="base"), False),
        (Goal(("t", "3", "missing"), 0.0), None),
        (Goal(("t", "3", "a"), 0.0, over="missing"), None),
        (Goal(("other", "3", "a"), 0.0), None),
    ],
)
def test_a_goal_is_judged_by_the_mean(goal: Goal, passed: bool | None) -> None:
    verdict = goal.verdict({"t": {"3": {"a": 0.5, "base": 0.3}}, "other": {"missing": "no data"}})
    assert (None if verdict is None else verdict.passed) == passed


def test_coverage_counts_ties_by_their_share() -> None:
    label = np.array([True, False, True, False, False, False, False, False, False, False])
    assert risk.coverage(np.arange(10.0)[::-1], label, 0.1) == 0.5
    assert risk.coverage(np.array([5.0] * 4 + [1.0] * 6), label, 0.2) == 0.5
    assert risk.coverage(np.zeros(10), label, 0.3) == pytest.approx(0.3)


def test_the_interval_of_an_auc_holds_it_as_often_as_it_says() -> None:
    generator, held = np.random.default_rng(1), 0
    label = np.arange(120) < 40
    truth = 0.7602  # of two normal distributions one deviation apart
    for _ in range(400):
        low, high = risk.auc_interval(generator.normal(size=120) + label, label)
        held += low <= truth <= high
    assert 0.92 < held / 400 < 0.98


def test_a_sweep_has_every_cell_whatever_finishes_first() -> None:
    seen: list[Place] = []
    found = sweep({"toy": federation_cell}, EPSILONS, (1, 2), processes=1, done=seen.append)
    assert list(found) == [Place("toy", epsilon, seed) for epsilon in EPSILONS for seed in (1, 2)]
    assert sorted(seen, key=list(found).index) == list(found)
    assert found[Place("toy", 3.0, 2)] == federation_cell(3.0, 2)
    assert found[Place("toy", 3.0, 1)] != found[Place("toy", 3.0, 2)]


def test_the_risk_section_on_a_small_extract(evaluation_data: Path) -> None:
    assert risk.missing().startswith("vulnrichment_2024-10-24.csv.gz and cisa_kev")
    write_extract(evaluation_data)
    assert risk.missing() == ""
    extract = risk._extract()
    assert len(extract.records) == 700  # the row without a date is left out
    assert (extract.owner == -1).sum() == 100
    assert not extract.records.exploited[extract.owner < 0].any()
    found, baselines = risk.cell(8.0, 1), risk.baselines()
    assert risk.cell(8.0, 1) == found
    assert 0.0 < found["epsilon"] <= 8.0
    assert 0.0 < found["class_sum_epsilon"] <= 8.0
    assert baselines["central_auc"] > 0.6
    assert 0.0 < baselines["later_exploited"] <= 3
    wanted = {f"{view}{name}" for view in ("", "cv_") for name in ("auc", "coverage_at_10", "class_sum_auc")}
    assert wanted | {"later_auc", "later_auc_low", "later_auc_high"} <= set(found)
    named = {f"{view}{who}_auc" for view in ("", "cv_") for who in ("cvss", "central", "local_only")}
    assert named | {"later_cvss_auc"} <= set(baselines)


def test_no_test_row_is_trained_on_and_none_is_tested_twice(evaluation_data: Path) -> None:
    write_extract(evaluation_data)
    tested = [name for trial in risk._folds(1) for name in trial.test.ids]
    assert len(tested) == len(set(tested)) == 600
    for trial in risk._folds(1):
        trained = {
            name for held in trial.held for name, test in zip(held.ids, held.test, strict=True) if not test
        }
        assert not trained & set(trial.test.ids)


def test_the_forecast_section_on_a_few_series(monkeypatch: pytest.MonkeyPatch) -> None:
    every = forecast.pooled()
    few = Series(every.skus[:12], every.first_week, every.units[:12, -64:])
    monkeypatch.setattr(forecast, "pooled", lambda: few)
    halves = tuple(forecast._taken(few, np.arange(start, start + 6)) for start in (0, 6))
    monkeypatch.setattr(forecast, "shops", lambda: halves)
    forecast._cohort.cache_clear()
    found, baselines, example = forecast.cell(8.0, 1), forecast.baselines(), forecast.example()
    forecast._cohort.cache_clear()
    assert found["delta"] == pytest.approx(found["wape"] - baselines["median8_wape"])
    assert found["delta_low"] <= found["delta"] <= found["delta_high"]
    assert found["control_wape"] > 0
    assert baselines["participants"] == 2
    assert {"local_only_wape", "nonprivate_wape", "seasonal_naive_wape"} <= set(baselines)
    assert (len(example["units"]), len(example["ahead"])) == (forecast.SHOWN_WEEKS, 12)
    assert all(low <= high for low, high in zip(example["low"], example["high"], strict=True))


def test_every_shop_and_family_is_dealt_once() -> None:
    shops = forecast.shops()
    assert len(shops) >= 10
    assert sorted(sku for shop in shops for sku in shop.skus) == sorted(forecast.pooled().skus)
    families = [{sku[: forecast.FAMILY] for sku in shop.skus} for shop in shops]
    assert sum(map(len, families)) == len(set().union(*families))


def test_the_report_says_what_is_missing_and_draws_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "MEASURES", {"onnx": lambda: {"risk": {"p50_ms": 0.5}}})
    sections = {
        "recommendation": bench.Section(federation_cell, federation_baselines, federation_examples),
        "risk": bench.Section(federation_cell, federation_baselines, missing=lambda: "<nothing> there"),
    }
    found = bench.run(sections, EPSILONS, 2, 1, Console(quiet=True))
    figures, page = bench.write(found, tmp_path)
    assert json.loads(figures.read_text()) == found
    assert found["risk"] == {"missing": "<nothing> there"}
    assert found["recommendation"]["3"]["naive"] == 0.25
    assert found["recommendation"]["3"]["hr10_hybrid_low"] < found["recommendation"]["3"]["hr10_hybrid"]
    assert found["simulator"]["cells"] == 4
    html = page.read_text()
    for text in (
        "risk: not measured. &lt;nothing&gt; there.",
        "&lt;one&gt;",
        "HR@10 with the own model",
        "0.2500",
    ):
        assert text in html
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "")
    assert html.count('class="whisker"') == 2
    shown = Console(width=200, record=True, file=io.StringIO())
    shown.print(report.table(found))
    assert "recommendation hr10_hybrid" in shown.export_text()
    assert [verdict.title for verdict in verdicts(found)] == [
        "onnx risk",
        "simulator",
    ]  # the others lack a figure


def test_goals_are_about_figures_that_are_measured() -> None:
    assert {goal.path[0] for goal in GOALS} == {*bench.SECTIONS, *bench.MEASURES, "simulator"}
