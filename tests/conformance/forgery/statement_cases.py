"""Honest proofs under altered statements."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from intertwine.protocols.encoding import encode
from intertwine.zk.dataset import Dataset
from intertwine.zk.release import Commitments
from tests.conformance.forgery.argument_cases import INFINITY, KINDS, point_outside_subgroup
from tests.conformance.forgery.cases import IDENTITY, add
from tests.conformance.forgery.honest_cases import honest
from tests.conformance.forgery.plays import CONTEXT, Forged, encoded_generator, fixed, release_play

Change = Callable[[Any], dict[str, Any]]


def restated(kind: str, change: Change) -> Forged:
    good = honest(kind)
    return replace(good, statement=replace(good.statement, **change(good.statement)))


def add_restated(kind: str, name: str, check: str, why: str, change: Change, variant: str = "") -> None:
    add(kind, name, check, why, partial(restated, kind, change), variant=variant)


def fixed_fields(**fields: Any) -> Change:
    return lambda statement: fields


def in_shape(**fields: Any) -> Change:
    """Change the records' shape."""

    def change(statement: Any) -> dict[str, Any]:
        if hasattr(statement, "shape"):
            return {"shape": replace(statement.shape, **fields)}
        shape = replace(statement.dataset.shape, **fields)
        return {"dataset": replace(statement.dataset, shape=shape)}

    return change


def in_page(change: Callable[[Any], Any]) -> Change:
    """Change the first page."""

    def changed(statement: Any) -> dict[str, Any]:
        if hasattr(statement, "page"):
            return {"page": change(statement.page)}
        first, *others = statement.dataset.pages
        return {"dataset": Dataset(statement.dataset.shape, (change(first), *others))}

    return changed


def in_model(**fields: Any) -> Change:
    return lambda statement: {"model": replace(statement.model, **fields)}


