"""The run as a state machine: which entry may follow, and what a run needs next."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intertwine.models.recipes import recipe as find_recipe
from intertwine.models.registry import task as find_task
from intertwine.models.simulation import plan_of
from intertwine.protocols.entries import (
    Act,
    BeaconEntry,
    CommitEntry,
    Entry,
    Failure,
    ModelEntry,
    Outcome,
    PlanEntry,
    Publication,
    ReleaseEntry,
    RoundOpened,
    RunStopped,
)
from intertwine.protocols.errors import FederationError
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Commit, Release, RoundId, Signed, Slot
from intertwine.protocols.signing import SigningKey
from intertwine.server.run_state import Phase, RunState

NAMES = ["participant-1", "participant-2", "participant-3"]
KEY = SigningKey.generate()
ZERO = "00" * 32


@pytest.fixture(scope="module")
def plan() -> Plan:
    recipe = replace(find_recipe("forecast"), rounds=2, average_last=1)
    plan = plan_of(find_task("forecast"), recipe, len(NAMES))
    return plan.model_copy(update={"quorum": 2})


def identity(plan: Plan, number: int = 1) -> RoundId:
    return RoundId(deployment=plan.deployment, run=plan.run, task=plan.task, number=number)


def slot(plan: Plan, name: str, number: int = 1) -> Slot:
    return Slot(round=identity(plan, number), participant=name)


def planned(plan: Plan) -> PlanEntry:
    return PlanEntry(time=1, plan=Signed[Plan].create(plan, KEY))


def opened(plan: Plan, number: int = 1, names: list[str] = NAMES) -> RoundOpened:
    return RoundOpened(
        time=1, round=identity(plan, number), parameters=ZERO, nonce_digest=ZERO, participants=names
    )


def commit(plan: Plan, name: str, number: int = 1) -> CommitEntry:
    body = Commit.model_construct(
        slot=slot(plan, name, number),
        plan=ZERO,
        parameters=ZERO,
        randomness=["a" * 96],
        gradient=[],
        dataset="",
        lot=[],
    )
    return CommitEntry(time=1, commit=Signed[Commit].create(body, KEY))


def beacon(plan: Plan, number: int = 1) -> BeaconEntry:
    return BeaconEntry.model_construct(
        time=1, round=identity(plan, number), checkpoint="note", nonce=ZERO, beacon=ZERO
    )


def release(plan: Plan, name: str, number: int = 1) -> ReleaseEntry:
    body = Release(slot=slot(plan, name, number), commit=ZERO, beacon=ZERO, update=ZERO, proof=ZERO)
    return ReleaseEntry(time=1, release=Signed[Release].create(body, KEY))


def outcome(plan: Plan, name: str, verdict: str = "accepted", number: int = 1) -> Outcome:
    return Outcome.parse(
        {
            "type": "outcome",
            "time": 1,
            "slot": slot(plan, name, number).model_dump(),
            "verdict": verdict,
            "check": "" if verdict == "accepted" else "some_check",
            "verify_ms": 0,
        }
    )


def model(plan: Plan, accepted: list[str], number: int = 1) -> ModelEntry:
    return ModelEntry(
        time=1, round=identity(plan, number), accepted=accepted, aggregate=ZERO, parameters=ZERO
    )


def failure(plan: Plan, number: int = 1) -> Failure:
    return Failure(time=1, round=identity(plan, number), reason="too few")


def stop(plan: Plan) -> Act:
    return Act(time=1, act=RunStopped(run=plan.run))


def publication(plan: Plan, number: int = 2) -> Publication:
    return Publication(time=1, round=identity(plan, number), parameters=ZERO, onnx=ZERO)


def whole_round(plan: Plan, number: int) -> list[Entry]:
    return [
        opened(plan, number),
        *(commit(plan, name, number) for name in NAMES),
        beacon(plan, number),
        *(release(plan, name, number) for name in NAMES),
        *(outcome(plan, name, number=number) for name in NAMES),
        model(plan, NAMES, number),
    ]


def after(plan: Plan, *entries: Entry) -> RunState:
    """The state of a planned run after these entries."""
    return RunState.of(plan, enumerate([planned(plan), *entries]))


def test_a_run_goes_through_its_phases_to_its_publication(plan: Plan) -> None:
    entries = [*whole_round(plan, 1), *whole_round(plan, 2), publication(plan)]
    phases = [after(plan, *entries[:count]).phase for count in range(len(entries) + 1)]
    a_round = [*[Phase.COMMIT] * 4, Phase.RELEASE, *[Phase.VERIFY] * 5, Phase.AGGREGATE]
    assert phases == [Phase.PLAN, *a_round, Phase.PLAN, *a_round, Phase.PUBLISH, Phase.ENDED]


def test_a_silent_slot_is_waited_for_until_it_is_aborted(plan: Plan) -> None:
    begun = [opened(plan), commit(plan, "participant-1"), commit(plan, "participant-2"), beacon(plan)]
    half = [*begun, release(plan, "participant-1"), outcome(plan, "participant-1")]
    assert after(plan, *half).phase is Phase.RELEASE
    done = after(plan, *half, outcome(plan, "participant-2", "aborted"))
    assert done.phase is Phase.AGGREGATE
    assert done.current is not None
    assert list(done.current.accepted) == ["participant-1"]


def test_a_slot_without_a_commit_is_not_waited_for(plan: Plan) -> None:
    state = after(
        plan, opened(plan), commit(plan, "participant-2"), beacon(plan), release(plan, "participant-2")
    )
    assert state.after(9, outcome(plan, "participant-2", "rejected")).phase is Phase.AGGREGATE


def test_a_failed_run_may_go_on_with_the_next_round_as_long_as_there_is_one(plan: Plan) -> None:
    failed = after(plan, opened(plan), commit(plan, "participant-1"), failure(plan))
    assert (failed.phase, failed.failed, failed.resumable) == (Phase.ENDED, True, True)
    assert failed.resumed().phase is Phase.PLAN
    second = failed.after(9, opened(plan, 2))
    assert (second.phase, second.number) == (Phase.COMMIT, 2)
    over = second.after(10, failure(plan, 2))
    assert not over.resumable
    assert over.resumed().phase is Phase.ENDED


def test_a_stopped_run_is_over(plan: Plan) -> None:
    stopped = after(plan, opened(plan), stop(plan), failure(plan))
    assert (stopped.phase, stopped.resumable) == (Phase.ENDED, False)
    assert stopped.resumed().phase is Phase.ENDED


def begun(plan: Plan) -> list[Entry]:
    return [opened(plan), commit(plan, "participant-1"), beacon(plan)]


def almost_two(plan: Plan) -> list[Entry]:
    """Everything of a round with two accepted releases but its model."""
    some = NAMES[:2]
    return [
        opened(plan),
        *(commit(plan, name) for name in some),
        beacon(plan),
        *(release(plan, name) for name in some),
        *(outcome(plan, name) for name in some),
    ]


@pytest.mark.parametrize(
    ("before", "next_entry"),
    [
        pytest.param(lambda p: [], lambda p: commit(p, "participant-1"), id="commit-without-round"),
        pytest.param(lambda p: [opened(p)], lambda p: opened(p, 2), id="round-in-a-round"),
        pytest.param(lambda p: [opened(p)], lambda p: commit(p, "stranger"), id="commit-of-a-stranger"),
        pytest.param(
            lambda p: [opened(p)], lambda p: commit(p, "participant-1", 2), id="commit-of-another-round"
        ),
        pytest.param(
            lambda p: [opened(p), commit(p, "participant-1")],
            lambda p: commit(p, "participant-1"),
            id="second-commit",
        ),
        pytest.param(begun, lambda p: commit(p, "participant-2"), id="commit-after-the-beacon"),
        pytest.param(begun, beacon, id="second-beacon"),
        pytest.param(begun, lambda p: release(p, "participant-2"), id="release-without-commit"),
        pytest.param(
            lambda p: [opened(p), commit(p, "participant-1")],
            lambda p: release(p, "participant-1"),
            id="release-too-early",
        ),
        pytest.param(
            lambda p: [*begun(p), release(p, "participant-1")],
            lambda p: release(p, "participant-1"),
            id="second-release",
        ),
        pytest.param(begun, lambda p: outcome(p, "participant-1"), id="accepted-without-release"),
        pytest.param(
            lambda p: [*begun(p), release(p, "participant-1")],
            lambda p: outcome(p, "participant-1", "aborted"),
            id="aborted-with-release",
        ),
        pytest.param(
            lambda p: [*begun(p), release(p, "participant-1"), outcome(p, "participant-1")],
            lambda p: outcome(p, "participant-1"),
            id="second-outcome",
        ),
        pytest.param(begun, lambda p: model(p, []), id="model-before-the-outcomes"),
        pytest.param(
            almost_two,
            lambda p: model(p, NAMES),
            id="model-with-an-update-too-many",
        ),
        pytest.param(lambda p: whole_round(p, 1), lambda p: publication(p, 1), id="publication-too-early"),
        pytest.param(
            lambda p: [*whole_round(p, 1), *whole_round(p, 2)], lambda p: opened(p, 3), id="a-round-too-many"
        ),
        pytest.param(lambda p: [], lambda p: opened(p, 2), id="second-round-first"),
        pytest.param(lambda p: whole_round(p, 1), opened, id="same-round-again"),
        pytest.param(lambda p: [], lambda p: opened(p, 1, [*NAMES, "stranger"]), id="round-with-a-stranger"),
        pytest.param(lambda p: [], lambda p: opened(p, 1, NAMES[::-1]), id="round-in-another-order"),
        pytest.param(
            lambda p: [*begun(p), release(p, "participant-1"), outcome(p, "participant-1")],
            lambda p: model(p, ["participant-1"]),
            id="model-below-the-quorum",
        ),
        pytest.param(almost_two, lambda p: model(p, NAMES[:2], 2), id="model-of-another-round"),
        pytest.param(lambda p: [opened(p)], lambda p: beacon(p, 2), id="beacon-of-another-round"),
        pytest.param(
            lambda p: [*whole_round(p, 1), *whole_round(p, 2)],
            lambda p: publication(p, 1),
            id="publication-of-another-round",
        ),
        pytest.param(
            lambda p: [*whole_round(p, 1), *whole_round(p, 2), publication(p)],
            lambda p: failure(p, 2),
            id="failure-after-the-publication",
        ),
        pytest.param(
            lambda p: [*whole_round(p, 1), *whole_round(p, 2), publication(p)],
            stop,
            id="stop-after-the-publication",
        ),
        pytest.param(begun, failure, id="failure-before-the-outcomes"),
        pytest.param(lambda p: [opened(p)], lambda p: failure(p, 2), id="failure-of-another-round"),
        pytest.param(lambda p: [stop(p)], opened, id="round-after-a-stop"),
        pytest.param(
            lambda p: [opened(p), stop(p)], lambda p: commit(p, "participant-1"), id="commit-after-a-stop"
        ),
        pytest.param(lambda p: [stop(p), failure(p)], failure, id="failure-after-a-stopped-runs-failure"),
        pytest.param(lambda p: [], planned, id="planned-twice"),
        pytest.param(
            lambda p: [],
            lambda p: Act(time=1, act=RunStopped(run="another")),
            id="stop-of-another-run",
        ),
    ],
)
def test_an_entry_that_cannot_follow_is_refused(
    plan: Plan, before: Callable[[Plan], list[Entry]], next_entry: Callable[[Plan], Entry]
) -> None:
    state = after(plan, *before(plan))
    with pytest.raises(FederationError, match="cannot come next"):
        state.after(99, next_entry(plan))


def test_nothing_comes_before_the_plan_and_it_is_the_runs_own(plan: Plan) -> None:
    for entry in (opened(plan), failure(plan), planned(plan.model_copy(update={"quorum": 3}))):
        with pytest.raises(FederationError, match="cannot come next"):
            RunState(plan).after(0, entry)


# Runs as they happen


@st.composite
def runs(draw: st.DrawFn, plan: Plan) -> list[Entry]:
    """The entries of a run that has ended, in any of the ways in which one may."""
    entries: list[Entry] = [planned(plan)]
    for number in range(1, plan.rounds + 1):
        entries += draw(rounds_of(plan, number))
        failed = isinstance(entries[-1], Failure)
        if number == plan.rounds:
            return (
                entries
                if failed
                else [*entries, draw(st.sampled_from([publication(plan), failure(plan, 2)]))]
            )
        match draw(st.sampled_from(["on", "on", "stopped", "failed"])):
            case "stopped":
                return [*entries, stop(plan), failure(plan, number)]
            case "failed":
                entries.append(failure(plan, number))
    return entries


@st.composite
def rounds_of(draw: st.DrawFn, plan: Plan, number: int) -> list[Entry]:
    """The entries of a round that ended with a model, or with a failure, for whatever reason."""
    members = [name for name in NAMES if draw(st.booleans()) or name == NAMES[0]]
    committed = draw(st.permutations([name for name in members if draw(st.integers(0, 4))]))
    entries = [opened(plan, number, members), *(commit(plan, name, number) for name in committed)]
    if len(committed) < plan.quorum or not draw(st.integers(0, 4)):
        return [*entries, failure(plan, number)]
    fates = {
        name: draw(st.sampled_from(["accepted", "accepted", "rejected", "aborted"])) for name in committed
    }
    to_come = {
        name: [outcome(plan, name, fate, number)] + [release(plan, name, number)] * (fate != "aborted")
        for name, fate in fates.items()
    }
    turns = draw(st.permutations([name for name, rest in to_come.items() for _ in rest]))
    entries += [beacon(plan, number), *(to_come[name].pop() for name in turns)]
    accepted = sorted(name for name, fate in fates.items() if fate == "accepted")
    enough = len(accepted) >= plan.quorum and draw(st.integers(0, 4))
    return [*entries, model(plan, accepted, number) if enough else failure(plan, number)]


def of_the_next_round(plan: Plan, entry: Entry) -> Entry:
    """The same, but one round later."""
    match entry:
        case CommitEntry(commit=Signed(body=body)):
            return commit(plan, body.slot.participant, body.slot.round.number + 1)
        case ReleaseEntry(release=Signed(body=body)):
            return release(plan, body.slot.participant, body.slot.round.number + 1)
        case Outcome(slot=place):
            return entry.model_copy(update={"slot": slot(plan, place.participant, place.round.number + 1)})
        case RoundOpened() | BeaconEntry() | ModelEntry() | Publication() | Failure():
            return entry.model_copy(update={"round": identity(plan, entry.round.number + 1)})
    raise AssertionError(entry)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_every_run_as_it_happens_is_followed(plan: Plan, data: st.DataObject) -> None:
    entries = data.draw(runs(plan))
    state = RunState.of(plan, enumerate(entries))
    assert state.phase is Phase.ENDED
    modelled = [entry.round.number for entry in entries if isinstance(entry, ModelEntry)]
    assert [one.identity.number for one in state.rounds if one.model is not None] == modelled


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_an_entry_again_or_of_another_round_is_refused_anywhere(plan: Plan, data: st.DataObject) -> None:
    entries = data.draw(runs(plan))
    place = data.draw(st.integers(1, len(entries) - 1))
    state = RunState.of(plan, enumerate(entries[:place]))
    # A run that has failed, and was told to go on, may fail once more.
    wrong = [entry for entry in entries[:place] if not isinstance(entry, Failure)]
    if not isinstance(entries[place], Act):
        wrong.append(of_the_next_round(plan, entries[place]))
    with pytest.raises(FederationError, match="cannot come next"):
        state.after(place, data.draw(st.sampled_from(wrong)))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_an_entry_that_is_missing_is_noticed(plan: Plan, data: st.DataObject) -> None:
    entries = data.draw(runs(plan))
    needed = [
        place
        for place, entry in enumerate(entries)
        if isinstance(entry, PlanEntry | BeaconEntry | ReleaseEntry | Outcome)
        or (isinstance(entry, ModelEntry) and isinstance(entries[place + 1], RoundOpened | Publication))
    ]
    del entries[data.draw(st.sampled_from(needed))]
    with pytest.raises(FederationError, match="cannot come next"):
        RunState.of(plan, enumerate(entries))
