"""Notes, policies and witness requests: whatever comes in, they are read exactly or refused in one way."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from intertwine.protocols.checkpoint import Checkpoint, log_verifier, sign_checkpoint
from intertwine.protocols.cosignature import Cosigner, cosign, read_cosigned
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.note import COSIGNATURE_KEY, SignedNote, VerifierKey
from intertwine.protocols.policy import Policy
from intertwine.protocols.witnessing import AddCheckpoint
from tests.recording import fixed_key

KEY = fixed_key("log")
LOG = log_verifier(KEY.public)
WITNESS = VerifierKey("witness.example/w1", COSIGNATURE_KEY, fixed_key("ana").public)
TEXT = f"log {LOG}\nwitness w {WITNESS} https://witness.example\ngroup g any w\nquorum g\n"
POLICY = Policy.parse(TEXT)
NOTE = sign_checkpoint(Checkpoint(LOG.name, 3, bytes(32)), KEY)
NOTE += cosign(NOTE, WITNESS.name, fixed_key("ana"), 7)
REQUEST = AddCheckpoint(2, (bytes(32),), NOTE).encode()

sizes = st.integers(0, 2**63 - 1)
hashes = st.binary(min_size=32, max_size=32)


@given(sizes, hashes, st.integers(0, 2**63 - 1))
def test_cosigned_notes_round_trip(size: int, root: bytes, time: int) -> None:
    note = sign_checkpoint(Checkpoint(LOG.name, size, root), KEY)
    note += cosign(note, WITNESS.name, fixed_key("ana"), time)
    found = read_cosigned(note, POLICY)
    assert found.checkpoint == Checkpoint(LOG.name, size, root)
    assert found.cosigners == (Cosigner("w", time),)
    assert SignedNote.parse(note, 4096).encode() == note


@given(st.integers(0, 10**19 - 1), st.lists(hashes, max_size=63))
def test_requests_round_trip(old: int, proof: list[bytes]) -> None:
    request = AddCheckpoint(old, tuple(proof), NOTE)
    assert AddCheckpoint.parse(request.encode()) == request


@st.composite
def changed(draw: st.DrawFn, original: str) -> str:
    """The text with one part of it replaced by anything."""
    start = draw(st.integers(0, len(original)))
    end = draw(st.integers(start, min(len(original), start + 8)))
    return original[:start] + draw(st.text(max_size=8)) + original[end:]


@given(changed(NOTE))
def test_no_other_note_reads_as_this_one(note: str) -> None:
    with contextlib.suppress(VerificationError):
        found = read_cosigned(note, POLICY)
        assert note.startswith(NOTE.partition("\n\n")[0])
        assert set(found.cosigners) <= {Cosigner("w", 7)}
        assert note == NOTE or not found.cosigners


@given(st.text() | changed(TEXT))
def test_policies_are_read_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        Policy.parse(text)


@given(st.binary() | changed(REQUEST.decode()).map(lambda text: text.encode(errors="replace")))
def test_requests_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(InputError):
        assert AddCheckpoint.parse(body).encode() == body


@given(st.text() | changed(str(LOG)))
def test_keys_are_read_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert str(VerifierKey.parse(text)) == text
