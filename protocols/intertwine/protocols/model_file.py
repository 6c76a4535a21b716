"""The published model file, as a function of logged bytes alone.

A task's *template* is its ONNX file with a marker where the parameters belong, and with the task's card as
its last field. The published file is the template with the marker replaced by the bytes of the published
parameters, and with the run's metadata behind it. So whoever has the log recomputes the file byte by byte,
without an ONNX library.
"""

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np

from intertwine.protocols.errors import VerificationError
from intertwine.protocols.plan import MAX_DIMENSION

MAX_MODEL_BYTES = 32 << 20
MAX_METADATA_BYTES = 8 << 20
"""Enough for what a run with as many participants as a plan can name costs each."""
MODEL_CARD, TASK_VERSION = "model_card", "task_version"
"""Keys of the metadata that a template brings: the task's card in Markdown, and its version."""
_TAG = b"intertwine/onnx-template/1"
_FRACTION_BITS = 52
_ONE = 0x3FF << _FRACTION_BITS
# Protocol Buffers' tags, field number and wire type 2: ModelProto.metadata_props, its entries' key and value.
_METADATA_PROPS, _KEY, _VALUE = 0x72, 0x0A, 0x12
_DELIMITED = 2


def parameters_marker(dimension: int) -> bytes:
    """What stands for the parameters in a template: `dimension` little-endian float64 in [1, 2).

    Their fraction bits are the upper 52 of each 64 bits of a SHAKE256 stream, so that no other part of a file
    equals the marker by chance. dimension: from 1 to MAX_DIMENSION; VerificationError `model_file` otherwise.
    """
    if not 1 <= dimension <= MAX_DIMENSION:
        raise _broken(f"a model cannot have {dimension} parameters")
    stream = hashlib.shake_256(_TAG + dimension.to_bytes(8, "little")).digest(8 * dimension)
    fractions = np.frombuffer(stream, dtype="<u8") >> np.uint64(64 - _FRACTION_BITS)
    return (fractions | np.uint64(_ONE)).astype("<u8").tobytes()


def expected_model(template: bytes, parameters: bytes, metadata: Mapping[str, str]) -> bytes:
    """The one model file that a template, published parameters and metadata make.

    parameters: little-endian float64, as `aggregation.parameters_to_bytes` writes them. metadata: become the
    file's `metadata_props`, in the order of their keys. VerificationError `model_file` if the template does
    not have the marker of that many parameters exactly once, or is larger than MAX_MODEL_BYTES.
    """
    if len(parameters) % 8:
        raise _broken(f"{len(parameters)} bytes are not a whole number of parameters")
    start = _place(template, len(parameters) // 8)
    graph = template[:start] + parameters + template[start + len(parameters) :]
    return graph + _metadata_props(metadata)


def split_model(model: bytes, template: bytes, dimension: int) -> tuple[bytes, dict[str, str]]:
    """The inverse of `expected_model`: the parameters and metadata that a file was made from.

    VerificationError `model_file` if it was not made from this template and that many parameters.
    """
    start = _place(template, dimension)
    parameters, props = model[start : start + 8 * dimension], model[len(template) :]
    try:
        metadata = dict(_entry(content) for _, content in _fields(props))
    except (IndexError, ValueError) as error:
        raise _broken("the file does not end with metadata") from error
    if expected_model(template, parameters, metadata) != model:
        raise _broken("the file was not made from this template")
    return parameters, metadata


def read_metadata(model: bytes) -> dict[str, str]:
    """All metadata of a model file, the template's and the run's, by key.

    VerificationError `model_file` if the file is larger than MAX_MODEL_BYTES and MAX_METADATA_BYTES together,
    is no ONNX file, or has a key twice. Nothing is said of where the file comes from: see `split_model`.
    """
    if len(model) > MAX_MODEL_BYTES + MAX_METADATA_BYTES:
        raise _broken(f"a file of {len(model)} bytes is too large")
    metadata: dict[str, str] = {}
    try:
        for tag, content in _fields(model):
            if tag == _METADATA_PROPS:
                key, value = _entry(content)
                if key in metadata:
                    raise _broken(f"the file has the metadata {key[:40]!r} twice")
                metadata[key] = value
    except (IndexError, ValueError) as error:
        raise _broken("the file is not ONNX") from error
    return metadata


def _place(template: bytes, dimension: int) -> int:
    """Where the parameters belong; VerificationError unless that is one place."""
    if len(template) > MAX_MODEL_BYTES:
        raise _broken(f"a template of {len(template)} bytes is larger than {MAX_MODEL_BYTES}")
    marker = parameters_marker(dimension)
    start = template.find(marker)
    if start < 0:
        raise _broken(f"the template has no place for {dimension} parameters")
    # Any later occurrence counts, one that overlaps the first included.
    if template.find(marker, start + 1) >= 0:
        raise _broken("the template has more than one place for the parameters")
    return start


def _metadata_props(metadata: Mapping[str, str]) -> bytes:
    """The field `metadata_props` of ONNX's ModelProto, one StringStringEntryProto a key, sorted."""
    entries = (
        _field(_KEY, key.encode()) + _field(_VALUE, metadata[key].encode()) for key in sorted(metadata)
    )
    data = b"".join(_field(_METADATA_PROPS, entry) for entry in entries)
    if len(data) > MAX_METADATA_BYTES:
        raise _broken(f"metadata of {len(data)} bytes are larger than {MAX_METADATA_BYTES}")
    return data


def _field(tag: int, content: bytes) -> bytes:
    """A length-delimited field of a Protocol Buffers message."""
    return bytes([tag]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that more follow."""
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of a message's fields, numbers being skipped; IndexError if one is cut off.

    ValueError if a field is of another wire type than a number or a length-delimited content.
    """
    position = 0
    while position < len(data):
        tag, position = _number(data, position)
        value, position = _number(data, position)
        if tag & 7 == _DELIMITED:
            if position + value > len(data):
                raise IndexError("the content is cut off")
            yield tag, data[position : position + value]
            position += value
        elif tag & 7:
            raise ValueError("a field of an unknown wire type")


def _entry(content: bytes) -> tuple[str, str]:
    """Key and value of a StringStringEntryProto; ValueError if it has other fields."""
    key, value = (part.decode() for _, part in _fields(content))
    return key, value


def _number(data: bytes, position: int) -> tuple[int, int]:
    """The varint at a position, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        value |= (data[position] & 0x7F) << shift
        position += 1
        if data[position - 1] <= 0x7F:
            return value, position
    raise ValueError("a number of more than 70 bits")


def _broken(problem: str) -> VerificationError:
    return VerificationError("model_file", f"{problem}.")
