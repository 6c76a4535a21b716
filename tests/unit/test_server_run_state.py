"""The run as a state machine: which entry may follow, and what a run needs next."""

from collections.abc import Callable
from dataclasses import replace

import pytest

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

NAMES = ["participant-1", "participant-2"]
KEY = SigningKey.generate()
ZERO = "00" * 32


@pytest.fixture
def plan() -> Plan:
    recipe = replace(find_recipe("forecast"), rounds=2, average_last=1)
    return plan_of(find_task("forecast"), recipe, 2)


def identity(plan: Plan, number: int = 1) -> RoundId:
    return RoundId(deployment=plan.deployment, run=plan.run, task=plan.task, number=number)


def slot(plan: Plan, name: str, number: int = 1) -> Slot:
    return Slot(round=identity(plan, number), participant=name)


def opened(plan: Plan, number: int = 1) -> RoundOpened:
    return RoundOpened(
        time=1, round=identity(plan, number), parameters=ZERO, nonce_digest=ZERO, participants=NAMES
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
    return RunState.of(plan, enumerate(entries))


def test_a_run_goes_through_its_phases_to_its_publication(plan: Plan) -> None:
    publication = Publication(time=1, round=identity(plan, 2), parameters=ZERO, onnx=ZERO)
    entries = [
        PlanEntry(time=1, plan=Signed[Plan].create(plan, KEY)),
        *whole_round(plan, 1),
        *whole_round(plan, 2),
        publication,
    ]
    phases = [after(plan, *entries[:count]).phase for count in range(len(entries) + 1)]
    a_round = [
        Phase.COMMIT,
        Phase.COMMIT,
        Phase.COMMIT,
        Phase.RELEASE,
        Phase.VERIFY,
        Phase.VERIFY,
        Phase.VERIFY,
        Phase.AGGREGATE,
    ]
    assert phases == [Phase.PLAN, Phase.PLAN, *a_round, Phase.PLAN, *a_round, Phase.PUBLISH, Phase.ENDED]


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
    assert (failed.phase, failed.failure, failed.resumable) == (Phase.ENDED, "too few", True)
    assert failed.resumed().phase is Phase.PLAN
    second = failed.after(9, opened(plan, 2))
    assert (second.phase, second.number) == (Phase.COMMIT, 2)
    assert not second.after(10, failure(plan, 2)).resumable


def test_a_stopped_run_is_over(plan: Plan) -> None:
    act = Act(time=1, act=RunStopped(run=plan.run))
    stopped = after(plan, opened(plan), act, failure(plan))
    assert (stopped.phase, stopped.resumable) == (Phase.ENDED, False)
    assert stopped.resumed().phase is Phase.ENDED


def begun(plan: Plan) -> list[Entry]:
    return [opened(plan), commit(plan, "participant-1"), beacon(plan)]


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
            lambda p: [*begun(p), release(p, "participant-1"), outcome(p, "participant-1")],
            lambda p: model(p, NAMES),
            id="model-with-an-update-too-many",
        ),
        pytest.param(
            lambda p: whole_round(p, 1),
            lambda p: Publication(time=1, round=identity(p), parameters=ZERO, onnx=ZERO),
            id="publication-too-early",
        ),
        pytest.param(
            lambda p: [*whole_round(p, 1), *whole_round(p, 2)], lambda p: opened(p, 3), id="a-round-too-many"
        ),
    ],
)
def test_an_entry_that_cannot_follow_is_refused(
    plan: Plan, before: Callable[[Plan], list[Entry]], next_entry: Callable[[Plan], Entry]
) -> None:
    state = after(plan, *before(plan))
    with pytest.raises(FederationError, match="cannot come next"):
        state.after(99, next_entry(plan))
