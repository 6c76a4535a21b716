"""The account counts every release, sums over runs and tasks, and never lets an invalid one fade."""

import math

import pytest

from intertwine.protocols.accounting import Assurance, Loss, guarantee, release_rho, sampled_loss
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import Entry, Outcome, PlanEntry, ReleaseEntry
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.mechanism import GlmMechanism, ReleaseMechanism, StatisticsMechanism
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Release, RoundId, Signed, Slot
from intertwine.zk.privacy import ALL_TASKS, PrivacyRow
from intertwine.zk.sampler import total_variation
from tests.recording import account, fixed_key

KEY = fixed_key("log")


def plan(run: str, task: str = "risk", **changes: object) -> Plan:
    values = {
        "deployment": KEY.public,
        "run": run,
        "task": task,
        "model": sha256(b"model"),
        "dimension": 57,
        "rounds": 5,
        "sigma": 100,
        "record_norm": "1",
        "record_bound": 10,
        "mechanism": ReleaseMechanism(update_bound=40),
        "delta": "1e-5",
        "learning_rate": "1",
        "momentum": "0",
        "normaliser": "1",
        "average_last": 1,
        "participants": ["ana", "ben"],
        "quorum": 1,
        "deadline_s": 1,
        "initial": sha256(b"initial"),
        "template": sha256(b"template"),
    }
    return Plan.model_validate({**values, **changes})


def summing(run: str, **changes: object) -> Plan:
    """A plan of noised sums over enrolled records."""
    mechanism = StatisticsMechanism(
        moment="sum", weights="one", label="none", entries="integer", row_bound=20
    )
    return plan(run, mechanism=mechanism, record_bound=20, **changes)


def training(run: str, lot: int = 2048, **changes: object) -> Plan:
    """A plan of gradient steps on enrolled records."""
    mechanism = GlmMechanism(
        link="logistic",
        label="binary",
        entries="integer",
        row_bound=20,
        residual_bound=5,
        lot=lot,
        label_unit="1",
        residual_norm="1",
    )
    return plan(run, mechanism=mechanism, record_bound=100, **changes)


def planned(document: Plan) -> Entry:
    return PlanEntry(time=0, plan=Signed[Plan].create(document, KEY))


def slot(document: Plan, number: int, participant: str = "ana") -> Slot:
    identity = RoundId(deployment=document.deployment, run=document.run, task=document.task, number=number)
    return Slot(round=identity, participant=participant)


def released(document: Plan, number: int, participant: str = "ana") -> Entry:
    digest = sha256(b"any")
    body = Release(
        slot=slot(document, number, participant), commit=digest, beacon=digest, update=digest, proof=digest
    )
    return ReleaseEntry(time=number, release=Signed[Release].create(body, KEY))


def ended(document: Plan, number: int, verdict: str, check: str = "", participant: str = "ana") -> Entry:
    ending = slot(document, number, participant)
    return Outcome(time=number, slot=ending, verdict=verdict, check=check, verify_ms=0)


def rows_of(entries: list[Entry], proven: set[int]) -> dict[tuple[str, str, Assurance], PrivacyRow]:
    return {(row.participant, row.task, row.assurance): row for row in account(entries, proven)}


def test_rounds_add_up() -> None:
    spring = plan("spring")
    entries = [planned(spring), released(spring, 1), released(spring, 2), released(spring, 3)]
    rows = rows_of(entries, {1, 2, 3})
    eta = 3 * 57 * total_variation(100)
    for assurance, norm in ((Assurance.PROVEN_PARTICIPANT, 40), (Assurance.ATTESTED_RECORD, 10)):
        row = rows["ana", "risk", assurance]
        expected = guarantee(Loss(3 * norm**2 / (2 * 100**2), eta=eta), 1e-5)
        assert row.guarantee.epsilon == pytest.approx(expected.epsilon)
        assert row.guarantee.precision_delta == pytest.approx(expected.precision_delta)
        assert (row.releases, row.invalid_releases, row.aborts) == (3, 0, 0)
    assert len(rows) == 2


def test_release_statement_never_proves_a_record_figure() -> None:
    spring = plan("spring")
    rows = account([planned(spring), released(spring, 1)], {1})
    assert Assurance.PROVEN_RECORD not in {row.assurance for row in rows}


