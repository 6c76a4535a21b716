"""The report page: one HTML file without scripts or addresses, made from report.json alone.

The words stand in page.html, the pictures are drawn by charts.py; here is what the figures mean in words.
Every string of the report is escaped, by Jinja's autoescaping and by Markup.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from deploy.demo.charts import Level, level_chart, line_chart, outcome_chart, strip_chart

Json = Mapping[str, Any]

EPSILON_WITHOUT_MEANING = 20.0
"""Above this, odds may change by more than e^20 ≈ 5 × 10^8: the figure is a bound, not a protection."""
PARITY_LIMIT = 1e-5
"""How far ONNX Runtime may be from the training framework."""
FEW_ROUNDS = 3
"""With fewer rounds a curve says nothing; before and after are shown instead."""


@dataclass(frozen=True)
class Assurance:
    """How a figure is known. kind: proven or attested, and its style class; scope, whom: what it protects."""

    kind: str
    scope: str
    whom: str

    @property
    def label(self) -> str:
        """What stands beside every figure of this assurance, and of no other."""
        return f"{self.kind.capitalize()} · {self.scope}"


FRESH_NOISE = "Each round adds fresh noise."
AVERAGED = f"{FRESH_NOISE} The published model averages the last rounds and need not lie on the curve."
LAST = f"{FRESH_NOISE} The published model is that of the last round."

ASSURANCES = {
    "proven-record": Assurance("proven", "per record", "a single record"),
    "proven-participant": Assurance("proven", "whole participant", "the participant as a whole"),
    "attested-record": Assurance("attested", "per record", "a single record"),
}

ROLES = {
    "retailer": "Retailer",
    "creator": "Creator",
    "smb": "Small or medium business",
    "security": "Security team",
}

RELEASE_CHECKS = {
    "proof_length": "the proof has not the length that its statement calls for",
    "point_encoding": "a point of the proof is not a valid element of the group",
    "scalar_canonical": "a number in the proof is out of range",
    "constraint_identity": "the equations that tie the update to what was committed to before do not hold",
    "opening_pairing": "the values in the proof do not belong to what was committed to",
    "update_range": "an entry of the update is larger than allowed",
    "update_digest": "the update is not the one announced in the log",
    "proof_digest": "the proof is not the one announced in the log",
}
"""What it means that a check said no, for those a participant can fail."""

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def render(report: Json) -> str:
    """The page for a report of version `intertwine/demo-report/v2`.

    Raises jinja2.UndefinedError or KeyError if a field is missing.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "epsilon": epsilon,
        "scientific": scientific,
        "duration": duration,
        "spell": spell,
        "role": lambda role: ROLES.get(role, role),
        "listing": listing,
    }
    return environment.get_template("page.html").render(
        report=report,
        tasks=[_task(report, name) for name in report["tasks"]],
        privacy=_privacy(report),
        rejected=[_rejected(report, row) for row in report["proofs"]["rejected"]],
        outcomes=_outcomes(report),
        costs=_costs(report),
        models=[_model(report, name) for name in report["onnx"]],
        predictions=[_prediction(report, row) for row in report["predictions"]],
        bound=[name for name, task in report["tasks"].items() if _is_data_bound(task)],
        passed=report["audit"]["verdict"] == "pass",
    )


def epsilon(value: float) -> str:
    """An epsilon in words; infinity is "∞ (no bound)"."""
    if math.isinf(value):
        return "∞ (no bound)"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def scientific(value: float) -> str:
    """A small number as 3 × 10⁻⁷; zero and numbers from 0.01 up as they are."""
    if value == 0 or value >= 0.01:
        return f"{value:.2g}"
    exponent = math.floor(math.log10(value))
    digits = f"{value / 10**exponent:.1f}".removesuffix(".0")
    power = "10" + str(exponent).translate(_SUPERSCRIPTS)
    return power if digits == "1" else f"{digits} × {power}"


