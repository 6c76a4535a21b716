"""A run whose driver is killed again and again goes on as if it had not been: with real proofs, in memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy.orm import Session

from intertwine.client.budget import spent
from intertwine.protocols.entries import (
    Act,
    Entry,
    Failure,
    ModelEntry,
    Outcome,
    Publication,
    ReleaseEntry,
    RoundOpened,
    RunResumed,
)
from intertwine.protocols.errors import FederationError, InputError, StorageError
from intertwine.protocols.plan import Plan
from intertwine.protocols.policy import Policy
from intertwine.server.driver import driven, only_driver
from intertwine.server.launch import launch
from intertwine.server.pace import expected_seconds
from intertwine.server.rounds import RunDriver
from intertwine.server.run_state import RunState
from intertwine.server.supervisor import resume
from intertwine.server.views import run_views
from intertwine.zk.audit import verify_bundle
from tests.federation import MemoryFederation


class KilledError(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


class MortalDriver(RunDriver):
    """Dies at every entry that it adds to the log: once before it has landed, and once after."""

    died_before: set[int]

    @contextmanager
    def _changing(self) -> Iterator[Session]:
        with super()._changing() as session:
            yield session
            length = len(self._store.entries())
            if length not in self.died_before:
                self.died_before.add(length)
                raise KilledError
        raise KilledError


class FakeControl:
    """SuperLink's Control API, as far as resuming needs it: it counts the drivers that were started."""

    started = 0
    refusal = ""
    up = True

    def require_answer(self) -> None:
        if not self.up:
            raise FederationError("The SuperLink does not answer.")

    def launch(self, _config: object) -> int:
        if self.refusal:
            raise FederationError(self.refusal)
        self.started += 1
        return self.started

    def stop_run(self, _run: int) -> None:
        pass


def entries(federation: MemoryFederation, run: str, kind: type[Entry]) -> list[Entry]:
    return [entry for _, entry in federation.store.run_entries(run) if isinstance(entry, kind)]


def drive_to_the_end(federation: MemoryFederation, plan: Plan) -> int:
    """How many drivers it took."""
    died_before: set[int] = set()
    for drivers in range(1, 100):
        driver = MortalDriver(federation.store, federation.key, plan, federation)
        driver.died_before = died_before
        try:
            driver.execute()
        except KilledError:
            for member in federation.members.values():
                member.restart()
        if federation.store.run(plan.run).ended:
            return drivers
    raise AssertionError("the run did not end")


def test_a_run_survives_the_death_of_its_driver_at_every_entry(pair: MemoryFederation) -> None:
    plan = pair.plan("toy", "often-killed", rounds=2)
    launch(pair.store, pair.key, plan, lambda: None)
    drivers = drive_to_the_end(pair, plan)

    # Two at each of: a round, 2 commits, a beacon, 2 releases, 2 outcomes, a model; and at the publication.
    assert drivers == 2 * (2 * 9 + 1)
    for kind, count in ((RoundOpened, 2), (ReleaseEntry, 4), (Outcome, 4), (ModelEntry, 2), (Publication, 1)):
        assert len(entries(pair, plan.run, kind)) == count
    assert pair.store.run(plan.run).finished_rounds == 2
    verdict = verify_bundle(pair.bundle(), Policy.of_key(pair.store.deployment))
    assert verdict.passed
    for name, member in pair.members.items():
        audited = {row.assurance: row.guarantee for row in verdict.privacy if row.participant == name}
        assert {row.assurance: row.guarantee for row in spent(member.ledger, "toy")} == audited


def test_a_failed_run_goes_on_with_its_next_round(pair: MemoryFederation) -> None:
    plan = pair.plan("toy", "nobody-home", rounds=2)
    pair.tamper = lambda name, kind, reply: None
    with pytest.raises(FederationError, match="quorum"):
        pair.execute(plan)
    pair.tamper = lambda name, kind, reply: reply

    control = FakeControl()
    resume(pair.home, pair.store, control, plan.run)
    assert control.started == 1
    RunDriver(pair.store, pair.key, plan, pair).execute()

    assert [entry.round.number for entry in entries(pair, plan.run, ModelEntry)] == [2]
    assert len(entries(pair, plan.run, Failure)) == 1
    assert [entry.act for entry in entries(pair, plan.run, Act)] == [RunResumed(run=plan.run)]
    assert pair.store.run(plan.run).state == "finished"
    pair.assert_passes()