def test_runs_of_a_task_add_up_at_the_largest_delta() -> None:
    spring, autumn = plan("spring"), plan("autumn", delta="1e-6", sigma=50, dimension=9)
    entries = [planned(spring), planned(autumn), released(autumn, 1), released(spring, 1)]
    row = rows_of(entries, {2, 3})["ana", "risk", Assurance.PROVEN_PARTICIPANT]
    rho = 40**2 / (2 * 100**2) + 40**2 / (2 * 50**2)
    eta = 9 * total_variation(50) + 57 * total_variation(100)
    assert row.guarantee.delta == 1e-5
    expected = guarantee(Loss(rho, eta=eta), 1e-5)
    assert row.guarantee.epsilon == pytest.approx(expected.epsilon)
    assert row.guarantee.precision_delta == pytest.approx(expected.precision_delta)


def test_tasks_of_a_participant_add_up_in_a_row_of_their_own() -> None:
    risk, forecast = plan("one", "risk"), plan("two", "forecast")
    entries = [planned(risk), planned(forecast), released(risk, 1), released(forecast, 1)]
    rows = rows_of([*entries, released(risk, 1, "ben")], {2, 3, 4})
    single = rows["ana", "risk", Assurance.PROVEN_PARTICIPANT].guarantee.epsilon
    both = rows["ana", ALL_TASKS, Assurance.PROVEN_PARTICIPANT]
    assert both.releases == 2
    assert single < both.guarantee.epsilon < 2 * single
    assert ("ana", ALL_TASKS, Assurance.ATTESTED_RECORD) not in rows
    assert not [key for key in rows if key[:2] == ("ben", ALL_TASKS)]


@pytest.mark.parametrize("bad", [1, 2, 3])
def test_one_unproven_release_makes_its_participant_infinite(bad: int) -> None:
    spring = plan("spring")
    entries = [planned(spring), *(released(spring, number) for number in (1, 2, 3))]
    entries.append(released(spring, 1, "ben"))
    rows = rows_of(entries, {1, 2, 3, 4} - {bad})
    for assurance in (Assurance.PROVEN_PARTICIPANT, Assurance.ATTESTED_RECORD):
        row = rows["ana", "risk", assurance]
        assert math.isinf(row.guarantee.epsilon)
        assert row.guarantee.precision_delta == 1.0
        assert (row.releases, row.invalid_releases) == (3, 1)
        assert math.isfinite(rows["ben", "risk", assurance].guarantee.epsilon)


def test_invalid_release_in_one_task_spoils_the_sum_only() -> None:
    risk, forecast = plan("one", "risk"), plan("two", "forecast")
    entries = [planned(risk), planned(forecast), released(risk, 1), released(forecast, 1)]
    rows = rows_of(entries, {2})
    assert math.isfinite(rows["ana", "risk", Assurance.PROVEN_PARTICIPANT].guarantee.epsilon)
    assert math.isinf(rows["ana", "forecast", Assurance.PROVEN_PARTICIPANT].guarantee.epsilon)
    assert math.isinf(rows["ana", ALL_TASKS, Assurance.PROVEN_PARTICIPANT].guarantee.epsilon)


def test_aborts_cost_nothing_and_are_shown() -> None:
    spring = plan("spring")
    entries = [planned(spring), ended(spring, 1, "aborted", "release_missing"), released(spring, 2)]
    row = rows_of(entries, {2})["ana", "risk", Assurance.PROVEN_PARTICIPANT]
    assert (row.releases, row.aborts) == (1, 1)
    assert row.guarantee.epsilon == guarantee(Loss(40**2 / (2 * 100**2)), 1e-5).epsilon


def test_only_aborted() -> None:
    spring = plan("spring")
    entries = [planned(spring), ended(spring, 1, "aborted", "release_missing")]
    row = rows_of(entries, set())["ana", "risk", Assurance.PROVEN_PARTICIPANT]
    assert row.guarantee == guarantee(Loss(), 1e-5)


def test_release_of_an_unplanned_run_is_an_error() -> None:
    with pytest.raises(VerificationError) as caught:
        account([released(plan("spring"), 1)], {0})
    assert caught.value.check == "privacy"


# Data-bound runs


