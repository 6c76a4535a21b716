"""The figures for people: a table for the terminal, and a page with pictures, made from tasks.json alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from rich.table import Table

from deploy.bench.report import render_page
from deploy.bench.tasks.figures import Report, number, verdicts
from deploy.bench.tasks.pictures import Point, epsilon_chart, forecast_chart
from deploy.demo.charts import Level


@dataclass(frozen=True)
class Chart:
    """One figure of a section against epsilon. levels: baselines by their keys, and what to call them."""

    section: str
    figure: str
    title: str
    levels: Mapping[str, str]


CHARTS = (
    Chart(
        "risk",
        "auc",
        "Risk: AUC on held-out vulnerabilities",
        {"cvss_auc": "CVSS", "local_only_auc": "each alone", "central_auc": "without noise"},
    ),
    Chart(
        "risk",
        "cv_auc",
        "Risk: AUC, cross-validated",
        {"cv_cvss_auc": "CVSS", "cv_local_only_auc": "each alone", "cv_central_auc": "without noise"},
    ),
    Chart(
        "risk",
        "coverage_at_10",
        "Risk: exploited among the riskiest 10%",
        {
            "cvss_coverage_at_10": "CVSS",
            "local_only_coverage_at_10": "each alone",
            "central_coverage_at_10": "without noise",
        },
    ),
    Chart(
        "forecast",
        "wape",
        "Forecast: WAPE, lower is better",
        {"median8_wape": "median of 8", "local_only_wape": "each alone", "nonprivate_wape": "without noise"},
    ),
    Chart(
        "recommendation",
        "hr10_dp_pop_content",
        "Recommendation: HR@10, shared part",
        {"hr10_popularity": "popularity"},
    ),
    Chart(
        "recommendation",
        "hr10_hybrid",
        "Recommendation: HR@10 with the own model",
        {"hr10_local_ease": "own model alone"},
    ),
    Chart("recommendation", "small_merchant_gain", "Recommendation: gain of small merchants", {}),
)


def table(report: Report) -> Table:
    """A line for each figure of each section that was measured by epsilon, with its interval."""
    epsilons = _epsilons(report)
    shown = Table("figure", *(f"ε = {epsilon}" for epsilon in epsilons), box=None, pad_edge=False)
    for section, figures in _sections(report):
        for name in _named(figures[epsilons[0]]):
            shown.add_row(f"{section} {name}", *(interval(figures[epsilon], name) for epsilon in epsilons))
    return shown


def render(report: Report) -> str:
    """The page."""
    return render_page(
        "tasks/page.html",
        report=report,
        missing={name: part["missing"] for name, part in _parts(report) if "missing" in part},
        verdicts=verdicts(report),
        charts=[(chart.title, _picture(chart, report)) for chart in CHARTS if _drawable(chart, report)],
        example=_forecast_example(report),
        baskets=report.get("examples", {}).get("recommendation", []),
        epsilons=_epsilons(report),
        sections=[
            (
                section,
                [
                    (name, [interval(figures[epsilon], name) for epsilon in figures])
                    for name in _named(next(iter(figures.values())))
                ],
            )
            for section, figures in _sections(report)
        ],
        others=[
            (f"{section} {name}", number(value))
            for section in ("speed", "simulator")
            for name, value in report.get(section, {}).items()
        ]
        + [
            (f"onnx {model} {name}", number(value))
            for model, figures in report.get("onnx", {}).items()
            for name, value in figures.items()
        ],
    )


def interval(figures: Mapping[str, float], name: str) -> str:
    """A figure, and its interval if it has one."""
    text = number(figures[name])
    if f"{name}_low" not in figures:
        return text
    return f"{text} ({number(figures[f'{name}_low'])} to {number(figures[f'{name}_high'])})"


def _named(figures: Mapping[str, float]) -> list[str]:
    """The figures without the ends of their intervals."""
    ends = {f"{name}{end}" for name in figures for end in ("_low", "_high")}
    return [name for name in figures if name not in ends]


def _parts(report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from ((name, part) for name, part in report.items() if isinstance(part, dict))


def _sections(report: Report) -> Iterator[tuple[str, Mapping[str, Mapping[str, float]]]]:
    """What was measured by epsilon."""
    names = dict.fromkeys(chart.section for chart in CHARTS)
    yield from ((name, report[name]) for name in names if _has(report, name))


def _has(report: Report, section: str) -> bool:
    return "missing" not in report.get(section, {"missing": ""})


def _epsilons(report: Report) -> list[str]:
    return next((list(figures) for _, figures in _sections(report)), [])


def _drawable(chart: Chart, report: Report) -> bool:
    return _has(report, chart.section) and all(
        chart.figure in figures for figures in report[chart.section].values()
    )


def _picture(chart: Chart, report: Report) -> Markup:
    figures: Mapping[str, Mapping[str, float]] = report[chart.section]
    points = [
        Point(
            float(epsilon), found[chart.figure], found[f"{chart.figure}_low"], found[f"{chart.figure}_high"]
        )
        for epsilon, found in figures.items()
    ]
    base = next(iter(figures.values()))
    levels = [Level(name, base[key], "baseline") for key, name in chart.levels.items() if key in base]
    words = [f"{point.mean:.3f} at epsilon {point.epsilon:g}" for point in points]
    words += [f"{level.name} {level.value:.3f}" for level in levels]
    return epsilon_chart(points, levels, f"{chart.title}: {', '.join(words)}.")


def _forecast_example(report: Report) -> Markup | None:
    found = report.get("examples", {}).get("forecast")
    if found is None:
        return None
    tested = found["units"][-len(found["low"]) :]
    held = sum(
        low <= units <= high for low, units, high in zip(found["low"], tested, found["high"], strict=True)
    )
    words = f"Product {found['sku']}: the band held {held} of {len(found['low'])} weeks."
    return forecast_chart(found, words)