def in_update(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda statement: {"update": change(statement.update.copy())}


def with_entry(row: int, value: int, add: bool = False) -> Change:
    def change(update: np.ndarray) -> np.ndarray:
        update[row] = value + (update[row] if add else 0)
        return update

    return in_update(change)


def in_randomness(change: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> Change:
    """Change the commitments to random bits, or those of a page."""

    def changed(statement: Any) -> dict[str, Any]:
        if hasattr(statement, "page"):
            page = statement.page
            return {"page": replace(page, commitments=change(page.commitments))}
        if hasattr(statement, "commitments"):
            own = statement.commitments
            return {"commitments": replace(own, randomness=change(own.randomness))}
        return {"randomness": change(statement.randomness)}

    return changed


CONTEXTS = (
    ("wrong_participant", {"participant": "ben"}, "The context names another participant."),
    ("wrong_round", {"round": 4}, "The context names another round."),
    ("wrong_model", {"model": "second"}, "The context names another model."),
)


def add_common_cases(kind: str) -> None:
    for name, change, why in CONTEXTS:
        add_restated(kind, name, IDENTITY, why, fixed_fields(context=encode({**CONTEXT, **change})))
    for variant, change, why in (
        ("more", lambda points: (*points, encoded_generator()), "There is one commitment too many."),
        ("fewer", lambda points: points[:-1], "There is one commitment too few."),
    ):
        add_restated(kind, "msm_length_mismatch", "commitment_count", why, in_randomness(change), variant)
    for name, point in (("opening_identity", INFINITY), ("non_subgroup_point", point_outside_subgroup())):
        change = in_randomness(lambda points, point=point: (point, *points[1:]))
        why = "So is a commitment of the statement."
        add_restated(kind, name, "point_encoding", why, change, "statement")


def add_noised_cases(kind: str) -> None:
    other = fixed("another")
    for variant, change in (
        ("sigma", fixed_fields(sigma={"glm": 5001}.get(kind, 50))),
        ("beacon", fixed_fields(beacon=other)),
        ("slot", fixed_fields(slot=other)),
    ):
        why = f"The statement has another {variant} than the proof."
        add_restated(kind, "params_swapped", IDENTITY, why, change, variant)
    change = in_randomness(lambda points: (encoded_generator(), *points[1:]))
    why = "The statement has another commitment than the proof."
    add_restated(kind, "params_swapped", IDENTITY, why, change, "commitment")
    add_restated(kind, "u_entry_plus_1", IDENTITY, "An entry of u is 1 more.", with_entry(0, 1, add=True))
    bound = 2**21 if kind == "release" else 2**31
    for variant, value in (("", bound), ("negative", -bound), ("lowest", -(2**63))):
        why = f"An entry of u is {value}."
        add_restated(kind, "u_out_of_range", "update_range", why, with_entry(0, value), variant)
    for variant, update, why in (
        ("", lambda update: np.frombuffer(update.tobytes()[:-1], np.uint8), "u lacks its last byte."),
        ("empty", lambda update: update[:0], "u has no entries."),
    ):
        add_restated(kind, "u_non_canonical", "update_encoding", why, in_update(update), variant)
    why = "There is no sampler for sigma 51."
    add_restated(kind, "sigma_unsupported", "sigma_supported", why, fixed_fields(sigma=51))


def add_record_cases(kind: str) -> None:
    for variant, change in (
        ("row-bound", in_shape(row_bound=51)),
        ("label", in_shape(label="integer")),
    ):
        if (kind, variant) != ("glm", "label"):
            why = "The statement's records have another form than the proof's."
            add_restated(kind, "params_swapped", IDENTITY, why, change, variant)
    for variant, rows in (("more", 21), ("fewer", 19)):
        why = f"The first page is said to hold {rows} records instead of 20."
        change = in_page(lambda page, rows=rows: replace(page, rows=rows))
        add_restated(kind, "rows_altered", IDENTITY, why, change, variant)
    change = in_page(lambda page: replace(page, commitments=page.commitments[::-1]))
    why = "The first page's commitments are in another order."
    add_restated(kind, "dataset_swapped", IDENTITY, why, change, "reordered")
    for variant, change, why in (
        ("columns", in_shape(columns=0), "There are no features."),
        ("row-bound", in_shape(row_bound=2048), "The bound of a record's norm is 2048."),
        ("label", in_shape(label="ternary"), "There is no such kind of label."),
        ("entries", in_shape(entries="real"), "There is no such kind of entries."),
        ("rows", in_page(lambda page: replace(page, rows=4089)), "A page is said to hold 4089 records."),
    ):
        add_restated(kind, "shape_out_of_range", "dataset_shape", why, change, variant)


def swap_lists(statement: Any) -> dict[str, Any]:
    own = statement.commitments
    return {"commitments": Commitments(own.gradient, own.randomness)}


def second_beacon() -> Forged:
    return replace(honest("release"), statement=release_play(beacon=fixed("another")).statement)


def add_release_cases() -> None:
    why = "The statement has another norm bound than the proof."
    add_restated("release", "params_swapped", IDENTITY, why, fixed_fields(norm_bound=401), "norm-bound")
    why = "The commitments to vector and random bits trade places."
    add_restated("release", "params_swapped", IDENTITY, why, swap_lists, "lists")
    for variant, bound in (("0", 0), ("large", 2**27 + 1)):
        why = f"The norm bound is {bound}."
        change = fixed_fields(norm_bound=bound)
        add_restated("release", "norm_bound_out_of_range", "norm_bound_range", why, change, variant)
    why = "The same random bits released under a second beacon, with the first one's proof."
    add("release", "same_r_two_beacons", IDENTITY, why, second_beacon)
    change = in_update(lambda update: np.zeros(4089, dtype=np.int64))
    why = "u has two pages, the commitments one."
    add_restated("release", "page_omitted", "commitment_count", why, change, "commitment")


def add_statistics_cases() -> None:
    for variant, change in (
        ("weights", fixed_fields(weights="label", moment="gram")),
        ("moment", fixed_fields(moment="mean")),
        ("label", in_shape(label="none")),
    ):
        why = "There is no such statistic of these records."
        if variant != "label":
            add_restated("statistics", "statistic_unknown", "statistic_known", why, change, variant)
    change = fixed_fields(weights="one")
    why = "The statement's sum is not weighted, the proof's is."
    add_restated("statistics", "params_swapped", "proof_length", why, change, "weights")
    change = in_update(lambda update: np.append(update, 0))
    why = "u has one entry more than the sum."
    add_restated("statistics", "u_non_canonical", "update_encoding", why, change, "long")


def add_glm_cases() -> None:
    for variant, fields in (
        ("residual-bound", {"residual_bound": 101}),
        ("record-norm", {"record_norm": "1.0"}),
        ("lot", {"lot": 1023}),
    ):
        why = "The statement's model differs from the proof's."
        add_restated("glm", "params_swapped", IDENTITY, why, in_model(**fields), variant)
    for variant, fields in (
        ("link", {"link": "probit"}),
        ("residual-bound", {"residual_bound": 1024}),
        ("record-norm", {"record_norm": "-1"}),
        ("record-norm-text", {"record_norm": "1_0"}),
        ("label-unit", {"label_unit": "1.0"}),
        ("lot", {"lot": 0}),
    ):
        why = f"The model's {variant} is out of range."
        add_restated("glm", "model_out_of_range", "model_range", why, in_model(**fields), variant)
    change = lambda statement: {"exponent": statement.exponent - 1}  # noqa: E731
    add_restated("glm", "params_swapped", IDENTITY, "The exponent is 1 less.", change, "exponent")
    change = lambda statement: {"weights": (statement.weights[0] - 1, *statement.weights[1:])}  # noqa: E731
    add_restated("glm", "weights_altered", IDENTITY, "A weight is 1 less.", change)
    change = lambda statement: {"weights": statement.weights[:-1]}  # noqa: E731
    add_restated("glm", "msm_length_mismatch", "model_range", "A weight is missing.", change, "weights")
    change = lambda statement: {"weights": (2**32, *statement.weights[1:])}  # noqa: E731
    why = "With a weight of 2^32 margins may leave the table."
    add_restated("glm", "model_out_of_range", "model_range", why, change, "weights")
    change = fixed_fields(lot_randomness=())
    why = "The lot's commitments are missing."
    add_restated("glm", "msm_length_mismatch", "commitment_count", why, change, "lot")


for kind in KINDS:
    add_common_cases(kind)
    if kind != "dataset":
        add_noised_cases(kind)
    if kind != "release":
        add_record_cases(kind)
add_release_cases()
add_statistics_cases()
add_glm_cases()
