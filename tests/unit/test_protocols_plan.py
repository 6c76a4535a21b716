"""Plans say which field is wrong; the server step is the textbook's, to the last bit."""

import numpy as np
import pytest

from intertwine.protocols.accounting import guarantee
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
from intertwine.protocols.plan import MAX_DIMENSION, MAX_UPDATE_BOUND, Plan

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
    "update_bound": 40,
    "delta": "1e-5",
    "learning_rate": "0.25",
    "momentum": "0.5",
    "normaliser": "4",
    "average_last": 2,
    "participants": ["ana", "ben"],
    "quorum": 2,
    "deadline_s": 60,
    "initial": "ef" * 32,
    "version": "intertwine/plan/v1",
    "statement": "release",
    "adjacency": "zero-out",
    "beacon": "M1",
}


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
        ({"update_bound": MAX_UPDATE_BOUND + 1}, "field update_bound"),
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
        ({"version": "intertwine/plan/v2"}, "field version"),
        ({"statement": "trust-me"}, "field statement"),
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


def test_cost_of_all_rounds() -> None:
    plan = Plan.parse(VALUES)
    assert plan.participant_rho() == 40**2 / (2 * 100**2)
    assert plan.record_rho() == 10**2 / (2 * 100**2)
    assert plan.cost(0.1, 1e-12) == guarantee(3 * 0.1, 1e-5, 3e-12)


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
