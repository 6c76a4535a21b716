"""What `make bench-faults` counts as a ledger and a log that do not agree."""

import pytest

from deploy.bench.faults.federation import mismatches
from intertwine.client.ledger import SlotRow
from intertwine.protocols.entries import Outcome, ReleaseEntry
from intertwine.protocols.envelope import Envelope
from intertwine.protocols.round import Release, RoundId, Signed, Slot
from intertwine.protocols.signing import SigningKey

ZERO = "00" * 32
KEY = SigningKey.generate()
SLOT = Slot(round=RoundId(deployment=ZERO, run="one", task="forecast", number=1), participant="alder")
IDENTIFIER = SLOT.identifier().hex()


def release(update: str = ZERO) -> Signed[Release]:
    return Signed[Release].create(
        Release(slot=SLOT, commit=ZERO, beacon=ZERO, update=update, proof=ZERO), KEY
    )


def own(signed: Signed[Release]) -> SlotRow:
    sent = Envelope(signed.encode(), (b"update", b"proof")).to_bytes()
    return SlotRow(slot=IDENTIFIER, origin="own", release=sent)


LOGGED = ReleaseEntry(time=1, release=release())
LOST = Outcome(time=2, slot=SLOT, verdict="aborted", check="", verify_ms=0)


@pytest.mark.parametrize(
    "row", [own(release()), SlotRow(slot=IDENTIFIER, origin="log", release=release().encode())]
)
def test_the_same_release_in_both_is_no_mismatch(row: SlotRow) -> None:
    assert mismatches("alder", [LOGGED], [row]) == set()


def test_other_bytes_under_the_same_slot_are_one() -> None:
    assert mismatches("alder", [LOGGED], [own(release("11" * 32))]) == {IDENTIFIER}


def test_a_release_that_one_side_lacks_is_one_unless_the_log_gave_it_up() -> None:
    assert mismatches("alder", [LOGGED], []) == {IDENTIFIER}
    assert mismatches("alder", [], [own(release())]) == {IDENTIFIER}
    assert mismatches("alder", [LOST], [own(release())]) == set()
    assert mismatches("alder", [LOGGED, LOGGED], [own(release())]) == {IDENTIFIER}
    assert mismatches("birch", [LOGGED], []) == set()
