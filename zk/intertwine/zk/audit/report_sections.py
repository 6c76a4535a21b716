"""The report's sections on what happened: rounds, lineage of the models, who took part, every release."""

from collections.abc import Iterator

from intertwine.zk.audit.markup import Content, Html, element, join
from intertwine.zk.audit.report import (
    DatasetReport,
    Report,
    RoundEnd,
    RoundReport,
    RunReport,
    SlotEnd,
    SlotReport,
)
from intertwine.zk.audit.report_charts import MAX_ROWS, MEANINGS, mark, timeline
from intertwine.zk.audit.report_parts import (
    digest,
    facts,
    listed,
    paragraph,
    plural,
    position,
    rest,
    section,
    table,
    when,
    whole,
)
from intertwine.zk.audit.verdict import Verdict

# What keeps a page of any log below 5 MB.
MAX_RUNS = 50
_MAX_MARKS = 30_000
_MAX_ROUND_ROWS = 2000
_MAX_RELEASE_ROWS = 3000
_MAX_HEADS = 12


def rounds(report: Report) -> Html:
    """The timeline of every run, and all that did not go well."""
    marks, charts = 0, []
    for run in report.runs[:MAX_RUNS]:
        marks += sum(min(len(current.slots), MAX_ROWS) for current in run.rounds)
        if marks <= _MAX_MARKS:
            charts.append(_chart(run))
    events = [event for run in report.runs for event in _events(run)]
    headings = ("Run=", "Round#", "Participant=", "What happened", "Why+", "Log entry#")
    return section(
        "rounds",
        "Rounds, rejections and aborts",
        paragraph("One mark for every participant and round; rounds go from left to right."),
        _legend(),
        charts,
        rest(len(report.runs) - len(charts), "run"),
        element("h3", "Everything that was not accepted"),
        table("Rejections, aborts and failures", headings, events)
        if events
        else paragraph("Every slot that committed released a valid update, and no round failed."),
    )


def lineage(report: Report, verdict: Verdict) -> Html:
    """How each published model follows from what participants committed to."""
    return section(
        "lineage",
        "Where each model comes from",
        paragraph(
            "Each step names its predecessor by digest, so a model can be followed back to what its "
            "participants had committed to. Digests are SHA-256; shortened ones show in full when pointed "
            "at, and the verdict's JSON document has them all."
        ),
        *(_lineage(run, report, verdict.passed) for run in report.runs[:MAX_RUNS]),
        rest(len(report.runs) - MAX_RUNS, "run"),
    )


def participants(report: Report) -> Html:
    """Who enrolled, which records they committed to, and what the coordinator did besides."""
    members = [
        (
            member.name,
            member.role,
            ", ".join(member.tasks),
            when(member.time),
            position(member.entry),
            "active" if member.revoked is None else f"revoked: {member.revoked}",
        )
        for member in report.participants
    ]
    return section(
        "participants",
        "Participants and their records",
        paragraph("Names and roles are the coordinator's word; times are by its clock, UTC."),
        table("Participants", ("Name", "Role", "Tasks", "Enrolled=", "Log entry#", "Membership"), members),
        element("h3", "Enrolled records"),
        _datasets(report.datasets),
        _acts(report),
    )


def releases(report: Report) -> Html:
    """Every slot in which something was committed, with its digests and places in the log."""
    return section(
        "releases",
        "Annex: every commit and release",
        paragraph("Positions are those of the log's entries, counted from 0."),
        *(_releases(run, _share(_MAX_RELEASE_ROWS, report)) for run in report.runs[:MAX_RUNS]),
        rest(len(report.runs) - MAX_RUNS, "run"),
    )


def _share(rows: int, report: Report) -> int:
    """How many of so many rows each run may have."""
    return rows // min(max(1, len(report.runs)), MAX_RUNS)


def _chart(run: RunReport) -> Html:
    ended = sum(current.end is RoundEnd.MODEL for current in run.rounds)
    first = f"{ended} of {run.planned_rounds} planned rounds ended with a model"
    stopped = "; the coordinator stopped it" if run.stopped else ""
    unchecked = "" if run.checked else "; its proofs are not in the bundle: this is what the log says"
    names = {slot.participant for current in run.rounds for slot in current.slots}
    hidden = len(names) - MAX_ROWS
    return join(
        element("h3", f"Run {run.name}"),
        paragraph(
            f"Task {run.task}, statement {run.statement}, beacon mode {run.beacon_mode}; {first}{stopped}"
            f"{unchecked}.",
            kind="small",
        ),
        element("div", *timeline(run), class_="charts"),
        paragraph(f"and {plural(hidden, 'participant')} more.", kind="small") if hidden > 0 else None,
    )