@pytest.mark.parametrize(("failing", "acts"), [({"up": False}, 0), ({"refusal": "It is full."}, 1)])
def test_a_resumption_that_fails_leaves_the_run_as_it_was(
    pair: MemoryFederation, failing: dict[str, object], acts: int
) -> None:
    """Otherwise the next `up` would run it, unasked."""
    plan = pair.plan("toy", "down", rounds=2)

    def refuse() -> None:
        raise FederationError("The SuperLink does not answer.")

    with pytest.raises(FederationError):
        launch(pair.store, pair.key, plan, refuse)
    before = pair.store.run("down")
    control = FakeControl()
    vars(control).update(failing)
    with pytest.raises(FederationError):
        resume(pair.home, pair.store, control, "down")
    after = pair.store.run("down")
    assert (after.state, after.detail) == (before.state, before.detail) == ("failed", before.detail)
    assert len(entries(pair, "down", Act)) == acts
    pair.assert_passes()


def test_operators_see_the_phase_of_a_run_and_how_long_it_will_take(
    pair: MemoryFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = pair.plan("toy", "watched", rounds=2)
    assert expected_seconds(pair.store, plan) == (2 * (4 + plan.dimension / 2000), False)
    launch(pair.store, pair.key, plan, lambda: None)
    (before,) = run_views(pair.store)
    assert (before.state, before.phase) == ("launched", "plan")
    stop_after_a_round(pair, plan, monkeypatch)
    (amid,) = run_views(pair.store)
    assert (amid.state, amid.phase, amid.finished_rounds) == ("running", "plan", 1)
    times = {type(entry): entry.time for _, entry in pair.store.run_entries("watched")}
    took = times[ModelEntry] - times[RoundOpened]
    assert expected_seconds(pair.store, plan) == (2 * took, True)
    RunDriver(pair.store, pair.key, plan, pair).execute()
    (after,) = run_views(pair.store)
    assert (after.state, after.phase) == ("finished", "")


def test_what_cannot_be_resumed_is_refused_and_says_why(pair: MemoryFederation) -> None:
    plan = pair.plan("toy", "done")
    pair.execute(plan)
    with pytest.raises(InputError, match="has finished and has no round left"):
        resume(pair.home, pair.store, FakeControl(), "done")
    with pytest.raises(InputError, match="no run 'other'"):
        resume(pair.home, pair.store, FakeControl(), "other")


def test_a_driver_does_not_go_on_from_updates_that_do_not_lead_to_the_logged_model(
    pair: MemoryFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = pair.plan("toy", "damaged", rounds=2)
    launch(pair.store, pair.key, plan, lambda: None)
    stop_after_a_round(pair, plan, monkeypatch)
    accepted = RunState.of(plan, pair.store.run_entries("damaged")).rounds[0].accepted
    blob = pair.store.blob_path(accepted["alder"].release.body.update)
    blob.write_bytes(bytes(blob.stat().st_size))
    with pytest.raises(FederationError, match="do not lead to the model in the log"):
        RunDriver(pair.store, pair.key, plan, pair)


def test_a_full_disk_ends_the_driver_and_costs_no_participant_its_slot(
    pair: MemoryFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = pair.plan("toy", "full-disk")
    launch(pair.store, pair.key, plan, lambda: None)
    keep = pair.store.put_blob

    def full(data: bytes) -> str:
        if len(data) == 4 * plan.dimension:
            raise StorageError("There is no space left.")
        return keep(data)

    with monkeypatch.context() as patch:
        patch.setattr(pair.store, "put_blob", full)
        with pytest.raises(StorageError, match="no space"):
            RunDriver(pair.store, pair.key, plan, pair).execute()
    RunDriver(pair.store, pair.key, plan, pair).execute()
    (model,) = entries(pair, plan.run, ModelEntry)
    assert model.accepted == ["alder", "birch-co"]


def stop_after_a_round(federation: MemoryFederation, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = RunDriver(federation.store, federation.key, plan, federation)

    def killed() -> None:
        raise KilledError

    monkeypatch.setattr(driver, "_have_cosigned", killed)
    with pytest.raises(KilledError):
        driver.execute()


def test_only_one_process_drives_a_run(pair: MemoryFederation) -> None:
    assert not driven(pair.home, "one")
    with only_driver(pair.home, "one"):
        assert driven(pair.home, "one")
        assert not driven(pair.home, "another")
        with pytest.raises(FederationError, match="Another process drives"), only_driver(pair.home, "one"):
            pass
    assert not driven(pair.home, "one")
