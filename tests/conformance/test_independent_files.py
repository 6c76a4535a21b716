"""The independent verifier on what is no proof file, and on public inputs out of their ranges."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk.independent import argument, files, verify_file

GENERATOR = "97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
COMMON = {
    "version": "intertwine/proof/1",
    "context": "00ff",
    "beacon": "11" * 32,
    "slot": "22" * 32,
    "sigma": 50,
}
RELEASE = COMMON | {
    "statement": "release",
    "norm_bound": 9,
    "randomness": [GENERATOR],
    "gradient": [GENERATOR],
    "update": bytes(8 * 3).hex(),
    "proof": "00",
}
DATASET = {
    "version": "intertwine/proof/1",
    "statement": "dataset",
    "context": "",
    "rows": 5,
    "columns": 2,
    "row_bound": 7,
    "label": "binary",
    "entries": "integer",
    "commitments": [GENERATOR] * 3,
    "proof": "00",
}
RECORDS = {
    "columns": 2,
    "row_bound": 7,
    "label": "binary",
    "entries": "integer",
    "pages": [{"rows": 5, "commitments": [GENERATOR] * 3}] * 2,
    "randomness": [GENERATOR],
    "update": bytes(8 * 2).hex(),
    "proof": "00",
}
STATISTICS = COMMON | RECORDS | {"statement": "statistics", "moment": "sum", "weights": "label"}
GLM = (
    COMMON
    | RECORDS
    | {
        "statement": "glm",
        "link": "logistic",
        "residual_bound": 100,
        "record_norm": "1.5",
        "label_unit": "1",
        "residual_norm": "1",
        "exponent": 3,
        "lot": 64,
        "weights": [5, -6],
        "lot_randomness": [GENERATOR] * 2,
    }
)
GOOD = {"release": RELEASE, "dataset": DATASET, "statistics": STATISTICS, "glm": GLM}


def encode(fields: Any) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def failed_check(fields: dict[str, Any]) -> str:
    with pytest.raises(VerificationError) as caught:
        verify_file(encode(fields))
    return caught.value.check


@pytest.mark.parametrize("kind", GOOD)
def test_good_inputs_reach_the_proof(kind: str) -> None:
    assert failed_check(GOOD[kind]) == "proof_length"


@pytest.mark.parametrize("kind", GOOD)
def test_missing_unknown_and_wrong_fields(kind: str) -> None:
    for name, value in GOOD[kind].items():
        others: list[Any] = [None, True, 1.5, {}, [[]], [None], [0.5]]
        others += [[], "zz", "0"] if isinstance(value, int) else [7]
        rest = {key: other for key, other in GOOD[kind].items() if key != name}
        with pytest.raises(InputError, match="missing"):
            verify_file(encode(rest))
        for other in others:
            with pytest.raises(InputError):
                verify_file(encode(rest | {name: other}))
    with pytest.raises(InputError, match="unknown"):
        verify_file(encode(GOOD[kind] | {"norm": 3}))


NOT_FILES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "not_utf8": lambda good: b"\xff" + good,
    "byte_order_mark": lambda good: b"\xef\xbb\xbf" + good,
    "truncated": lambda good: good[:-1],
    "trailing_newline": lambda good: good + b"\n",
    "space": lambda good: good.replace(b":", b": ", 1),
    "keys_unsorted": lambda good: (
        b'{"statement":"release",' + good[1:].replace(b'"statement":"release",', b"")
    ),
    "key_twice": lambda good: b'{"beacon":"%s",' % (b"11" * 32) + good[1:],
    "escaped": lambda good: good.replace(b"release", b"rel\\u0065ase"),
    "lone_surrogate": lambda good: good.replace(b"release", b"\\ud800"),
    "upper_case": lambda good: good.replace(b"00ff", b"00FF"),
    "odd_digits": lambda good: good.replace(b"00ff", b"00f"),
    "exponent_number": lambda good: good.replace(b'"norm_bound":9', b'"norm_bound":9e0'),
    "leading_zero": lambda good: good.replace(b'"norm_bound":9', b'"norm_bound":09'),
    "not_a_number": lambda good: good.replace(b'"norm_bound":9', b'"norm_bound":NaN'),
    "beyond_64_bits": lambda good: good.replace(b'"norm_bound":9', b'"norm_bound":%d' % 2**63),
    "endless_number": lambda good: good.replace(b'"norm_bound":9', b'"norm_bound":' + b"9" * 10_000),
    "other_version": lambda good: good.replace(b"proof/1", b"proof/2"),
    "other_statement": lambda good: good.replace(b'"release"', b'"trust"'),
    "list": lambda good: b"[" + good + b"]",
    "deep": lambda good: b"[" * 100_000,
    "wide": lambda good: b"[" + b"[]," * 100_000 + b"[]]",
    "many_items": lambda good: b"[" + b"0," * (files.MAX_ITEMS + 1) + b"0]",
    "short_beacon": lambda good: good.replace(b"11" * 32, b"11" * 31),
    "short_point": lambda good: good.replace(GENERATOR.encode(), GENERATOR[2:].encode(), 1),
    "long_context": lambda good: good.replace(b"00ff", b"00" * (files.MAX_CONTEXT_BYTES + 1)),
}


@pytest.mark.parametrize("name", NOT_FILES)
def test_what_is_not_a_proof_file(name: str) -> None:
    data = NOT_FILES[name](encode(RELEASE))
    assert data != encode(RELEASE)
    with pytest.raises(InputError) as caught:
        verify_file(data)
    assert len(str(caught.value)) < 300


def test_oversized_file_is_refused_unread() -> None:
    with pytest.raises(InputError, match="at most"):
        verify_file(bytes(files.MAX_FILE_BYTES + 1))


def update(*entries: int) -> str:
    return b"".join(entry.to_bytes(8, "little", signed=True) for entry in entries).hex()


OUT_OF_RANGE = [
    (RELEASE, {"sigma": 51}, "sigma_supported"),
    (RELEASE, {"sigma": -50}, "sigma_supported"),
    (RELEASE, {"norm_bound": 0}, "norm_bound_range"),
    (RELEASE, {"norm_bound": 2**27 + 1}, "norm_bound_range"),
    (RELEASE, {"update": ""}, "update_encoding"),
    (RELEASE, {"update": "00" * 9}, "update_encoding"),
    (RELEASE, {"update": "00" * 8 * 131_073}, "update_encoding"),
    (RELEASE, {"update": update(2**21)}, "update_range"),
    (RELEASE, {"update": update(0, -(2**21))}, "update_range"),
    (RELEASE, {"update": update(-(2**63))}, "update_range"),
    (RELEASE, {"randomness": []}, "commitment_count"),
    (RELEASE, {"sigma": 2049}, "commitment_count"),
    (RELEASE, {"gradient": [GENERATOR] * 2}, "commitment_count"),
    (RELEASE, {"update": "00" * 8 * 4089}, "commitment_count"),
    (DATASET, {"rows": 0}, "dataset_shape"),
    (DATASET, {"rows": 4089}, "dataset_shape"),
    (DATASET, {"columns": 0}, "dataset_shape"),
    (DATASET, {"columns": 1025, "commitments": [GENERATOR] * 1026}, "dataset_shape"),
    (DATASET, {"row_bound": 0}, "dataset_shape"),
    (DATASET, {"row_bound": 2048}, "dataset_shape"),
    (DATASET, {"label": "ternary"}, "dataset_shape"),
    (DATASET, {"entries": "real"}, "dataset_shape"),
    (DATASET, {"label": "none"}, "commitment_count"),
    (DATASET, {"entries": "uniform"}, "commitment_count"),
    (DATASET, {"columns": 3}, "commitment_count"),
    (STATISTICS, {"pages": []}, "dataset_shape"),
    (STATISTICS, {"pages": [{"rows": 0, "commitments": [GENERATOR] * 3}]}, "dataset_shape"),
    (STATISTICS, {"pages": [{"rows": 5, "commitments": [GENERATOR] * 2}]}, "commitment_count"),
    (STATISTICS, {"moment": "mean"}, "statistic_known"),
    (STATISTICS, {"moment": "gram"}, "statistic_known"),
    (
        STATISTICS,
        {"label": "none", "pages": [{"rows": 5, "commitments": [GENERATOR] * 2}]},
        "statistic_known",
    ),
    (STATISTICS, {"update": update(1, 2, 3)}, "update_encoding"),
    (STATISTICS, {"moment": "gram", "weights": "one", "update": update(*range(5))}, "update_encoding"),
    (STATISTICS, {"update": update(1, 2**31)}, "update_range"),
    (STATISTICS, {"randomness": [GENERATOR] * 2}, "commitment_count"),
    (GLM, {"sigma": 0}, "sigma_supported"),
    (GLM, {"link": "probit"}, "model_range"),
    (GLM, {"label": "none"}, "commitment_count"),
    (GLM, {"label": "integer"}, "model_range"),
    (GLM, {"link": "identity"}, "model_range"),
    (GLM, {"residual_bound": 0}, "model_range"),
    (GLM, {"residual_bound": 1024}, "model_range"),
    (GLM, {"record_norm": "0.0"}, "model_range"),
    (GLM, {"record_norm": "-1"}, "model_range"),
    (GLM, {"record_norm": "1/2"}, "model_range"),
    (GLM, {"record_norm": "NaN"}, "model_range"),
    (GLM, {"record_norm": "1E999"}, "model_range"),
    (GLM, {"record_norm": " 1"}, "model_range"),
    (GLM, {"record_norm": "1" * 13}, "model_range"),
    (GLM, {"record_norm": "1e100"}, "model_range"),
    (GLM, {"label_unit": "1.0"}, "model_range"),
    (GLM, {"residual_norm": "2"}, "model_range"),
    (GLM, {"exponent": -33}, "model_range"),
    (GLM, {"exponent": 65}, "model_range"),
    (GLM, {"lot": 0}, "model_range"),
    (GLM, {"lot": 2049}, "model_range"),
    (GLM, {"weights": [5]}, "model_range"),
    (GLM, {"weights": [2**32 // 7, 0, 0]}, "model_range"),
    (GLM, {"weights": [(2**32 - 1) // 7 + 1, 0]}, "model_range"),
    (GLM, {"lot": 2048}, "commitment_count"),
    (GLM, {"lot_randomness": []}, "commitment_count"),
    (GLM, {"update": update(1)}, "update_encoding"),
]


@pytest.mark.parametrize(("good", "change", "check"), OUT_OF_RANGE)
def test_public_input_out_of_range(good: dict[str, Any], change: dict[str, Any], check: str) -> None:
    assert failed_check(good | change) == check


@pytest.mark.parametrize(
    "change",
    [
        {"weights": [(2**32 - 1) // 7, 0]},
        {"weights": [-((2**32 - 1) // 7), 0]},
        {"record_norm": "1E-7"},
        {"lot": 2048, "lot_randomness": []},
        {"exponent": -32},
        {"exponent": 64, "residual_bound": 1023},
    ],
)
def test_extreme_models_are_in_range(change: dict[str, Any]) -> None:
    assert failed_check(GLM | change) == "proof_length"


def test_labels_must_leave_room_for_margins() -> None:
    """A negative room, whose square is large, is refused like any other that is too small."""
    integer = GLM | {"link": "identity", "label": "integer", "record_norm": "1", "exponent": 19}
    assert failed_check(integer) == "proof_length"
    assert failed_check(integer | {"exponent": 22}) == "model_range"
    assert failed_check(integer | {"exponent": 60}) == "model_range"


def test_gradients_must_fit_into_the_update() -> None:
    page = {"rows": 4088, "commitments": [GENERATOR] * 3}
    large = GLM | {
        "row_bound": 2047,
        "residual_bound": 1023,
        "pages": [page],
        "lot": 2048,
        "lot_randomness": [],
    }
    assert failed_check(large) == "model_range"
    assert failed_check(large | {"residual_bound": 256}) == "proof_length"


def test_altered_reference_string_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argument, "REFERENCE_STRING", "00" * 32)
    argument._reference_string.cache_clear()
    assert failed_check(RELEASE) == "reference_string"
    monkeypatch.undo()
    assert failed_check(RELEASE) == "proof_length"