def _legend() -> Html:
    entries: list[Content] = [(mark(end), meaning) for end, meaning in MEANINGS.items()]
    entries += [(element("b", "✕"), "the round failed"), (element("b", "…"), "the round had not ended")]
    return listed(
        [element("span", entry) if isinstance(entry, str) else entry for entry in entries], class_="legend"
    )


def _events(run: RunReport) -> Iterator[tuple[Content, ...]]:
    for current in run.rounds:
        for slot in current.slots:
            if slot.end in {SlotEnd.REJECTED, SlotEnd.ABORTED}:
                why = element("code", slot.check)
                kind = "bad" if slot.end is SlotEnd.REJECTED else "mid"
                what = element("span", slot.end, class_=f"sign {kind}")
                yield run.name, current.number, slot.participant, what, why, position(slot.outcome_entry)
        if current.end is RoundEnd.FAILED:
            what = element("span", "round failed", class_="sign bad")
            yield run.name, current.number, "–", what, current.failure, position(current.end_entry)


def _lineage(run: RunReport, report: Report, passed: bool) -> Html:
    steps = [
        ("Plan", f"log entry {run.entry}, {when(run.time)}", whole(run.plan)),
        ("First parameters", "named by the plan", whole(run.initial)),
        _data(run, report.datasets),
        *_middle(run),
        *_publication(run),
    ]
    flow = element(
        "ol",
        *(
            element("li", element("div", element("b", title), element("div", note, class_="small")), what)
            for title, note, what in steps
        ),
        class_="flow" if passed and run.checked else "flow unconfirmed",
    )
    ended = run.publication is not None
    if not run.checked:
        claim = "Of this run only the log was checked: its files are not in the bundle."
    elif not passed:
        claim = "This audit does not confirm the chain below: see the checks."
    else:
        claim = "This audit recomputed every sum and every parameter vector of the chain below" + (
            ", and the ONNX file." if ended else "; nothing was published."
        )
    return join(
        element("h3", f"Run {run.name}: {run.task}"),
        paragraph(claim),
        flow,
        _rounds_table(run, _share(_MAX_ROUND_ROWS, report)),
    )


_Step = tuple[str, str, Content]


def _data(run: RunReport, datasets: tuple[DatasetReport, ...]) -> _Step:
    known = {record.head: record for record in datasets}
    used = {
        (slot.participant, slot.dataset): None
        for current in run.rounds
        for slot in current.slots
        if slot.dataset
    }
    if not used:
        words = "none: with this statement each commit fixes the vector itself, not the records behind it"
        return "Committed records", "by participant", words
    lines = []
    for name, head in list(used)[:_MAX_HEADS]:
        record = known.get(head)
        size = f", {plural(record.records, 'record')}, log entry {record.entry}" if record else ""
        lines.append((f"{name}{size}: ", whole(head)))
    if len(used) > _MAX_HEADS:
        lines.append((f"and {len(used) - _MAX_HEADS} more", Html("")))
    return "Committed records", "heads of the participants' chains", listed(lines)


def _middle(run: RunReport) -> Iterator[_Step]:
    slots = [slot for current in run.rounds for slot in current.slots]
    committed = sum(slot.commit_entry is not None for slot in slots)
    ends = {end: sum(slot.end is end for slot in slots) for end in SlotEnd}
    yield (
        "Commits",
        "randomness and vector or records, fixed before the beacon",
        f"{plural(committed, 'commit')} in {plural(len(run.rounds), 'round')}",
    )
    yield (
        "Updates",
        "released after the beacon, each with its proof",
        f"{ends[SlotEnd.ACCEPTED]:,} accepted; {ends[SlotEnd.REJECTED]:,} rejected and left out; "
        f"{ends[SlotEnd.ABORTED]:,} never released",
    )
    models = [current for current in run.rounds if current.end is RoundEnd.MODEL]
    if models:
        last = models[-1]
        yield "Aggregates", f"sums of accepted updates; round {last.number}'s is", whole(last.aggregate)
        yield "Parameters", f"after round {last.number}", whole(last.parameters)


def _publication(run: RunReport) -> Iterator[_Step]:
    if run.publication is None:
        return
    published = run.publication
    yield "Published parameters", "as the plan averages them", whole(published.parameters)
    note = f"the plan's graph around them; log entry {published.entry}, {when(published.time)}"
    yield "ONNX file", note, whole(published.onnx)


