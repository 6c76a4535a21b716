"""The audit's report: what it says of a log, as values, as JSON with a schema, and as a page."""

import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from docs import verdict_schema
from intertwine.protocols.accounting import Assurance, Guarantee
from intertwine.protocols.bundle import run_of
from intertwine.protocols.checkpoint import log_verifier
from intertwine.protocols.cosignature import cosign
from intertwine.protocols.entries import Failure, ModelEntry, Outcome, Publication, ReleaseEntry, blobs_of
from intertwine.protocols.note import COSIGNATURE_KEY, VerifierKey
from intertwine.protocols.policy import Policy
from intertwine.zk.audit import Verdict, verify_bundle
from intertwine.zk.audit.markup import Html, clean, element
from intertwine.zk.audit.report import Report, RoundEnd, SlotEnd
from intertwine.zk.audit.report_page import render
from intertwine.zk.audit.report_parts import rounded_up, small, when
from intertwine.zk.audit.verdict_json import verdict_to_json
from intertwine.zk.privacy import PrivacyRow
from tests.recording import Recording, fixed_key

HOSTILE = "<script>alert(1)</script>\"'&\u202eevil\u200b\x1b[31m\u2066"
COMMAND = "intertwine audit verify test.bundle"


@pytest.fixture(scope="module")
def audited(_played: Recording, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, Verdict]:
    return _played, verify_bundle(_played.write(tmp_path_factory.mktemp("release")))


@pytest.fixture(scope="module")
def data_bound(_data_bound: Recording, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, Verdict]:
    return _data_bound, verify_bundle(_data_bound.write(tmp_path_factory.mktemp("bound")))


def report_of(verdict: Verdict) -> Report:
    assert verdict.report is not None
    return verdict.report


