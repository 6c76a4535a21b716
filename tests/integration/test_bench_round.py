"""`make bench-round`: the parts of a round, the report, and stock Flower itself with one node."""

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.bench.round import report
from deploy.bench.round.__main__ import write
from deploy.bench.round.phases import PHASES, Round, Seen, mean_phases, rounds
from deploy.bench.round.stock import StockFederation
from intertwine.protocols.entries import BeaconEntry, Entry, ModelEntry, Outcome, ReleaseEntry, RoundOpened
from intertwine.protocols.round import Release, RoundId, Signed, Slot

ROW: dict[str, Any] = {
    "participants": 4,
    "rounds": 6,
    "dimension": 1361,
    "seconds_per_round": 6.5,
    "flower_only_seconds_per_round": 7.0,
    "overhead_seconds": -0.5,
    "fedavg_seconds_per_round": 3.5,
    "prove_s": 2.0,
    "verify_s": 0.02,
    "agent_peak_mb": None,
    "coordinator_peak_mb": 412.0,
    "phases": dict.fromkeys(PHASES, 1.3),
    "flower_rounds": 3,
    "flower_only_by_isolation": {"subprocess": 8.0, "process": 7.0},
    "load_before": 0.1,
    "took_s": 100,
}


def entries(number: int) -> list[Entry]:
    """A round's entries, as far as their times are asked for: two releases, two outcomes."""
    identity = RoundId(deployment="00" * 32, run="spring", task="forecast", number=number)
    slots = [Slot(round=identity, participant=name) for name in ("ana", "ben")]
    releases = [
        ReleaseEntry.model_construct(
            release=Signed[Release].model_construct(body=Release.model_construct(slot=slot))
        )
        for slot in slots
    ]
    return [
        RoundOpened.model_construct(round=identity),
        BeaconEntry.model_construct(round=identity),
        *releases,
        *(Outcome.model_construct(slot=slot) for slot in slots),
        ModelEntry.model_construct(round=identity),
    ]


def test_a_phase_ends_with_the_last_of_its_entries() -> None:
    times = [0.0, 2.0, 3.0, 5.0, 5.5, 6.0, 6.25]
    seen = [Seen(time, entry) for time, entry in zip(times, entries(1), strict=True)]
    unfinished = [Seen(7.0, entry) for entry in entries(2)[:-1]]
    found = rounds(seen + unfinished)
    assert found == [Round(number=1, commit=2.0, release=3.0, verify=1.0, aggregate=0.25)]
    assert mean_phases(found, {1: 1.25}) == {
        "commit_s": 2.0,
        "prove_s": 1.25,
        "release_s": 1.75,
        "verify_s": 1.0,
        "aggregate_s": 0.25,
    }


def test_the_report_judges_goals_and_keeps_signs(tmp_path: Path) -> None:
    json_path, page = write([ROW], tmp_path)
    assert json.loads(json_path.read_text()) == [ROW]
    assert [(verdict.figure, verdict.passed) for verdict in report.verdicts([ROW])] == [
        ("difference", True),
        ("memory of the coordinator", False),
    ]
    text = page.read_text()
    for shown in ("−500 ms", "412 MB", "isolation subprocess", "6.50 s", "<svg"):
        assert shown in text
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_the_picture_has_every_phase_and_both_baselines() -> None:
    assert report.picture(ROW).count("<rect") == len(PHASES) + 2


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # in how Flower bundles an app
def test_stock_flower_exchanges_vectors(tmp_path: Path) -> None:
    with StockFederation(tmp_path, nodes=1, isolation="process", dimension=8) as federation:
        seconds = federation.seconds_per_round("messages", rounds=1)
    assert 0.5 < seconds < 120