def _rounds_table(run: RunReport, limit: int) -> Html:
    headings = (
        "Round#",
        "Opened=",
        "Beacon",
        "Accepted#",
        "Rejected#",
        "Aborted#",
        "Absent#",
        "Aggregate",
        "Parameters",
        "Ended",
        "Log entries#",
    )
    rows = [_round_row(current) for current in run.rounds]
    if not rows:
        return paragraph("No round was opened.")
    return table(f"Rounds of run {run.name}", headings, rows, limit=limit)


def _round_row(current: RoundReport) -> tuple[Content, ...]:
    counted = (SlotEnd.ACCEPTED, SlotEnd.REJECTED, SlotEnd.ABORTED, SlotEnd.ABSENT)
    return (
        current.number,
        when(current.time),
        digest(current.beacon) or "not drawn",
        *(current.count(end) for end in counted),
        digest(current.aggregate),
        digest(current.parameters),
        current.end,
        f"{current.entry}–{position(current.end_entry)}",
    )


def _datasets(datasets: tuple[DatasetReport, ...]) -> Html:
    if not datasets:
        return paragraph("None: no participant committed to records.")
    headings = (
        "Participant",
        "Task",
        "Document#",
        "Records added#",
        "in all#",
        "Columns#",
        "Row bound#",
        "Label",
        "Features",
        "Head",
        "Enrolled=",
        "Log entry#",
    )
    rows = [
        (
            record.participant,
            record.task,
            record.sequence,
            record.added,
            record.records,
            record.columns,
            record.row_bound,
            record.label,
            record.entries,
            digest(record.head),
            when(record.time),
            position(record.entry),
        )
        for record in datasets
    ]
    return table("Enrolled records", headings, rows)


def _acts(report: Report) -> Html | None:
    if not report.acts:
        return None
    rows = [(position(act.entry), when(act.time), act.kind, act.detail) for act in report.acts]
    headings = ("Log entry#", "Time=", "Act=", "What it says+")
    return join(element("h3", "Administrative acts"), table("Administrative acts", headings, rows))


def _releases(run: RunReport, limit: int) -> Html:
    headings = (
        "Round#",
        "Participant",
        "Outcome+",
        "Proof, as verified here",
        "Records",
        "Update",
        "Proof",
        "Commit#",
        "Release#",
        "Outcome#",
    )
    rows = [
        _release_row(current.number, slot)
        for current in run.rounds
        for slot in current.slots
        if slot.commit_entry is not None
    ]
    if not rows:
        return paragraph(f"Run {run.name}: nothing was committed.")
    return element(
        "details",
        element("summary", f"Run {run.name}: {plural(len(rows), 'commit')}"),
        table(f"Commits and releases of run {run.name}", headings, rows, limit=limit),
    )


def _release_row(number: int, slot: SlotReport) -> tuple[Content, ...]:
    verified = {True: "valid", False: "invalid", None: "–"}[slot.proof_valid]
    outcome = f"{slot.end}: {slot.check}" if slot.check else str(slot.end)
    return (
        number,
        slot.participant,
        outcome,
        verified,
        digest(slot.dataset) or "–",
        digest(slot.update) or "–",
        digest(slot.proof) or "–",
        position(slot.commit_entry),
        position(slot.release_entry),
        position(slot.outcome_entry),
    )


def scope(report: Report) -> list[tuple[str, Content]]:
    """What was audited, as terms and what they stand for."""
    about = report.scope
    return [
        ("Deployment", whole(about.deployment)),
        ("Log", about.origin),
        ("Entries", about.entries),
        ("Root (RFC 6962)", whole(about.root)),
        ("Period", f"{when(about.first_time)} to {when(about.last_time)} UTC, by the coordinator's clock"),
        ("Runs", ", ".join(run.name for run in report.runs[:50]) or "none"),
        ("Participants", len(report.participants)),
    ]


def keys(report: Report) -> Html:
    """Who stands for the log, and the keys that participants sign with."""
    signed = report.signatures
    source = "given by the auditor" if signed.key_source == "given" else "the bundle's own word"
    witnesses = [
        (
            witness.nickname,
            witness.name,
            whole(witness.key),
            "did not co-sign" if witness.time is None else when(witness.time),
        )
        for witness in signed.witnesses
    ]
    members = [
        (member.name, whole(owned.key), position(owned.entry))
        for member in report.participants
        for owned in member.keys
    ]
    return section(
        "keys",
        "Signatures and keys",
        facts([("The log's key", whole(signed.log_key)), ("Known from", source)]),
        element("h3", "Witnesses"),
        table("Witnesses", ("Witness", "Name of its key", "Key+", "Co-signed, by its clock="), witnesses)
        if witnesses
        else paragraph("None that this audit was told of: only the coordinator vouches for the log."),
        element("h3", "Participants' signing keys"),
        table("Keys", ("Participant", "Signing key+", "In force from log entry#"), members),
    )
