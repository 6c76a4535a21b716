"""Plans say which field is wrong; the server step is the textbook's, to the last bit."""

import numpy as np
import pytest

from intertwine.protocols.accounting import Assurance, Loss, sampled_loss
from intertwine.protocols.aggregation import (
    ServerOptimizer,
    aggregate,
    aggregate_to_bytes,
    parameters_from_bytes,
    parameters_to_bytes,
    update_from_bytes,
    update_to_bytes,
)
from intertwine.protocols.errors import InputError
from intertwine.protocols.mechanism import MAX_UPDATE_BOUND
from intertwine.protocols.plan import MAX_DIMENSION, Plan

VALUES = {
    "deployment": "ab" * 32,
    "run": "spring",
    "task": "risk",
    "model": "cd" * 32,
    "dimension": 2,
    "rounds": 3,
    "sigma": 100,
    "record_norm": "0.5",
    "record_bound": 10,
    "delta": "1e-5",
    "learning_rate": "0.25",
    "momentum": "0.5",
    "normaliser": "4",
    "average_last": 2,
    "participants": ["ana", "ben"],
    "quorum": 2,
    "deadline_s": 60,
    "initial": "ef" * 32,
    "template": "01" * 32,
    "version": "intertwine/plan/v3",
    "mechanism": {"statement": "release", "update_bound": 40},
    "adjacency": "zero-out",
    "beacon": "M1",
}
STATISTICS = {
    "statement": "statistics",
    "moment": "sum",
    "weights": "one",
    "label": "none",
    "entries": "uniform",
    "row_bound": 30,
}
GLM = {
    "statement": "glm",
    "link": "logistic",
    "label": "binary",
    "entries": "integer",
    "row_bound": 30,
    "residual_bound": 20,
    "lot": 2048,
    "label_unit": "1",
    "residual_norm": "1",
}


def planned(mechanism: dict[str, object], record_bound: int, **changes: object) -> Plan:
    return Plan.parse({**VALUES, "mechanism": mechanism, "record_bound": record_bound, **changes})


