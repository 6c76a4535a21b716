"""What a model file says of its training follows from the run's entries, and names everybody's cost."""

import json

import pytest

from intertwine.protocols.entries import Act, Outcome, PlanEntry, Publication, ReleaseEntry
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.zk.privacy import Account
from intertwine.zk.training_record import digest, model_metadata, privacy
from tests.recording import Recording


def figures(recording: Recording) -> dict[str, dict[str, dict[str, str]]]:
    found: dict[str, dict[str, dict[str, str]]] = json.loads(privacy(recording.run_entries("spring")))
    return found


def test_the_record_ends_before_the_publication(recording: Recording) -> None:
    entries = recording.run_entries("spring")
    assert isinstance(entries[-1][1], Publication)
    metadata = model_metadata("a log", entries, b"parameters")
    assert metadata == model_metadata("a log", entries[:-1], b"parameters")
    assert metadata["training_record"] == digest(entries[:-1]) != digest(entries)
    tree = Tree(leaf_hash(entry.encode()) for _, entry in entries[:-1])
    assert metadata["training_record"] == tree.root(len(entries) - 1).hex()
    assert metadata["round"] == "2"


def test_every_participant_and_level_has_its_figure(recording: Recording) -> None:
    """ana released twice, ben once in vain, cyd never."""
    found = figures(recording)
    assert found.keys() == {"ana", "ben", "cyd"}
    levels = {"attested-record", "proven-participant"}
    assert all(by_level.keys() == levels for by_level in found.values())
    assert {found["ben"][level]["epsilon"] for level in levels} == {"infinite"}
    assert {found["cyd"][level]["epsilon"] for level in levels} == {"0.0000"}
    assert float(found["ana"]["proven-participant"]["epsilon"]) > 0
    assert found["ana"]["proven-participant"]["delta"] == "1.000e-05"


def test_the_figures_are_those_of_the_account_rounded_up(recording: Recording) -> None:
    account, valid = Account(), set()
    for position, entry in recording.run_entries("spring"):
        account.add(position, entry)
        if isinstance(entry, ReleaseEntry) and entry.release.body.slot.participant == "ana":
            valid.add(position)
    found = figures(recording)
    rows = [row for row in account.rows(valid) if row.participant == "ana"]
    assert len(rows) == 2
    for row in rows:
        written = float(found["ana"][row.assurance]["epsilon"])
        assert 0 <= written - row.guarantee.epsilon < 1e-4


def test_a_release_without_an_outcome_counts_as_invalid(recording: Recording) -> None:
    entries = [
        (position, entry)
        for position, entry in recording.run_entries("spring")
        if not (isinstance(entry, Outcome) and entry.slot.participant == "ana")
    ]
    found = json.loads(privacy(entries))
    assert found["ana"]["proven-participant"]["epsilon"] == "infinite"


def test_the_text_is_canonical(recording: Recording) -> None:
    text = privacy(recording.run_entries("spring"))
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))


def test_entries_without_a_plan_are_no_run(recording: Recording) -> None:
    entries = [item for item in recording.run_entries("spring") if not isinstance(item[1], PlanEntry)]
    for record in (entries[:1], [(0, recording.entries[recording.position(Act)])]):
        with pytest.raises(VerificationError, match="no plan"):
            model_metadata("a log", record, b"parameters")