class Page(HTMLParser):
    """Tags in order, and the text outside of style sheets."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(data.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self._inside != "style":
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(verdict: Verdict) -> Page:
    return Page(render(verdict, COMMAND, 1_700_000_000))


def test_slots_end_as_the_script_says(audited: tuple[Recording, Verdict]) -> None:
    recording, verdict = audited
    (run,) = report_of(verdict).runs
    ends = [{slot.participant: slot.end for slot in current.slots} for current in run.rounds]
    assert ends == [
        {"ana": SlotEnd.ACCEPTED, "ben": SlotEnd.REJECTED, "cyd": SlotEnd.ABORTED},
        {"ana": SlotEnd.ACCEPTED, "ben": SlotEnd.ACCEPTED, "cyd": SlotEnd.ABSENT},
    ]
    ana, ben, cyd = run.rounds[0].slots
    assert (ana.proof_valid, ben.proof_valid, cyd.proof_valid) == (True, False, None)
    assert (ana.check, ben.check, cyd.check) == ("", "constraint_identity", "release_missing")
    assert ben.release_entry == recording.position(ReleaseEntry, 1)
    assert ben.outcome_entry == recording.position(Outcome, 1)
    assert ben.update == recording.entries[ben.release_entry].release.body.update
    assert [run.rounds[1].count(end) for end in SlotEnd] == [2, 0, 0, 1, 0]


def test_a_model_is_followed_from_records_to_the_file(data_bound: tuple[Recording, Verdict]) -> None:
    recording, verdict = data_bound
    report = report_of(verdict)
    assert [(row.participant, row.records) for row in report.datasets] == [("ana", 6), ("ben", 5), ("ana", 8)]
    heads = {(row.participant, row.head) for row in report.datasets}
    for run in report.runs:
        slots = [slot for current in run.rounds for slot in current.slots if slot.commit_entry is not None]
        assert {(slot.participant, slot.dataset) for slot in slots} <= heads
        model = recording.entries[run.rounds[-1].end_entry]
        assert isinstance(model, ModelEntry)
        assert run.rounds[-1].parameters == model.parameters
        assert run.publication is not None
        published = recording.entries[run.publication.entry]
        assert isinstance(published, Publication)
        assert (run.publication.parameters, run.publication.onnx) == (published.parameters, published.onnx)
    steps, sums = report.runs
    assert steps.rounds[0].slots[0].dataset == report.datasets[0].head
    assert sums.rounds[0].slots[0].dataset == report.datasets[2].head


def test_scope_and_membership(audited: tuple[Recording, Verdict]) -> None:
    recording, verdict = audited
    report = report_of(verdict)
    times = [entry.time for entry in recording.entries]
    assert (report.scope.first_time, report.scope.last_time) == (min(times), max(times))
    assert report.scope.entries == len(recording.entries)
    assert report.scope.deployment == recording.log_key.public
    assert [(member.name, member.role, member.revoked) for member in report.participants] == [
        (name, "smb", None) for name in ("ana", "ben", "cyd")
    ]
    assert [member.keys[0].key for member in report.participants] == [
        recording.keys[name].public for name in ("ana", "ben", "cyd")
    ]
    assert {act.kind for act in report.acts} == {"init", "invitation"}
    assert report.versions.proof_protocol.startswith("intertwine/zk/")
    assert not report.versions.independent_verifier


def test_statements_say_what_is_proven_and_what_is_not(
    audited: tuple[Recording, Verdict], data_bound: tuple[Recording, Verdict]
) -> None:
    (release,) = report_of(audited[1]).statements
    assert (release.statement, release.uses) == ("release", ("spring",))
    assert "standard deviation 50" in release.proven[0]
    assert "at most 10" in release.proven[1]
    assert "good gradient" in release.not_proven[0]
    dataset, glm, statistics = report_of(data_bound[1]).statements
    assert (dataset.statement, glm.statement, statistics.statement) == ("dataset", "glm", "statistics")
    assert "1024/2048" in glm.proven[0]
    assert "20 · 30 = 600" in glm.proven[1]
    assert "at most 30" in statistics.proven[1]


def test_a_failed_round_keeps_its_reason(recording: Recording, audit: Any) -> None:
    """The second round fails instead of ending with a model; nothing is published."""
    position = recording.position(ModelEntry, 1)
    model = recording.entries[position]
    recording.entries[position:] = [Failure(time=model.time, round=model.round, reason=f"Why: {HOSTILE}")]
    verdict = audit(recording)
    assert verdict.passed
    (run,) = report_of(verdict).runs
    assert (run.rounds[1].end, run.rounds[1].end_entry) == (RoundEnd.FAILED, position)
    assert run.rounds[1].failure == f"Why: {HOSTILE}"
    assert run.publication is None
    page = page_of(verdict)
    assert "round failed" in page.text
    assert not page.named("script")


def test_a_verdict_that_fails_says_so_and_confirms_no_chain(recording: Recording, audit: Any) -> None:
    position = recording.position(ModelEntry, -1)
    recording.edit(position, aggregate="ab" * 32)
    page = page_of(audit(recording))
    assert "FAIL: this bundle is not to be trusted" in page.text
    assert "PASS" not in page.text
    assert f"entry {position} (model)" in page.text
    assert "This audit does not confirm the chain below" in page.text
    assert "This audit recomputed" not in page.text


def test_without_a_log_that_can_be_retraced_there_is_no_report(recording: Recording, audit: Any) -> None:
    verdict = audit(recording, manifest={"checkpoint": recording.checkpoint(3)})
    assert verdict.report is None
    page = page_of(verdict)
    assert "log_root" in page.text
    assert [attributes["id"] for attributes in page.named("h2")] == ["checks", "reproduce"]


def test_a_run_whose_files_are_elsewhere_is_not_called_checked(enrolled: Recording, tmp_path: Path) -> None:
    names = {
        digest for entry in enrolled.entries if run_of(entry) in {None, "sums"} for digest in blobs_of(entry)
    }
    (tmp_path / "files").mkdir()
    for digest in names:
        (tmp_path / "files" / digest).write_bytes(enrolled.blobs[digest])
    blobs = {digest: tmp_path / "files" / digest for digest in names}
    verdict = verify_bundle(enrolled.write(tmp_path, runs=["sums"], blobs=blobs))
    assert verdict.passed, verdict.checks
    steps, sums = report_of(verdict).runs
    assert (steps.checked, sums.checked) == (False, True)
    assert {slot.proof_valid for slot in steps.rounds[0].slots} == {None}
    assert sums.rounds[0].slots[0].proof_valid
    text = page_of(verdict).text
    assert "That is not said of steps: this bundle has only their part of the log." in text
    assert "Of this run only the log was checked" in text
    assert "But 1 of its releases are proven by the log's word alone." in text


def test_witnesses_are_named_whether_they_signed_or_not(recording: Recording, tmp_path: Path) -> None:
    keys = {name: fixed_key(name) for name in ("early", "late")}
    note = recording.checkpoint(len(recording.entries))
    note += cosign(note, "early.example/w", keys["early"], 1_700_000_100)
    lines = [f"log {log_verifier(recording.log_key.public)}"]
    for name, key in keys.items():
        lines.append(f"witness {name} {VerifierKey(f'{name}.example/w', COSIGNATURE_KEY, key.public)}")
    bundle = recording.write(tmp_path, note)
    for quorum in ("early", "late"):
        policy = Policy.parse("\n".join([*lines, f"quorum {quorum}\n"]))
        verdict = verify_bundle(bundle, policy)
        assert verdict.passed is (quorum == "early")
        signed = report_of(verdict).signatures
        assert (signed.key_source, [witness.time for witness in signed.witnesses]) == (
            "given",
            [1_700_000_100, None],
        )
        text = page_of(verdict).text
        assert "2023-11-14 22:15:00" in text
        assert "did not co-sign" in text
        assert "Nobody but the bundle vouches" not in text


def hostile(value: Any) -> Any:
    """A copy of the report in which every text is hostile."""
    if value and type(value) is str:
        return HOSTILE + value
    if isinstance(value, tuple):
        return tuple(map(hostile, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: hostile(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return type(value)(**fields)
    return value


@pytest.mark.parametrize("kind", ["audited", "data_bound"])
def test_hostile_texts_stay_texts(kind: str, request: pytest.FixtureRequest) -> None:
    _, verdict = request.getfixturevalue(kind)
    plain, page = page_of(verdict), page_of(hostile(verdict))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert [set(attributes) for _, attributes in page.tags] == [
        set(attributes) for _, attributes in plain.tags
    ]
    assert "<script>alert(1)</script>" in page.text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\x00-\x08\x0b-\x1f\x7f]", page.text)
    assert all("script" not in name and not name.startswith("on") for _, row in page.tags for name in row)


def test_the_page_needs_nothing_from_elsewhere(data_bound: tuple[Recording, Verdict]) -> None:
    data = render(data_bound[1], COMMAND, 1_700_000_000)
    page = Page(data)
    policies = [row["content"] for row in page.named("meta") if row.get("http-equiv")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert not re.search(rb"(?i)\b(?:https?|wss?|ftp):|@import|url\(", data)
    addresses = {row.get("href") for _, row in page.tags} | {row.get("src") for _, row in page.tags}
    assert all(address is None or address == "data:," or address.startswith("#") for address in addresses)
    identifiers = [row["id"] for _, row in page.tags if "id" in row]
    assert len(identifiers) == len(set(identifiers))
    assert {f"#{name}" for name in identifiers} >= {row["href"] for row in page.named("a")}
    assert page.named("html") == [{"lang": "en"}]
    assert all(row["role"] == "img" and row["aria-label"] for row in page.named("svg") if "role" in row)


def crowd(verdict: Verdict, rounds: int, participants: int) -> Verdict:
    """The verdict on a run with many more rounds and participants."""
    report = report_of(verdict)
    (run,) = report.runs
    first = run.rounds[0]
    slots = tuple(
        dataclasses.replace(first.slots[number % 3], participant=f"participant-{number}")
        for number in range(participants)
    )
    many = tuple(dataclasses.replace(first, number=number + 1, slots=slots) for number in range(rounds))
    run = dataclasses.replace(run, rounds=many, planned_rounds=rounds)
    return dataclasses.replace(verdict, report=dataclasses.replace(report, runs=(run,)))


@pytest.mark.parametrize(("rounds", "participants"), [(100, 10), (100, 300)])
def test_a_large_federation_fits_a_page(
    audited: tuple[Recording, Verdict], rounds: int, participants: int
) -> None:
    data = render(crowd(audited[1], rounds, participants), COMMAND, 1_700_000_000)
    assert len(data) < 5_000_000
    pictures = [row for row in Page(data).named("svg") if row.get("class") == "chart"]
    assert [row["aria-label"].split(":")[0] for row in pictures if row["aria-label"]] == [
        f"Run spring, rounds {start} to {start + 19}" for start in range(1, rounds, 20)
    ]
    annex = data.split(b'id="releases"')[1]
    assert annex.count(b"<tr>") == 1 + min(rounds * participants, 3000)


def test_a_log_of_many_runs_fits_a_page(audited: tuple[Recording, Verdict]) -> None:
    verdict = crowd(audited[1], 100, 10)
    report = report_of(verdict)
    runs = tuple(dataclasses.replace(report.runs[0], name=f"run-{number}") for number in range(200))
    verdict = dataclasses.replace(verdict, report=dataclasses.replace(report, runs=runs))
    data = render(verdict, COMMAND, 1_700_000_000)
    assert len(data) < 5_000_000
    assert "and 150 runs more: the verdict's JSON document has them all." in Page(data).text


def test_assurance_levels_have_tables_of_their_own(audited: tuple[Recording, Verdict]) -> None:
    _, verdict = audited
    rows = [
        PrivacyRow("ana", "risk", level, "zero-out", Guarantee(epsilon, 1e-5, precision), 1, 0, 0, 0)
        for level, epsilon, precision in (
            (Assurance.PROVEN_RECORD, 1.0, 1e-12),
            (Assurance.PROVEN_PARTICIPANT, 187_000.0, 1.0),
            (Assurance.ATTESTED_RECORD, 25.0, 1e-9),
        )
    ]
    data = render(dataclasses.replace(verdict, privacy=tuple(rows)), COMMAND, 1_700_000_000).decode()
    parts = re.split('<h3 id="(proven-record|proven-participant|attested-record)"', data)
    assert parts[1::2] == ["proven-record", "proven-participant", "attested-record"]
    proven, participant, attested = (part.split("</table>")[0] for part in parts[2::2])
    assert "Holds by proof, for a record as it was enrolled." in proven
    assert "Protects nothing" in participant
    assert "187,000" in participant
    assert "No meaningful protection" in attested
    assert all("zero-out" in part and "M1" in part for part in (proven, participant, attested))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (2.9001, "2.91"),
        (2.9, "2.9"),
        (187_000.5, "188,000"),
        (math.inf, "∞"),
        (1e-7, "1.00e-7"),
        (1e12, "1.00e+12"),
    ],
)
def test_bounds_are_never_rounded_down(value: float, shown: str) -> None:
    assert rounded_up(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (1e-5, "1 · 10⁻⁵"), (6.51e-13, "6.6 · 10⁻¹³"), (0.05, "0.05"), (1.0, "1")],
)
def test_probabilities(value: float, shown: str) -> None:
    assert small(value) == shown


def test_times_beyond_the_calendar() -> None:
    assert when(1_700_000_000) == "2023-11-14 22:13:20"
    assert when(2**40) == "1099511627776 s after 1970"


def test_markup_escapes_whatever_is_not_markup() -> None:
    assert (
        element("p", "<b>", Html("<i>ok</i>"), title='"x"')
        == '<p title="&quot;x&quot;">&lt;b&gt;<i>ok</i></p>'
    )
    assert len(clean("a" * 10_000)) == 1000
    assert clean("a\u202eb\ud800c\x00") == "a�b�c�"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(verdict_schema.FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_is_up_to_date() -> None:
    assert verdict_schema.FILE.read_text() == verdict_schema.schema_text(), (
        "run python -m docs.verdict_schema"
    )


@pytest.mark.parametrize("kind", ["audited", "data_bound"])
def test_verdicts_keep_to_the_schema(
    kind: str, request: pytest.FixtureRequest, validator: jsonschema.Draft202012Validator
) -> None:
    _, verdict = request.getfixturevalue(kind)
    validator.validate(json.loads(verdict_to_json(verdict)))
    validator.validate(json.loads(verdict_to_json(dataclasses.replace(verdict, report=None))))


def test_the_schema_refuses_what_it_does_not_know(
    audited: tuple[Recording, Verdict], validator: jsonschema.Draft202012Validator
) -> None:
    document = json.loads(verdict_to_json(audited[1]))
    for change in ({"version": "intertwine/verdict/v3"}, {"more": 1}, {"passed": "yes"}, {"checks": [{}]}):
        assert not validator.is_valid({**document, **change})
    del document["privacy"]
    assert not validator.is_valid(document)
