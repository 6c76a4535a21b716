"""Encodings, documents, entries and envelopes refuse whatever is not the one form of a value."""

import json
import sys
from collections.abc import Callable

import pytest

from intertwine.protocols.dataset import (
    MAX_PAGES_ADDED,
    PAGE_ROWS,
    Dataset,
    DatasetContext,
    DatasetPage,
)
from intertwine.protocols.encoding import (
    MAX_DOCUMENT_BYTES,
    decode,
    encode,
    length_prefixed,
    sha256,
    tagged_digest,
)
from intertwine.protocols.entries import (
    BeaconEntry,
    DatasetEntry,
    Enrolment,
    Failure,
    blobs_of,
    decode_entry,
)
from intertwine.protocols.envelope import Envelope
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.round import Commit, Refusal, RoundId, Signed, Slot, kind_of
from intertwine.protocols.signing import SigningKey, verify_raw
from tests.recording import fixed_key

ROUND = RoundId(deployment="ab" * 32, run="spring", task="risk", number=1)
SLOT = Slot(round=ROUND, participant="ana")


def test_canonical_form() -> None:
    assert encode({"b": [1, None, True], "a": "ü"}) == '{"a":"ü","b":[1,null,true]}'.encode()
    assert decode(b'{"a":[{}]}') == {"a": [{}]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-0}',
        b'{"a":9007199254740992}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'"\\u0041"',
        b'"\\ud800"',
        b'"\xff"',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":1}\n',
        b"[" * 17 + b"]" * 17,
        b"[" * 100_000 + b"]" * 100_000,
        b'["' + b"]" * 100_000 + b'",' + b"[" * 100_000,
    ],
    ids=lambda data: repr(data[:20]),
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"canonical|nested"):
        decode(data)


