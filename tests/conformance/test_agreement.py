"""Whatever somebody writes into a proof file, both verifiers say the same, down to the name of the check."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intertwine.zk import independent, proof_file
from tests.conformance.forgery.file_cases import canonical
from tests.conformance.generate_vectors import FOLDER, verdict

GOOD = {
    name: json.loads((FOLDER / f"{name}.json").read_bytes())
    for name in (
        "release-honest",
        "dataset-honest",
        "dataset-honest-uniform",
        "statistics-honest",
        "glm-honest",
        "glm-honest-identity",
    )
}
NUMBERS = st.sampled_from(
    [
        -1,
        0,
        1,
        2,
        20,
        21,
        50,
        1023,
        1024,
        2047,
        2048,
        4088,
        4089,
        2**21,
        2**27,
        2**31,
        2**32,
        2**53,
        True,
        0.5,
    ]
)
DECIMALS = "0 1 1.0 1.5 1e3 1E+05 1e-99 1e100 0.0 1_0 +1 -1 .5 5. inf NaN 999999999999.9e99 1234567890123"
WORDS = "none binary integer uniform sum gram one label logistic identity é"
TEXTS = st.sampled_from(f"{DECIMALS} {WORDS}".split())


def other_bytes(text: str) -> st.SearchStrategy[str]:
    """A bit flipped, or bytes added or taken away."""
    data = bytes.fromhex(text)
    flips = st.tuples(st.integers(0, len(data) - 1), st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128]))
    flipped = flips.map(lambda flip: data[: flip[0]] + bytes([data[flip[0]] ^ flip[1]]) + data[flip[0] + 1 :])
    cut = st.sampled_from([data[:-1], data + b"\0", data[:-8], data + data[-8:], b""])
    return (flipped | cut).map(bytes.hex)


def other_value(value: Any) -> st.SearchStrategy[Any]:
    """Something else of about the same kind."""
    if isinstance(value, int):
        return NUMBERS | st.just(value + 1)
    if isinstance(value, str):
        return other_bytes(value) if len(value) >= 64 else TEXTS
    if isinstance(value, dict):
        return other_field(value)
    whole = st.sampled_from([[], value[1:], [*value, *value[:1]], value[::-1]])
    return whole | other_value(value[0]).map(lambda first: [first, *value[1:]]) if value else st.just([1])


def other_field(fields: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The same object with one field changed."""
    return st.sampled_from(sorted(fields)).flatmap(
        lambda name: other_value(fields[name]).map(lambda value: {**fields, name: value})
    )


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_verdicts_agree(name: str, data: st.DataObject) -> None:
    changed = canonical(data.draw(other_field(GOOD[name])))
    said = [verdict(verifier.verify_file, changed) for verifier in (proof_file, independent)]
    assert said[0] == said[1]
