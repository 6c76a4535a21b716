"""A model file follows from a template, parameters and metadata, and from nothing else."""

import hashlib

import numpy as np
import pytest

from intertwine.protocols import model_file
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.model_file import expected_model, parameters_marker, read_metadata, split_model
from intertwine.protocols.plan import MAX_DIMENSION

TEMPLATE = b"before" + parameters_marker(3) + b"after"
PARAMETERS = np.array([0.5, -1e-300, 7.0], dtype="<f8").tobytes()


def test_the_marker_is_that_of_the_specification() -> None:
    """Written out one number after another, with Python's integers."""
    stream = hashlib.shake_256(b"intertwine/onnx-template/1" + (5).to_bytes(8, "little")).digest(40)
    values = np.frombuffer(parameters_marker(5), dtype="<f8")
    for place, value in enumerate(values):
        word = int.from_bytes(stream[8 * place : 8 * place + 8], "little")
        assert value == 1 + (word >> 12) / 2**52
    assert len(parameters_marker(MAX_DIMENSION)) == 8 * MAX_DIMENSION
    assert parameters_marker(4) not in parameters_marker(5)


@pytest.mark.parametrize("dimension", [0, -1, MAX_DIMENSION + 1])
def test_no_marker_of_impossible_dimension(dimension: int) -> None:
    with pytest.raises(VerificationError, match=r"model_file.*cannot have"):
        parameters_marker(dimension)


def test_parameters_replace_the_marker_and_metadata_follow_by_key() -> None:
    assert expected_model(TEMPLATE, PARAMETERS, {}) == b"before" + PARAMETERS + b"after"
    tail = expected_model(TEMPLATE, PARAMETERS, {"run": "é", "a": "x" * 200})[len(TEMPLATE) :]
    first = b"\x0a\x01a\x12\xc8\x01" + b"x" * 200
    assert tail == b"\x72" + bytes([len(first) & 0x7F | 0x80, len(first) >> 7]) + first + (
        b"\x72\x09\x0a\x03run\x12\x02" + "é".encode()
    )


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (b"before and after", "no place for 3"),
        (b"before" + parameters_marker(4) + b"after", "no place for 3"),
        (TEMPLATE[:20] + b"!" + TEMPLATE[21:], "no place for 3"),
        (TEMPLATE + TEMPLATE, "more than one place"),
    ],
)
def test_template_without_one_place_for_the_parameters(template: bytes, words: str) -> None:
    with pytest.raises(VerificationError, match=words) as caught:
        expected_model(template, PARAMETERS, {})
    assert caught.value.check == "model_file"
    with pytest.raises(VerificationError, match=words):
        split_model(b"any file", template, 3)


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VerificationError, match="whole number of parameters"):
        expected_model(TEMPLATE, PARAMETERS[:-1], {})
    with pytest.raises(VerificationError, match="metadata of"):
        expected_model(TEMPLATE, PARAMETERS, {"run": "x" * model_file.MAX_METADATA_BYTES})
    monkeypatch.setattr(model_file, "MAX_MODEL_BYTES", len(TEMPLATE) - 1)
    with pytest.raises(VerificationError, match="larger than"):
        expected_model(TEMPLATE, PARAMETERS, {})


def test_split_is_the_inverse() -> None:
    metadata = {"a": "", "log_origin": "x" * 5000, "run": "é"}
    assert split_model(expected_model(TEMPLATE, PARAMETERS, metadata), TEMPLATE, 3) == (PARAMETERS, metadata)
    assert split_model(expected_model(TEMPLATE, PARAMETERS, {}), TEMPLATE, 3) == (PARAMETERS, {})


MODEL = expected_model(TEMPLATE, PARAMETERS, {"a": "1", "b": "2"})
ENTRY = len(expected_model(TEMPLATE, PARAMETERS, {"a": "1"})) - len(TEMPLATE)


@pytest.mark.parametrize(
    "model",
    [
        b"",
        MODEL[:-1],
        MODEL[:-ENTRY] + MODEL[-ENTRY + 1 :],
        MODEL + b"\x72",
        MODEL + b"\x72\xff",
        MODEL + MODEL[-ENTRY:],
        MODEL[: -2 * ENTRY] + MODEL[-ENTRY:] + MODEL[-2 * ENTRY : -ENTRY],
        MODEL[:-1] + b"\xff",
        MODEL[:-ENTRY] + b"\x3a" + MODEL[1 - ENTRY :],
        b"B" + MODEL[1:],
        MODEL[: len(TEMPLATE) - 1] + b"!" + MODEL[len(TEMPLATE) :],
        MODEL + b"\x72" + b"\xff" * 1000,
    ],
)
def test_a_file_that_the_template_does_not_make(model: bytes) -> None:
    """Cut, with entries repeated, out of order or of another field, or with another byte in the graph."""
    with pytest.raises(VerificationError) as caught:
        split_model(model, TEMPLATE, 3)
    assert caught.value.check == "model_file"


ONNX = b"\x08\x08" + b"\x3a\x05graph" + b"\x72\x08\x0a\x01a\x12\x03one"
"""A number, the graph and one entry of metadata."""


def test_metadata_of_template_and_run_are_read_together() -> None:
    template = b"\x3a" + bytes([24]) + parameters_marker(3) + ONNX[-10:]
    assert read_metadata(template) == {"a": "one"}
    assert read_metadata(expected_model(template, PARAMETERS, {"b": "é"})) == {"a": "one", "b": "é"}
    assert read_metadata(ONNX[:9]) == read_metadata(b"") == {}


@pytest.mark.parametrize(
    "model",
    [
        ONNX[:-1],
        ONNX + b"\x72",
        ONNX + b"\x72\xff",
        ONNX + b"\x72\x02\x0a\x00",
        ONNX + b"\x72\x06\x0a\x01\xff\x12\x01b",
        ONNX + b"\x75abcd",
        ONNX + ONNX[-10:],
        ONNX + b"\x3a" + b"\xff" * 20,
        ONNX + b"\x3a\xff\xff\xff\xff\x7fgraph",
    ],
    ids=["cut", "no length", "half a length", "no value", "not UTF-8", "fixed", "twice", "endless", "huge"],
)
def test_metadata_of_what_is_no_onnx_file(model: bytes) -> None:
    with pytest.raises(VerificationError, match=r"not ONNX|twice") as caught:
        read_metadata(model)
    assert caught.value.check == "model_file"


def test_metadata_of_a_file_beyond_all_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "MAX_MODEL_BYTES", len(ONNX) - 1)
    monkeypatch.setattr(model_file, "MAX_METADATA_BYTES", 0)
    with pytest.raises(VerificationError, match="too large"):
        read_metadata(ONNX)