def test_data_bound_runs_have_a_proven_figure_for_a_record_and_none_for_a_participant() -> None:
    spring, autumn = summing("spring"), training("autumn", lot=64)
    entries = [
        planned(spring),
        planned(autumn),
        released(spring, 1),
        released(autumn, 1),
        released(autumn, 2),
    ]
    (row,) = account(entries, {2, 3, 4})
    loss = (
        Loss(release_rho(20, 100), eta=3 * 57 * total_variation(100)) + sampled_loss(100, 100, 64 / 2048) * 2
    )
    assert row.assurance is Assurance.PROVEN_RECORD
    assert row.guarantee.epsilon == pytest.approx(guarantee(loss, 1e-5).epsilon)
    assert row.guarantee.precision_delta == pytest.approx(guarantee(loss, 1e-5).precision_delta)


def test_amplified_without_lot() -> None:
    """Neither a whole lot nor a release nor a statistic is accounted as if it had been sampled."""
    for document in (plan("one"), summing("two"), training("three")):
        rows = account([planned(document), *(released(document, number) for number in (1, 2))], {1, 2})
        least = guarantee(Loss(2 * release_rho(document.record_bound, document.sigma)), 1e-5)
        assert rows
        for row in rows:
            assert row.guarantee.epsilon >= least.epsilon * (1 - 1e-9)


@pytest.mark.parametrize("release_first", [True, False])
def test_mixed_task_is_attested_by_its_weakest_link(release_first: bool) -> None:
    """One attested release makes the record's figure attested, and takes the participant's away."""
    spring, autumn = plan("spring"), training("autumn", lot=64)
    slots = [released(spring, 1), released(autumn, 1)]
    entries = [planned(spring), planned(autumn), *(slots if release_first else slots[::-1])]
    (row,) = account(entries, {2, 3})
    loss = Loss(release_rho(10, 100)) + sampled_loss(100, 100, 64 / 2048)
    assert row.assurance is Assurance.ATTESTED_RECORD
    assert row.guarantee.epsilon == pytest.approx(guarantee(loss, 1e-5).epsilon)
    assert row.releases == 2


def test_mixed_task_stays_attested_and_infinite() -> None:
    """Later proven releases do not bring the label back, nor do they mend an invalid one."""
    spring, autumn = plan("spring"), summing("autumn")
    entries = [
        planned(spring),
        planned(autumn),
        released(spring, 1),
        released(autumn, 1),
        released(autumn, 2),
    ]
    (row,) = account(entries, {3, 4})
    assert row.assurance is Assurance.ATTESTED_RECORD
    assert math.isinf(row.guarantee.epsilon)
    assert row.invalid_releases == 1


def test_mixed_task_of_one_participant_leaves_others_alone() -> None:
    spring, autumn = plan("spring"), summing("autumn")
    entries = [planned(spring), planned(autumn), released(spring, 1), released(autumn, 1)]
    rows = rows_of([*entries, released(autumn, 1, "ben")], {2, 3, 4})
    assert set(rows) == {
        ("ana", "risk", Assurance.ATTESTED_RECORD),
        ("ben", "risk", Assurance.PROVEN_RECORD),
    }


def test_aborted_release_run_weakens_the_label() -> None:
    """An abort may have told something too: what it is worth is the word of its plan's level."""
    spring, autumn = plan("spring"), summing("autumn")
    entries = [planned(spring), planned(autumn), ended(spring, 1, "aborted", "release_missing")]
    (row,) = account([*entries, released(autumn, 1)], {3})
    assert row.assurance is Assurance.ATTESTED_RECORD
    assert (row.releases, row.aborts) == (1, 1)
    assert row.guarantee.epsilon == guarantee(Loss(release_rho(20, 100)), 1e-5).epsilon


def test_unproven_data_bound_release_is_infinite() -> None:
    autumn = training("autumn", lot=64)
    (row,) = account([planned(autumn), released(autumn, 1), released(autumn, 2)], {2})
    assert math.isinf(row.guarantee.epsilon)
    assert (row.releases, row.invalid_releases) == (2, 1)


def test_no_participant_figure_over_tasks_of_which_one_is_data_bound() -> None:
    risk, forecast, popular = plan("one"), plan("two", "forecast"), summing("three", task="popular")
    entries = [planned(risk), planned(forecast), planned(popular), released(risk, 1), released(forecast, 1)]
    assert ("ana", ALL_TASKS, Assurance.PROVEN_PARTICIPANT) in rows_of(entries, {3, 4})
    rows = rows_of([*entries, released(popular, 1)], {3, 4, 5})
    assert not [key for key in rows if key[1] == ALL_TASKS]
