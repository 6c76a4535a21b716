"""The report as one page that can be filed: HTML without scripts, and without anything from elsewhere.

All texts may come from an untrusted bundle: `markup` escapes and bounds whatever goes in.
"""

import math
from collections import defaultdict
from importlib import resources

from intertwine.protocols.accounting import Assurance, Guarantee
from intertwine.zk.audit import report_sections as sections
from intertwine.zk.audit.markup import Content, Html, element, join
from intertwine.zk.audit.report import Report, StatementReport, Versions
from intertwine.zk.audit.report_parts import (
    facts,
    listed,
    paragraph,
    rest,
    rounded_up,
    section,
    small,
    table,
    when,
    whole,
)
from intertwine.zk.audit.verdict import CHECKS, CheckResult, Status, Verdict
from intertwine.zk.audit.wording import ASSURANCES, no_protection, reading
from intertwine.zk.privacy import ALL_TASKS, PrivacyRow

_CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_SIGNS = {
    Status.PASSED: ("✓ pass", "good"),
    Status.FAILED: ("✗ FAIL", "bad"),
    Status.NOT_REACHED: ("– not reached", "mid"),
}
_MODES = {
    "M1": "the coordinator fixes a nonce before the commits and reveals it after them: safe against a "
    "participant alone and against the coordinator alone, not against both together"
}


