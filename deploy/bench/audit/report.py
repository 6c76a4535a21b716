"""The figures for people: a line for each, those with a goal beside it and beside a baseline, and a page."""

from collections.abc import Iterator

from deploy.bench.audit.parts import BASELINES
from deploy.bench.cases import Row
from deploy.bench.chart import Bar, Group, draw
from deploy.bench.report import Verdict, amount, render_page

NAMES = {
    "seconds_native": "audit of the bundle",
    "seconds_one_by_one": "its proofs one by one, one process",
    "seconds_independent_per_proof": "a proof by py_ecc",
    "peak_mb": "memory, all processes",
    "bundle_mb": "bundle",
    "log_mb": "long log's bundle",
    "log_seconds": "long log, file to root",
    "log_audit_seconds": "audit of the long log",
    "log_peak_mb": "memory, long log",
    "inclusion_proof_us": "inclusion proof",
    "inclusion_check_us": "inclusion proof, check",
    "consistency_proof_us": "consistency proof",
    "consistency_check_us": "consistency proof, check",
    "root_from_leaves_us": "root from all leaves",
}
"""What to call each figure, in the order of the table."""


def lines(row: Row) -> Iterator[str]:
    """What was audited, then figures that have a goal, then the others."""
    yield scope(row)
    for verdict, baseline in compared(row):
        yield f"{verdict}; {baseline}"
    for key, name in NAMES.items():
        if key not in row["goals"] and key not in BASELINES.values():
            yield f"      {name}: {amount(key, row[key])}"


def scope(row: Row) -> str:
    """What was audited, in words."""
    return (
        f"{row['proofs']:,} proofs of {row['rounds']:,} rounds of {row['participants']:,} participants, "
        f"by {row['workers']} processes; a log of {row['log_entries']:,} entries."
    )


def compared(row: Row) -> Iterator[tuple[Verdict, str]]:
    """Every goal, with the baseline in words."""
    for key, goal in row["goals"].items():
        plain = BASELINES[key]
        verdict = Verdict("audit", NAMES[key], amount(key, row[key]), amount(key, goal), row[key] <= goal)
        yield verdict, f"{NAMES[plain]} {amount(plain, row[plain])}"


def render(row: Row) -> str:
    """The page."""
    return render_page(
        "audit/page.html",
        scope=scope(row),
        figures=[(name, amount(key, row[key])) for key, name in NAMES.items()],
        compared=list(compared(row)),
        picture=_picture(row),
        sample=row["independent_sample"],
        load=row["load_before"],
    )


def _picture(row: Row) -> str:
    """For each figure with a goal, its bar above that of its baseline."""
    groups = [
        Group(
            NAMES[key],
            [
                Bar("prove", _seconds(key, row[key]), amount(key, row[key]), _seconds(key, goal)),
                Bar("train", _seconds(plain, row[plain]), amount(plain, row[plain])),
            ],
        )
        for key, goal in row["goals"].items()
        for plain in [BASELINES[key]]
    ]
    words = "; ".join(f"{verdict}; {baseline}" for verdict, baseline in compared(row))
    return draw(groups, f"Wall time. {words}.")


def _seconds(key: str, value: float) -> float:
    return value / 1e6 if key.endswith("_us") else value