def duration(seconds: float) -> str:
    """Seconds as minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def spell(count: int) -> str:
    """Small numbers in words, as running text has them."""
    return _NUMBERS[count] if count < len(_NUMBERS) else f"{count:,}"


def listing(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _titled(report: Json, task: str) -> str:
    """A task's name for places where no tag fits, with the word simulated if its data are."""
    return f"{task} (simulated)" if task in report["simulated"] else task


def _task(report: Json, name: str) -> Json:
    task = report["tasks"][name]
    metric = task["metric"]
    sign = 1 if metric["higher_is_better"] else -1
    return {
        **task,
        "name": name,
        "simulated": name in report["simulated"],
        "improved": sign * (metric["final"] - metric["initial"]) > 0,
        "beats_baseline": sign * (metric["final"] - metric["baseline"]) > 0,
        "participants": [who["name"] for who in report["participants"] if name in who["tasks"]],
        "assurances": _assurances(task),
        "caption": _caption(task),
        "metric_picture": _metric_picture(_titled(report, name), task),
        "loss_picture": _loss_picture(_titled(report, name), task),
    }


def _caption(task: Json) -> str:
    if task["rounds"] < FEW_ROUNDS:
        return ""
    return AVERAGED if task["average_last"] > 1 else LAST


def _is_data_bound(task: Json) -> bool:
    """Whether its updates follow from enrolled records."""
    return bool(task["mechanism"]["statement"] != "release")


def _assurances(task: Json) -> list[Assurance]:
    """What the statement of its runs can show."""
    names = ["proven-record"] if _is_data_bound(task) else ["proven-participant", "attested-record"]
    return [ASSURANCES[name] for name in names]


def _metric_picture(title: str, task: Json) -> Markup:
    metric = task["metric"]
    few = task["rounds"] < FEW_ROUNDS
    levels = [
        Level("before training" if few else "initial", metric["initial"], "before"),
        Level("published model" if few else "published", metric["final"], "after"),
        Level(f"baseline: {metric['baseline_name']}" if few else "baseline", metric["baseline"], "baseline"),
    ]
    figures = ", ".join(f"{level.name} {level.value:.3f}" for level in levels)
    alternative = f"{title}: {metric['name']}; {figures}."
    if few:
        return level_chart(levels, alternative)
    points = [(point["round"], point["metric"]) for point in task["history"]]
    return line_chart(points, levels, f"{alternative} {_course(points)}")


def _loss_picture(title: str, task: Json) -> Markup:
    points = [(point["round"], point["loss"]) for point in task["history"]]
    (_, first), (_, last) = points[0], points[-1]
    if task["rounds"] < FEW_ROUNDS:
        levels = [Level("before training", first, "before"), Level("after the last round", last, "after")]
        return level_chart(levels, f"{title}: loss before training {first:.3f}, after {last:.3f}.")
    levels = [Level("initial", first, "before"), Level("last round", last, "last")]
    return line_chart(points, levels, f"{title}: loss on held-out records. {_course(points)}")


def _course(points: Sequence[tuple[int, float]]) -> str:
    return "By round: " + ", ".join(f"{number}: {value:.3f}" for number, value in points) + "."


def _privacy(report: Json) -> list[Json]:
    """One block for each assurance that occurs, proven ones first: a proven and an attested row never mix."""
    blocks: list[Json] = []
    for name, assurance in ASSURANCES.items():
        rows = [row for row in report["privacy"] if row["assurance"] == name]
        if rows:
            blocks.append(
                {
                    "id": name,
                    "kind": assurance.kind,
                    "label": assurance.label,
                    "whom": assurance.whom,
                    "per_record": assurance.scope == "per record",
                    "adjacency": listing(list(dict.fromkeys(row["adjacency"] for row in rows))),
                    "rows": [_privacy_row(report, row, assurance) for row in rows],
                    "meaningless": any(_without_meaning(row) for row in rows),
                }
            )
    return blocks