def render(verdict: Verdict, command: str, made: int) -> bytes:
    """The page, UTF-8. command: what to type to get it again; made: when, in seconds since 1970."""
    word = "PASS" if verdict.passed else "FAIL"
    origin = verdict.report.scope.origin if verdict.report else "a bundle"
    parts = _sections(verdict, command)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_CSP),
        Html('<link rel="icon" href="data:,">'),
        element("title", f"Audit report: {word}, {origin}"),
        Html(f"<style>\n{_style()}</style>"),
    )
    body = element(
        "body",
        element("header", _opening(verdict, made), _contents(parts)),
        element("main", *parts.values()),
        element("footer", paragraph(_COLOPHON, kind="small")),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n".encode()


_COLOPHON = (
    "Made from a bundle's files alone, by intertwine audit verify. The same figures are in the JSON document "
    "that --json writes, with a schema. No script, no network: this file is all there is."
)
_UNCONFIRMED = "The verdict is a fail: these figures are what the log would give, and none is confirmed."


def _style() -> str:
    return resources.files(__package__).joinpath("report_page.css").read_text(encoding="utf-8")


def _sections(verdict: Verdict, command: str) -> dict[str, Html]:
    """The page's parts, by the title of each."""
    parts = {"What was checked": _checks(verdict)}
    report = verdict.report
    if report is not None:
        parts = {"Scope": section("scope", "Scope", facts(sections.scope(report))), **parts}
        parts["What the proofs say, and what they do not"] = _statements(report)
    if verdict.privacy:
        parts["Privacy"] = _privacy(verdict)
    if report is not None:
        parts["Rounds, rejections and aborts"] = sections.rounds(report)
        parts["Where each model comes from"] = sections.lineage(report, verdict)
        parts["Participants and their records"] = sections.participants(report)
        parts["Signatures and keys"] = sections.keys(report)
    parts["How to check this report"] = _reproduce(command, report)
    if report is not None:
        parts["Annex: every commit and release"] = sections.releases(report)
    return parts


def _contents(parts: dict[str, Html]) -> Html:
    links = (
        element("li", element("a", title, href=f"#{_identifier(part)}")) for title, part in parts.items()
    )
    return element("nav", element("ol", *links), aria_label="Contents")


def _identifier(part: Html) -> str:
    """The id of a section's heading."""
    return part.split('aria-labelledby="', 1)[1].split('"', 1)[0]


def _opening(verdict: Verdict, made: int) -> Html:
    counts = verdict.counts
    numbers = [
        ("log entries", counts.entries),
        ("rounds", counts.rounds),
        ("proofs found valid", counts.proofs_verified),
        ("rejections reproduced", counts.proofs_rejected),
    ]
    if verdict.report is not None:
        numbers.insert(1, ("participants", len(verdict.report.participants)))
        numbers.insert(2, ("runs", len(verdict.report.runs)))
    return join(
        paragraph("intertwine · audit report", kind="eyebrow"),
        element("h1", "Audit of a federation's log, proofs and models"),
        _banner(verdict),
        _key_note(verdict),
        element(
            "dl",
            *(element("div", element("dt", term), element("dd", value)) for term, value in numbers),
            class_="facts",
        ),
        paragraph(f"Made on {when(made)} UTC, by the auditor's clock.", kind="small"),
    )


def _banner(verdict: Verdict) -> Html:
    """The verdict in a word, a sign and a colour."""
    kind = "pass" if verdict.passed else "fail"
    sign = "M7 12.5l3.5 3.5L17 9" if verdict.passed else "M8 8l8 8M16 8l-8 8"
    picture = element(
        "svg",
        element("circle", cx="12", cy="12", r="10.5"),
        element("path", d=sign),
        viewBox="0 0 24 24",
        aria_hidden="true",
    )
    return element(
        "div", picture, element("div", *_verdict_words(verdict)), class_=f"verdict {kind}", role="status"
    )


def _verdict_words(verdict: Verdict) -> tuple[Html, Html]:
    if verdict.passed:
        return (
            element("strong", f"PASS: all {len(verdict.checks)} checks hold"),
            paragraph(
                "The log is whole and signed. Every accepted update carries a valid proof, made after its "
                "beacon was drawn as agreed; the models follow from these updates, and no logged release was "
                "left out.",
                _unchecked(verdict),
            ),
        )
    failed = [check for check in verdict.checks if check.status is Status.FAILED]
    names = ", ".join(f"{check.number} {check.name}" for check in failed)
    return (
        element("strong", "FAIL: this bundle is not to be trusted"),
        paragraph(
            f"Failed: {names}. What follows is what the bundle says; do not rely on it. "
            f"First: {failed[0].detail}"
            if failed
            else "No check was made."
        ),
    )


def _unchecked(verdict: Verdict) -> str:
    """Which runs the sentence before does not cover."""
    names = [run.name for run in verdict.report.runs if not run.checked] if verdict.report else []
    if not names:
        return ""
    shown = ", ".join(names[:10]) + (" and others" if len(names) > 10 else "")
    return f" That is not said of {shown}: this bundle has only their part of the log."


def _key_note(verdict: Verdict) -> Html | None:
    if not verdict.self_asserted or not verdict.log_key:
        return None
    return paragraph(
        element("strong", "Nobody but the bundle vouches for the log's key. "),
        "Until it has been compared with the one that a participant or the coordinator gives, this could be "
        "anybody's log: ",
        whole(verdict.log_key),
        kind="note",
    )


def _checks(verdict: Verdict) -> Html:
    rows = [_check_row(check) for check in verdict.checks]
    return section(
        "checks",
        "What was checked",
        paragraph(
            "In this order. A check that needs one that failed is not reached, and never counts as passed."
        ),
        table("Checks", ("No.#", "Check", "Result", "What it looks at+", "What was found+"), rows, name=1),
    )


def _check_row(check: CheckResult) -> tuple[Content, ...]:
    what = next((known.what for known in CHECKS if known.name == check.name), "")
    sign, kind = _SIGNS[check.status]
    return (
        check.number,
        element("code", check.name),
        element("span", sign, class_=f"sign {kind}"),
        what,
        check.detail,
    )


def _statements(report: Report) -> Html:
    return section(
        "statements",
        "What the proofs say, and what they do not",
        paragraph("Bounds and standard deviations are in integer units, as each run's plan scales them."),
        *map(_statement, report.statements[: sections.MAX_RUNS]),
        rest(len(report.statements) - sections.MAX_RUNS, "statement"),
        element("h3", "What no audit of a bundle shows"),
        listed(report.limits),
    )


def _statement(statement: StatementReport) -> Html:
    uses = ", ".join(statement.uses[:50])
    where = f"Records enrolled for {uses}" if statement.statement == "dataset" else f"Runs: {uses}"
    columns = (
        element("div", element("p", heading, class_="head"), listed(sentences))
        for heading, sentences in (
            ("Proven, for every valid proof", statement.proven),
            ("Not proven", statement.not_proven),
        )
    )
    return element(
        "div",
        element("h3", statement.title),
        paragraph(where, kind="small"),
        element("div", *columns, class_="pair"),
        class_="card",
    )


def _privacy(verdict: Verdict) -> Html:
    modes = [
        f"Beacon mode {mode}: {_MODES.get(mode, 'unknown to this version')}." for mode in verdict.beacon_modes
    ]
    grouped: dict[Assurance, list[PrivacyRow]] = defaultdict(list)
    for row in verdict.privacy:
        grouped[row.assurance].append(row)
    return section(
        "privacy",
        "Privacy",
        None if verdict.passed else paragraph(_UNCONFIRMED, kind="note"),
        paragraph(
            "ε bounds how well anybody can tell from everything that was ever released whether the protected "
            "data were used: near 0 hardly, above about 10 very well, ∞ without bound. δ is the probability "
            "with which the bound may fail; what the noise's finite precision adds to it follows a plus "
            "sign. All were recomputed from the log and are rounded up. Figures of different kinds say "
            "different things: each kind has a table of its own. Unverified are releases of runs whose "
            "proofs are not in the bundle. An abort may tell one chosen bit, which no figure covers."
        ),
        paragraph(
            "Adjacency zero-out: two data sets are neighbours if one comes from the other by replacing what "
            "one record, or one participant, contributes by zero. Figures hold against all whose computing "
            "power is bounded, on condition of the beacon. " + " ".join(modes)
        ),
        *(_level(level, grouped[level], verdict) for level in ASSURANCES if level in grouped),
    )


def _level(level: Assurance, rows: list[PrivacyRow], verdict: Verdict) -> Html:
    words = ASSURANCES[level]
    kind = "attested" if level is Assurance.ATTESTED_RECORD else "proven"
    modes = ", ".join(verdict.beacon_modes) or "none"
    columns = [_privacy_columns(row, modes) for row in rows]
    if not any(row.unverified_releases for row in rows):
        columns = [{name: cell for name, cell in row.items() if name != "Unverified#"} for row in columns]
    return join(
        element(
            "h3", f"{words.label} ", element("span", level.value, class_=f"badge {kind}"), id=level.value
        ),
        paragraph("Rests on: ", words.rests_on),
        table(words.label, list(columns[0]), [list(row.values()) for row in columns]),
    )


def _privacy_columns(row: PrivacyRow, modes: str) -> dict[str, Content]:
    """A row's cells by their headings."""
    figures = row.guarantee
    bad = "bad" if no_protection(row) else None
    return {
        "Participant": row.participant,
        "Task": "all together" if row.task == ALL_TASKS else row.task,
        "ε#": element("strong", rounded_up(figures.epsilon), class_=bad),
        "δ#": _delta(figures),
        "Releases#": row.releases,
        "Invalid#": row.invalid_releases,
        "Unverified#": row.unverified_releases,
        "Aborts#": row.aborts,
        "Adjacency=": row.adjacency,
        "Beacon": modes,
        "Meaning+": reading(row),
    }


def _delta(figures: Guarantee) -> str:
    if math.isinf(figures.epsilon):
        return small(figures.delta)
    return f"{small(figures.delta)} + {small(figures.precision_delta)}"


def _reproduce(command: str, report: Report | None) -> Html:
    return section(
        "reproduce",
        "How to check this report",
        paragraph(
            "Anybody with the bundle gets the same verdict, with the base installation and without a network."
        ),
        element("pre", command),
        facts(_versions(report.versions)) if report else None,
    )


def _versions(versions: Versions) -> list[tuple[str, Content]]:
    second = "used: it checked every proof as well" if versions.independent_verifier else "not used"
    return [
        ("intertwine", versions.intertwine),
        ("Proof protocol", versions.proof_protocol),
        (
            "Verifier",
            f"py_arkworks_bls12381 {versions.py_arkworks_bls12381}, python-flint {versions.python_flint}",
        ),
        ("Independent verifier", f"{second} (py_ecc {versions.py_ecc})"),
        ("Python", versions.python),
        ("Reference string", whole(versions.reference_string)),
    ]