def test_deep_nesting_is_refused_whatever_the_recursion_limit() -> None:
    """Libraries raise the interpreter's limit; a parser that relies on it then overruns its stack."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    try:
        for data in (b"[" * 900_000, b'{"a":' * 180_000, b'["' + b"]" * 9 + b'",' + b"[" * 900_000):
            with pytest.raises(InputError, match="nested"):
                decode(data)
    finally:
        sys.setrecursionlimit(limit)


def test_brackets_in_strings_are_not_nesting() -> None:
    value = ["[" * 100, '"' + "[" * 100, "\\" + "{" * 100]
    assert decode(encode(value)) == value


def test_depth_and_size_at_their_limits() -> None:
    assert decode(b"[" * 16 + b"]" * 16)
    text = b'"' + b"a" * (MAX_DOCUMENT_BYTES - 2) + b'"'
    assert len(decode(text)) == MAX_DOCUMENT_BYTES - 2
    with pytest.raises(InputError, match="larger than"):
        decode(text + b" ")


@pytest.mark.parametrize("value", [1.5, {"a": float("nan")}, {1: "a"}, b"bytes", (1, 2)])
def test_values_without_a_canonical_form(value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)


def test_integers_up_to_53_bits() -> None:
    assert decode(encode([2**53 - 1, -(2**53) + 1])) == [2**53 - 1, -(2**53) + 1]
    with pytest.raises(ValueError, match="2\\^53"):
        encode(2**53)


def test_length_prefix_keeps_parts_apart() -> None:
    assert length_prefixed(b"ab", b"c") != length_prefixed(b"a", b"bc") != length_prefixed(b"a", b"b", b"c")
    assert tagged_digest("t", b"a") != tagged_digest("ta")


def enrolment() -> dict[str, object]:
    return Enrolment(
        time=1, participant="ana", role="smb", tasks=["risk"], signing_key="ab" * 32, node_key="cd" * 32
    ).model_dump(mode="json")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda entry: entry.pop("participant"), "participant"),
        (lambda entry: entry.update(participant="Ana"), "participant"),
        (lambda entry: entry.update(participant="../ana"), "participant"),
        (lambda entry: entry.update(participant="ana\n"), "participant"),
        (lambda entry: entry.update(participant="a" * 64), "participant"),
        (lambda entry: entry.update(signing_key="AB" * 32), "signing_key"),
        (lambda entry: entry.update(signing_key="ab" * 33), "signing_key"),
        (lambda entry: entry.update(time=-1), "time"),
        (lambda entry: entry.update(time="1"), "time"),
        (lambda entry: entry.update(time=True), "time"),
        (lambda entry: entry.update(role="bank"), "role"),
        (lambda entry: entry.update(colour="red"), "colour"),
        (lambda entry: entry.update(type="unknown"), "document"),
    ],
)
def test_entry_names_the_field_at_fault(change: Callable[[dict[str, object]], object], field: str) -> None:
    entry = enrolment()
    change(entry)
    with pytest.raises(InputError, match=f"field .*{field}"):
        decode_entry(encode(entry))


def test_entry_round_trip() -> None:
    entry = Enrolment.model_validate(enrolment())
    assert decode_entry(entry.encode()) == entry
    assert entry.digest() == sha256(entry.encode())


@pytest.mark.parametrize("constant", ["type", "mode"])
def test_entry_without_a_constant_field(constant: str) -> None:
    """Otherwise the same entry would have two encodings, and two digests."""
    entry = BeaconEntry(time=1, round=ROUND, checkpoint="note", nonce="ab" * 32, beacon="cd" * 32)
    values = json.loads(entry.encode())
    del values[constant]
    with pytest.raises(InputError):
        decode_entry(encode(values))
    with pytest.raises(InputError):
        BeaconEntry.decode(encode(values))


def test_documents_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        SLOT.participant = "ben"  # type: ignore[misc]


def test_slots_have_names_of_their_own() -> None:
    others = [
        SLOT.model_copy(update={"participant": "ben"}),
        SLOT.model_copy(update={"round": ROUND.model_copy(update={"number": 2})}),
        SLOT.model_copy(update={"round": ROUND.model_copy(update={"run": "summer"})}),
    ]
    assert len({slot.identifier() for slot in [SLOT, *others]}) == 4
    assert len(SLOT.identifier()) == 32


# Datasets and the commits that name them


def dataset(**changes: object) -> dict[str, object]:
    return {
        "version": "intertwine/dataset/v1",
        "deployment": "ab" * 32,
        "participant": "ana",
        "task": "risk",
        "sequence": 2,
        "previous": "cd" * 32,
        "columns": 57,
        "row_bound": 66,
        "label": "binary",
        "entries": "integer",
        "content": "ef" * 32,
        "pages": [{"rows": 17, "commitments": "01" * 32, "proof": "23" * 32}],
        **changes,
    }


def test_dataset_entry_names_its_files() -> None:
    body = Dataset.parse(dataset())
    entry = DatasetEntry(time=1, dataset=Signed[Dataset].create(body, fixed_key("ana")))
    assert decode_entry(entry.encode()) == entry
    assert blobs_of(entry) == ["01" * 32, "23" * 32]
    context = DatasetContext.create(body, "45" * 32, 0)
    assert (context.participant_key, context.previous, context.page) == ("45" * 32, "cd" * 32, 0)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"version": "intertwine/dataset/v2"}, "version"),
        ({"sequence": 0, "previous": ""}, "sequence"),
        ({"sequence": 1}, "previous: must be empty"),
        ({"previous": "cd"}, "previous"),
        ({"columns": 0}, "columns"),
        ({"columns": 1025}, "columns"),
        ({"row_bound": 0}, "row_bound"),
        ({"row_bound": 2048}, "row_bound"),
        ({"label": "colour"}, "label"),
        ({"entries": "real"}, "entries"),
        ({"content": ""}, "content"),
        ({"pages": []}, "pages"),
        ({"pages": [{"rows": PAGE_ROWS + 1, "commitments": "01" * 32, "proof": "23" * 32}]}, "pages.0.rows"),
        ({"pages": [{"rows": 0, "commitments": "01" * 32, "proof": "23" * 32}]}, "pages.0.rows"),
        ({"pages": [{"rows": 1, "commitments": "01" * 32}]}, "pages.0.proof"),
    ],
)
def test_impossible_dataset(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InputError, match=field):
        Dataset.parse(dataset(**changes))


def test_dataset_has_a_bounded_number_of_pages() -> None:
    page = DatasetPage(rows=1, commitments="01" * 32, proof="23" * 32).model_dump()
    assert len(Dataset.parse(dataset(pages=[page] * MAX_PAGES_ADDED)).pages) == MAX_PAGES_ADDED
    with pytest.raises(InputError, match="field pages"):
        Dataset.parse(dataset(pages=[page] * (MAX_PAGES_ADDED + 1)))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"randomness": []}, "randomness"),
        ({"randomness": ["ab" * 48] * 67}, "randomness"),
        ({"gradient": ["ab" * 48] * 34}, "gradient"),
        ({"lot": ["ab" * 48] * 257}, "lot"),
        ({"lot": ["ab"]}, "lot.0"),
        ({"dataset": "ab"}, "dataset"),
    ],
)
def test_impossible_commit(changes: dict[str, object], field: str) -> None:
    values = {
        "slot": SLOT.model_dump(),
        "plan": "ab" * 32,
        "parameters": "ab" * 32,
        "randomness": ["ab" * 48] * 66,
        "gradient": [],
        "dataset": "",
        "lot": ["ab" * 48] * 256,
    }
    assert Commit.parse(values).dataset == ""
    with pytest.raises(InputError, match=f"field {field}"):
        Commit.parse({**values, **changes})


# Signed documents


@pytest.fixture
def key() -> SigningKey:
    return fixed_key("ana")


@pytest.fixture
def signed(key: SigningKey) -> Signed[Refusal]:
    return Signed[Refusal].create(Refusal(slot=SLOT, reason="no budget"), key)


def test_signature_round_trip(signed: Signed[Refusal], key: SigningKey) -> None:
    again = Signed[Refusal].decode(signed.encode())
    assert again.open(key.public).reason == "no budget"
    assert kind_of(signed.encode()) == "Refusal"


@pytest.mark.parametrize(
    "change",
    [
        {"body": Refusal(slot=SLOT, reason="other")},
        {"kind": "Commit"},
        {"key": fixed_key("ben").public},
        {"signature": "00" * 64},
    ],
    ids=["body", "kind", "key", "signature"],
)
def test_tampered_signature(signed: Signed[Refusal], key: SigningKey, change: dict[str, object]) -> None:
    with pytest.raises(VerificationError) as caught:
        signed.model_copy(update=change).open(key.public)
    assert caught.value.check == "signature"


def test_signature_of_another_kind_of_document(key: SigningKey) -> None:
    """The same bytes, signed as another type, do not pass."""
    body = Refusal(slot=SLOT, reason="no budget")
    forged = Signed[Refusal](
        kind="Refusal", body=body, key=key.public, signature=key.sign("Failure", body.encode())
    )
    with pytest.raises(VerificationError):
        forged.open(key.public)


@pytest.mark.parametrize("public", ["00" * 32, "ff" * 32])
def test_key_that_is_no_point(public: str) -> None:
    with pytest.raises(VerificationError):
        verify_raw(public, b"message", bytes(64))


@pytest.mark.parametrize("data", [b"[]", b'"text"', b"{}", b'{"kind":1}'])
def test_kind_of_something_else(data: bytes) -> None:
    with pytest.raises(InputError, match="not a signed document"):
        kind_of(data)


def test_failure_reason_is_bounded() -> None:
    with pytest.raises(InputError, match="field reason"):
        Failure.parse({"type": "failure", "time": 1, "round": ROUND.model_dump(), "reason": "a" * 501})


# Envelopes

FRAME = Envelope(b"{}", (b"update", b"proof")).to_bytes()


def test_envelope_layout() -> None:
    expected = b"ITW1" + b"\x02\0\0\0{}" + b"\x02" + b"\x06\0\0\0update" + b"\x05\0\0\0proof"
    assert expected == FRAME
    assert Envelope.from_bytes(FRAME, (6, 5)).expect(2) == (b"update", b"proof")


@pytest.mark.parametrize("length", range(len(FRAME)))
def test_envelope_cut_off(length: int) -> None:
    with pytest.raises(InputError, match="cut off"):
        Envelope.from_bytes(FRAME[:length], (6, 5))


@pytest.mark.parametrize(
    ("data", "limits", "words"),
    [
        (b"ITW2" + FRAME[4:], (6, 5), "frame's mark"),
        (FRAME + b"\0", (6, 5), "after its end"),
        (FRAME, (6,), "2 attachments, more than 1"),
        (FRAME, (5, 5), "6 bytes, more than the 5"),
        (b"ITW1\xff\xff\xff\xff{}", (), "4294967295 bytes"),
    ],
)
def test_envelope_refused(data: bytes, limits: tuple[int, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Envelope.from_bytes(data, limits)


def test_envelope_with_fewer_attachments_than_expected() -> None:
    envelope = Envelope.from_bytes(Envelope(b"{}").to_bytes(), (6, 5))
    with pytest.raises(InputError, match="0 attachments where 2 belong"):
        envelope.expect(2)