def _privacy_row(report: Json, row: Json, assurance: Assurance) -> Json:
    """A figure without bound is not called proven or attested: nothing about it is."""
    unbounded = math.isinf(row["epsilon"])
    return {
        **row,
        "kind": "rejected" if unbounded else assurance.kind,
        "label": f"No guarantee · {assurance.scope}" if unbounded else assurance.label,
        "simulated": row["task"] in report["simulated"],
        "unbounded": unbounded,
        "reading": _reading(row, assurance),
    }


def _reading(row: Json, assurance: Assurance) -> str:
    if math.isinf(row["epsilon"]):
        return "No bound: a release came without a valid proof, so nobody vouches for what it tells."
    if _without_meaning(row):
        return f"No meaningful protection of {assurance.whom}."
    if assurance.kind == "attested":
        return "Holds if the participant clipped every record as it says."
    if assurance.scope == "per record":
        return "Holds by proof, for a record as it was enrolled."
    return "Holds by proof."


def _without_meaning(row: Json) -> bool:
    """Finite, but too large to protect, or swallowed by what finite precision adds to delta."""
    finite = not math.isinf(row["epsilon"])
    return finite and (row["epsilon"] > EPSILON_WITHOUT_MEANING or row["precision_delta"] >= row["delta"])


def _rejected(report: Json, row: Json) -> Json:
    """A rejected update with what its round did without it."""
    same = [
        other for other in report["rounds"] if (other["run"], other["round"]) == (row["run"], row["round"])
    ]
    return {
        **row,
        "staged": row["run"].endswith("-drill"),
        "simulated": row["task"] in report["simulated"],
        "meaning": RELEASE_CHECKS.get(
            row["check"], "a condition that every accepted update meets does not hold"
        ),
        "others": [name for other in same for name in other["accepted"]],
    }


def _outcomes(report: Json) -> Markup:
    rounds = report["rounds"]
    labels = {
        row["run"]: row["run"] + (" (simulated)" if row["task"] in report["simulated"] else "")
        for row in rounds
    }
    accepted = sum(len(row["accepted"]) for row in rounds)
    lost = [
        f"{name} {outcome} in {row['run']}, round {row['round']}"
        for row in rounds
        for outcome in ("rejected", "aborted")
        for name in row[outcome]
    ]
    alternative = (
        f"Outcome of every update: {accepted} accepted; {listing(lost) or 'none rejected or aborted'}."
    )
    return outcome_chart(rounds, labels, alternative)


def _costs(report: Json) -> list[Json]:
    """Three pictures: seconds to prove, milliseconds to verify, kilobytes."""
    return [
        _cost(report, "Making a proof", "prove_s", 1.0, "s", 2),
        _cost(report, "Verifying a proof", "verify_s", 1000.0, "ms", 0),
        _cost(report, "Size of a proof", "bytes", 0.001, "kB", 1),
    ]


def _cost(report: Json, title: str, field: str, factor: float, unit: str, places: int) -> Json:
    rows = []
    for name, figures in report["proofs"]["by_task"].items():
        values = [value * factor for value in figures[field]]
        note = f"median {statistics.median(values):,.{places}f} {unit}" if values else "none"
        rows.append((f"{_titled(report, name)} · d = {figures['dimension']:,}", values, note))
    summary = "; ".join(f"{name}: {len(values)} proofs, {note}" for name, values, note in rows)
    return {"title": title, "unit": unit, "picture": strip_chart(rows, f"{title}, in {unit}. {summary}.")}


def _model(report: Json, task: str) -> Json:
    model = report["onnx"][task]
    return {
        **model,
        "task": task,
        "simulated": task in report["simulated"],
        "agrees": model["max_abs_difference"] <= PARITY_LIMIT,
    }


def _prediction(report: Json, row: Json) -> Json:
    published = report["onnx"].get(row["task"], {}).get("sha256")
    return {
        **row,
        "simulated": row["task"] in report["simulated"],
        "as_published": row["sha256"] == published,
    }