def test_plan_round_trip() -> None:
    plan = Plan.parse(VALUES)
    assert Plan.decode(plan.encode()) == plan


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"participants": ["ana", "ana"]}, "participants: a name occurs twice"),
        ({"participants": []}, "field participants"),
        ({"quorum": 3}, "quorum: 3 is more than the 2 participants"),
        ({"quorum": 0}, "field quorum"),
        ({"record_bound": 41}, "record_bound: must not be larger than update_bound"),
        ({"mechanism": {"statement": "release", "update_bound": MAX_UPDATE_BOUND + 1}}, "update_bound"),
        ({"mechanism": {"update_bound": 40}}, "field mechanism"),
        ({"mechanism": {"statement": "trust-me", "update_bound": 40}}, "field mechanism"),
        ({"mechanism": {**GLM, "update_bound": 40}}, "field mechanism.glm.update_bound"),
        ({"average_last": 4}, "average_last: must not be larger than rounds"),
        ({"dimension": 0}, "field dimension"),
        ({"dimension": MAX_DIMENSION + 1}, "field dimension"),
        ({"sigma": 75}, "field sigma"),
        ({"sigma": 100.0}, "canonical"),
        ({"delta": "0"}, "delta: must lie strictly between 0 and 1"),
        ({"delta": "1"}, "delta: must lie strictly between 0 and 1"),
        ({"delta": "nan"}, "field delta"),
        ({"delta": "1e-999"}, "field delta"),
        ({"momentum": "1"}, "momentum: must lie in"),
        ({"momentum": "-0.1"}, "momentum: must lie in"),
        ({"learning_rate": "0"}, "learning_rate: must be positive"),
        ({"learning_rate": "-1"}, "learning_rate: must be positive"),
        ({"normaliser": "0"}, "normaliser: must be positive"),
        ({"record_norm": "inf"}, "field record_norm"),
        ({"version": "intertwine/plan/v1"}, "field version"),
        ({"run": "Spring"}, "field run"),
        ({"extra": 1}, "field extra"),
    ],
)
def test_impossible_plan(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Plan.parse({**VALUES, **changes})


@pytest.mark.parametrize("field", sorted(VALUES))
def test_every_field_must_be_written_out(field: str) -> None:
    with pytest.raises(InputError):
        Plan.parse({name: value for name, value in VALUES.items() if name != field})


@pytest.mark.parametrize(
    ("mechanism", "bound", "dimension", "columns"),
    [
        (STATISTICS, 30, 7, 7),
        ({**STATISTICS, "weights": "label", "label": "binary"}, 30, 7, 7),
        ({**STATISTICS, "weights": "label", "label": "integer"}, 1024 * 30, 7, 7),
        ({**STATISTICS, "label": "integer"}, 30, 7, 7),
        ({**STATISTICS, "moment": "gram"}, 30**2, 10, 4),
        ({**STATISTICS, "moment": "gram", "label": "binary"}, 30**2 + 1, 10, 3),
        ({**STATISTICS, "moment": "gram", "label": "integer"}, 30**2 + 1024**2, 10, 3),
        (GLM, 600, 7, 7),
        ({**GLM, "link": "identity", "label": "integer", "label_unit": "0.1"}, 600, 7, 7),
    ],
)
def test_record_bound_follows_from_a_data_bound_mechanism(
    mechanism: dict[str, object], bound: int, dimension: int, columns: int
) -> None:
    plan = planned(mechanism, bound, dimension=dimension)
    assert Plan.decode(plan.encode()) == plan
    assert plan.mechanism.columns(dimension) == columns
    for wrong in (bound - 1, bound + 1):
        with pytest.raises(InputError, match=f"record_bound: must be {bound} "):
            planned(mechanism, wrong, dimension=dimension)


@pytest.mark.parametrize(
    ("mechanism", "changes", "words"),
    [
        ({**STATISTICS, "weights": "label"}, {}, "weights: 'label' needs"),
        (
            {**STATISTICS, "moment": "gram", "weights": "label", "label": "binary"},
            {},
            "weights: 'label' needs",
        ),
        (
            {**STATISTICS, "moment": "gram"},
            {"dimension": 11, "record_bound": 900},
            "dimension: a gram matrix",
        ),
        (STATISTICS, {"dimension": 1025, "record_bound": 30}, "dimension: must come from 1 to 1024 columns"),
        (
            {**STATISTICS, "moment": "gram", "label": "binary"},
            {"dimension": 1, "record_bound": 901},
            "dimension: must come",
        ),
        ({**STATISTICS, "row_bound": 2048}, {}, "row_bound"),
        ({**GLM, "label": "integer"}, {}, "label: must be 'binary'"),
        ({**GLM, "link": "identity"}, {}, "label: must be 'binary'"),
        ({**GLM, "label": "none"}, {}, "field mechanism.glm.label"),
        ({**GLM, "residual_norm": "2"}, {}, "must be 1 for link 'logistic'"),
        ({**GLM, "link": "identity", "label": "integer", "label_unit": "0"}, {}, "must be positive"),
        ({**GLM, "residual_bound": 1024}, {}, "residual_bound"),
        ({**GLM, "lot": 0}, {}, "lot"),
        ({**GLM, "lot": 2049}, {}, "lot"),
    ],
)
def test_impossible_mechanism(mechanism: dict[str, object], changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Plan.parse({**VALUES, "mechanism": mechanism, **changes})


def test_release_costs_a_participant_and_by_its_word_a_record() -> None:
    assert Plan.parse(VALUES).losses(1e-12) == {
        Assurance.PROVEN_PARTICIPANT: Loss(40**2 / (2 * 100**2), eta=1e-12),
        Assurance.ATTESTED_RECORD: Loss(10**2 / (2 * 100**2), eta=1e-12),
    }


@pytest.mark.parametrize(("mechanism", "bound"), [(STATISTICS, 30), (GLM, 600)])
def test_data_bound_costs_a_record_and_claims_nothing_for_a_participant(
    mechanism: dict[str, object], bound: int
) -> None:
    losses = planned(mechanism, bound).losses(1e-12)
    assert losses == {Assurance.PROVEN_RECORD: Loss(bound**2 / (2 * 100**2), eta=1e-12)}


def test_proven_lot_is_amplified() -> None:
    losses = planned({**GLM, "lot": 64}, 600, sigma=400).losses(1e-12)
    expected = sampled_loss(600, 400, 64 / 2048)
    assert losses == {Assurance.PROVEN_RECORD: Loss(0.0, expected.curve, 1e-12)}


@pytest.mark.parametrize(
    ("mechanism", "bound"),
    [
        (VALUES["mechanism"], 10),
        (STATISTICS, 30),
        ({**STATISTICS, "moment": "gram", "label": "binary"}, 901),
        (GLM, 600),
    ],
)
def test_amplified_without_lot(mechanism: dict[str, object], bound: int) -> None:
    """No level of a run without a proven lot has a sampled part, whatever else its plan says."""
    for dimension in (1, 3, 10):
        try:
            plan = planned(mechanism, bound, dimension=dimension, rounds=1000, normaliser="0.001")
        except InputError:
            continue
        losses = plan.losses(0.0)
        assert losses
        for loss in losses.values():
            assert loss.curve == ()
            assert loss.rho >= bound**2 / (2 * 100**2)


# The server step


def test_heavy_ball_by_hand() -> None:
    """scale = 10/0.5 = 20 units, times normaliser 4: a sum of 80 is a step of 1."""
    optimizer = ServerOptimizer(Plan.parse(VALUES), np.array([1.0, 0.0]))
    assert optimizer.published().tolist() == optimizer.parameters.tolist() == [1.0, 0.0]
    assert optimizer.step(np.array([80, -80])).tolist() == [1.25, -0.25]
    assert optimizer.step(np.array([0, 160])).tolist() == [1.375, 0.125]
    assert optimizer.step(np.array([0, 0])).tolist() == [1.4375, 0.3125]
    assert optimizer.published().tolist() == [(1.375 + 1.4375) / 2, (0.125 + 0.3125) / 2]


def test_steps_do_not_depend_on_how_many_are_averaged() -> None:
    plans = [Plan.parse({**VALUES, "average_last": last}) for last in (1, 2, 3)]
    optimizers = [ServerOptimizer(plan, np.array([0.1, 0.2])) for plan in plans]
    for total in (np.array([3, 5]), np.array([-7, 11]), np.array([13, -17])):
        steps = {parameters_to_bytes(optimizer.step(total)) for optimizer in optimizers}
        assert len(steps) == 1
    assert parameters_to_bytes(optimizers[0].published()) == parameters_to_bytes(optimizers[0].parameters)


def test_initial_parameters_of_another_shape() -> None:
    with pytest.raises(InputError, match=r"shape \(3,\), not \(2,\)"):
        ServerOptimizer(Plan.parse(VALUES), np.zeros(3))


def test_aggregate_is_exact() -> None:
    big = np.array([2**31 - 1, -(2**31)], dtype=np.int64)
    assert aggregate([big] * 5, 2).tolist() == [5 * (2**31 - 1), -5 * 2**31]
    assert aggregate([], 2).tolist() == [0, 0]
    assert len(aggregate_to_bytes(aggregate([big] * 5, 2))) == 16


def test_wire_formats() -> None:
    assert update_to_bytes(np.array([1, -2])) == b"\x01\0\0\0\xfe\xff\xff\xff"
    assert aggregate_to_bytes(np.array([-2])) == b"\xfe" + b"\xff" * 7
    assert parameters_to_bytes(np.array([1.0])) == b"\0\0\0\0\0\0\xf0\x3f"


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1])
def test_update_beyond_32_bits(value: int) -> None:
    with pytest.raises(InputError, match="32 bits"):
        update_to_bytes(np.array([value]))


@pytest.mark.parametrize("length", [0, 7, 9])
def test_update_of_another_length(length: int) -> None:
    with pytest.raises(InputError, match="dimension 2"):
        update_from_bytes(bytes(length), 2)


@pytest.mark.parametrize("length", [0, 15, 17])
def test_parameters_of_another_length(length: int) -> None:
    with pytest.raises(InputError, match="dimension 2"):
        parameters_from_bytes(bytes(length), 2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_parameters_that_are_not_finite(value: float) -> None:
    with pytest.raises(InputError, match="not finite"):
        parameters_from_bytes(parameters_to_bytes(np.array([0.0, value])), 2)
