"""Fixtures for auditing: recorded federations, one of each kind a session, copied for every test."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from intertwine.protocols.policy import Policy
from intertwine.protocols.signing import SigningKey
from intertwine.zk.audit import Verdict, verify_bundle
from tests.recording import Audit, DataBoundFederation, Federation, Recording, fixed_key


@pytest.fixture(autouse=True, scope="session")
def _cache_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What commands remember between runs stays out of the home of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def _played() -> Recording:
    return Federation().play()


@pytest.fixture
def recording(_played: Recording) -> Recording:
    """A fresh copy of the recorded federation's log."""
    return _played.copy()


@pytest.fixture(scope="session")
def _data_bound() -> Recording:
    return DataBoundFederation().play()


@pytest.fixture
def enrolled(_data_bound: Recording) -> Recording:
    """A fresh copy of the log of a training run, an addition of records, and a run of sums."""
    return _data_bound.copy()


@pytest.fixture
def other_key() -> SigningKey:
    """A key that nobody enrolled."""
    return fixed_key("mallory")


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    """Writes a recording as a bundle, with these fields of its manifest, and verifies it.

    note: the bundle's checkpoint; the log is signed anew without it.
    """

    def write_and_verify(
        recording: Recording,
        note: str | None = None,
        *,
        manifest: Mapping[str, Any] = MappingProxyType({}),
        **options: Any,
    ) -> Verdict:
        folder = tmp_path / f"audit-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return verify_bundle(recording.write(folder, **{"checkpoint": note, **manifest}), **options)

    return write_and_verify


@pytest.fixture
def note(recording: Recording) -> str:
    """The checkpoint of the log as it was recorded."""
    return recording.checkpoint(len(recording.entries))


@pytest.fixture(scope="module")
def untampered(_played: Recording, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Makes sure that the recorded federation passes under the known key."""
    bundle = _played.copy().write(tmp_path_factory.mktemp("untampered"))
    assert verify_bundle(bundle, Policy.of_key(_played.log_key.public)).passed
