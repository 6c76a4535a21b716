"""No single byte of a bundle can be changed, added or removed unnoticed, and none makes the audit crash."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intertwine.protocols.errors import InputError
from intertwine.protocols.mechanism import ReleaseMechanism
from intertwine.protocols.policy import Policy
from intertwine.zk.audit import verify_bundle
from tests.recording import Federation, Recording


class OneRound(Federation):
    """ana is honest, ben is rejected, cyd silent."""

    def play(self) -> Recording:
        self._enrol()
        script = ({"ana": "honest", "ben": "half-noise", "cyd": "silent"},)
        release = ReleaseMechanism(update_bound=10)
        self._run(script, run="spring", mechanism=release, record_bound=4, sigma=50)
        return self.record


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, Policy]:
    """A bundle that passes, its bytes, and the policy under which it does."""
    recording = OneRound().play()
    bundle = recording.write(tmp_path_factory.mktemp("honest"))
    policy = Policy.of_key(recording.log_key.public)
    assert verify_bundle(bundle, policy).passed
    return bundle, bundle.read_bytes(), policy


@settings(max_examples=150, deadline=None)
@given(
    place=st.floats(0, 1, exclude_max=True),
    early=st.booleans(),
    removed=st.booleans(),
    inserted=st.binary(max_size=1),
)
def test_every_byte_counts(
    honest: tuple[Path, bytes, Policy], place: float, early: bool, removed: bool, inserted: bytes
) -> None:
    """early: among the first two kilobytes, which hold the manifest."""
    bundle, data, policy = honest
    position = int(place * min(len(data), 2048 if early else len(data)))
    tampered = data[:position] + inserted + data[position + removed :]
    bundle.write_bytes(tampered)
    try:
        passed = verify_bundle(bundle, policy, workers=1).passed
    except InputError:
        passed = False
    assert passed == (tampered == data)
