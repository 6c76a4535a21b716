"""A witness: what it co-signs, what it refuses, and that it never goes back."""

import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from intertwine.protocols.checkpoint import Checkpoint, log_verifier, sign_checkpoint
from intertwine.protocols.cosignature import Cosigner, read_cosigned
from intertwine.protocols.errors import FederationError, InputError, VerificationError
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.protocols.note import COSIGNATURE_KEY, VerifierKey
from intertwine.protocols.policy import Policy
from intertwine.protocols.signing import SigningKey
from intertwine.protocols.witnessing import AddCheckpoint, checkpoint_path
from intertwine.zk.audit.witness import ConflictError, UnknownLogError, Witness, WitnessHome
from tests.recording import fixed_key

KEY = fixed_key("log")
LOG = log_verifier(KEY.public)
TREE = Tree(leaf_hash(bytes([number])) for number in range(40))
FORK = Tree(leaf_hash(bytes([number, number])) for number in range(40))
TIME = 1_700_000_000


@pytest.fixture
def home(tmp_path: Path) -> WitnessHome:
    return WitnessHome.create(tmp_path / "witness", "witness.example/w1")


@contextmanager
def running(home: WitnessHome) -> Iterator[Witness]:
    witness = Witness(home, [LOG])
    try:
        yield witness
    finally:
        witness.close()


def note(size: int, tree: Tree = TREE, key: SigningKey = KEY) -> str:
    return sign_checkpoint(Checkpoint(LOG.name, size, tree.root(size)), key)


def request(old: int, size: int, tree: Tree = TREE) -> bytes:
    return AddCheckpoint(old, tuple(tree.consistency(old, size)), note(size, tree)).encode()


def policy_of(home: WitnessHome) -> Policy:
    return Policy.parse(f"log {LOG}\nwitness w {home.verifier}\nquorum w\n")


def kept_size(witness: Witness) -> int:
    """The size of what it shows as its newest co-signed note."""
    shown = witness.latest(checkpoint_path(LOG.name))
    return int(shown.split("\n")[1]) if shown else 0


def test_cosigns_a_growing_log(home: WitnessHome) -> None:
    with running(home) as witness:
        assert witness.latest(checkpoint_path(LOG.name)) is None
        for old, size in ((0, 3), (3, 8), (8, 8), (8, 33)):
            line = witness.add_checkpoint(request(old, size), TIME + size)
            found = read_cosigned(note(size) + line, policy_of(home))
            assert found.cosigners == (Cosigner("w", TIME + size),)
            assert witness.latest(checkpoint_path(LOG.name)) == note(size) + line
        assert witness.latest(checkpoint_path("intertwine/other")) is None


def test_files_are_private(home: WitnessHome) -> None:
    with running(home) as witness:
        witness.add_checkpoint(request(0, 3), TIME)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.path.iterdir()}
    assert modes == dict.fromkeys(("lock", "settings.toml", "state.json", "witness.key"), 0o600)
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (request(0, 5), 8),
        (request(0, 8), 8),
        (request(5, 8), 8),
        (request(5, 20), 8),
        (request(9, 20), 8),
        (request(0, 8, FORK), 8),
        (request(8, 8, FORK), 8),
    ],
)
def test_conflict(home: WitnessHome, body: bytes, size: int) -> None:
    """It never signs an older size again, nor another root of the same size; it tells where it stands."""
    with running(home) as witness:
        witness.add_checkpoint(request(0, 8), TIME)
        with pytest.raises(ConflictError) as caught:
            witness.add_checkpoint(body, TIME)
        assert caught.value.size == size
        assert kept_size(witness) == 8


def test_another_history_is_refused_and_kept(home: WitnessHome, caplog: pytest.LogCaptureFixture) -> None:
    with running(home) as witness:
        line = witness.add_checkpoint(request(0, 8), TIME)
        with pytest.raises(ConflictError, match="another history"):
            witness.add_checkpoint(request(8, 8, FORK), TIME)
    assert "FORK" in caplog.text
    (evidence,) = home.path.glob("fork-*.txt")
    assert evidence.read_text() == f"{note(8)}{line}\n{note(8, FORK)}"
    assert stat.S_IMODE(evidence.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("old", "size", "proof"),
    [
        (8, 20, FORK.consistency(8, 20)),
        (8, 20, []),
        (8, 20, TREE.consistency(8, 20)[:-1]),
        (8, 20, [*TREE.consistency(8, 20), bytes(32)]),
        (8, 8, [bytes(32)]),
    ],
)
def test_inconsistent(home: WitnessHome, old: int, size: int, proof: list[bytes]) -> None:
    with running(home) as witness:
        witness.add_checkpoint(request(0, 8), TIME)
        with pytest.raises(VerificationError) as caught:
            witness.add_checkpoint(AddCheckpoint(old, tuple(proof), note(size)).encode(), TIME)
        assert caught.value.check == "log_consistency"
        assert kept_size(witness) == 8


def test_a_first_checkpoint_has_no_proof(home: WitnessHome) -> None:
    with running(home) as witness, pytest.raises(VerificationError) as caught:
        witness.add_checkpoint(AddCheckpoint(0, (bytes(32),), note(8)).encode(), TIME)
    assert caught.value.check == "log_consistency"


def test_wrong_log(home: WitnessHome) -> None:
    mallory = fixed_key("mallory")
    other = Checkpoint(log_verifier(mallory.public).name, 3, TREE.root(3))
    with running(home) as witness:
        with pytest.raises(UnknownLogError):
            witness.add_checkpoint(AddCheckpoint(0, (), sign_checkpoint(other, mallory)).encode(), TIME)
        with pytest.raises(VerificationError) as caught:
            witness.add_checkpoint(AddCheckpoint(0, (), note(3, key=mallory)).encode(), TIME)
        assert caught.value.check == "checkpoint_signature"
        assert kept_size(witness) == 0


def test_lines_of_others_are_not_kept(home: WitnessHome) -> None:
    """A request may carry co-signatures by others; what this witness shows is its own business alone."""
    stranger = "— stranger.example AAAAAAA=\n"
    with running(home) as witness:
        line = witness.add_checkpoint(AddCheckpoint(0, (), note(3) + stranger).encode(), TIME)
        assert witness.latest(checkpoint_path(LOG.name)) == note(3) + line


GOOD = request(3, 5).decode()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "old 3",
        "old 3\n\n",
        GOOD.replace("old 3", "old 03"),
        GOOD.replace("old 3", "old -3"),
        GOOD.replace("old 3", "old ٣"),
        GOOD.replace("old 3", "old " + "9" * 20),
        GOOD.replace("old 3", "old 6"),
        GOOD.replace("old 3", "new 3"),
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("old 3\n", "old 3\nAAAA\n"),
        GOOD.replace("old 3\n", "old 3\n!\n"),
        GOOD.replace("old 3\n", "old 3\n" + f"{'A' * 43}=\n" * 64),
        GOOD.replace("old 3\n", "old 3\n" + f"{'A' * 42}B=\n"),
        GOOD.replace("\n5\n", "\n5\nextension\n"),
        GOOD.removesuffix("\n"),
        GOOD + "\n" * (64 << 10),
        "old 0\n\nhello\n\n— x AAAAAAA=\n",
    ],
)
def test_malformed(home: WitnessHome, body: str) -> None:
    with running(home) as witness:
        with pytest.raises(InputError) as caught:
            witness.add_checkpoint(body.encode(), TIME)
        assert len(str(caught.value)) < 300
        assert kept_size(witness) == 0


def test_bytes_that_are_no_text(home: WitnessHome) -> None:
    with running(home) as witness, pytest.raises(InputError, match="malformed"):
        witness.add_checkpoint(b"old 0\n\n\xff", TIME)


def test_restart_remembers(home: WitnessHome) -> None:
    with running(home) as witness:
        witness.add_checkpoint(request(0, 8), TIME)
        shown = witness.latest(checkpoint_path(LOG.name))
    with running(home) as witness:
        assert witness.latest(checkpoint_path(LOG.name)) == shown
        with pytest.raises(ConflictError):
            witness.add_checkpoint(request(0, 5), TIME)
        witness.add_checkpoint(request(8, 20), TIME)


def test_nothing_is_signed_that_cannot_be_kept(home: WitnessHome, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise InputError(f"{path} cannot be written: No space left on device.")

    with running(home) as witness:
        witness.add_checkpoint(request(0, 8), TIME)
        with monkeypatch.context() as patch:
            patch.setattr("intertwine.zk.audit.witness.write_private", full)
            with pytest.raises(FederationError, match="cannot keep"):
                witness.add_checkpoint(request(8, 20), TIME)
        assert kept_size(witness) == 8
        witness.add_checkpoint(request(8, 9), TIME)


def test_requests_at_once(home: WitnessHome) -> None:
    """Of many requests from the same size, to different ones, exactly one is co-signed."""
    outcomes: list[str | ConflictError] = []
    with running(home) as witness:
        witness.add_checkpoint(request(0, 3), TIME)
        barrier = threading.Barrier(8)

        def ask(size: int) -> None:
            barrier.wait()
            try:
                outcomes.append(witness.add_checkpoint(request(3, size), TIME))
            except ConflictError as error:
                outcomes.append(error)

        threads = [threading.Thread(target=ask, args=(size,)) for size in range(10, 18)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        kept = kept_size(witness)
    assert 10 <= kept < 18
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
    assert {outcome.size for outcome in outcomes if isinstance(outcome, ConflictError)} == {kept}


def test_after_the_end_nothing_is_signed(home: WitnessHome) -> None:
    """A request that is still under way must not sign beside a process that was started meanwhile."""
    with running(home) as witness:
        pass
    with running(home), pytest.raises(FederationError, match="ending"):
        witness.add_checkpoint(request(0, 8), TIME)
    assert not home.state_file.exists()


def test_one_process_a_home(home: WitnessHome) -> None:
    with running(home), pytest.raises(InputError, match="running"):
        Witness(home, [LOG])
    with running(home):
        pass


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: b"",
        lambda state: b"[]",
        lambda state: b"{}\n",
        lambda state: state.replace(b"intertwine/", b"intertwined/", 1),
        lambda state: state.replace(b"\\n8\\n", b"\\n08\\n"),
        lambda state: b'{"x":1}',
    ],
)
def test_damaged_state(home: WitnessHome, damage: Callable[[bytes], bytes]) -> None:
    with running(home) as witness:
        witness.add_checkpoint(request(0, 8), TIME)
    home.state_file.write_bytes(damage(home.state_file.read_bytes()))
    with pytest.raises(InputError, match=r"state\.json is damaged"):
        Witness(home, [LOG])


def test_init_twice(home: WitnessHome) -> None:
    assert WitnessHome.create(home.path, "witness.example/w1").verifier == home.verifier
    with pytest.raises(InputError, match="home of the witness"):
        WitnessHome.create(home.path, "witness.example/w2")
    with pytest.raises(InputError, match="cannot name"):
        WitnessHome.create(home.path, "two words")
    with pytest.raises(InputError, match="not a witness's home"):
        WitnessHome.open(home.path / "elsewhere")


def test_logs(home: WitnessHome) -> None:
    cosigner = VerifierKey(LOG.name, COSIGNATURE_KEY, KEY.public)
    namesake = VerifierKey(LOG.name, LOG.kind, fixed_key("mallory").public)
    for logs in ([], [cosigner], [LOG, namesake]):
        with pytest.raises(InputError, match="--log"):
            Witness(home, logs)
    with pytest.raises(InputError, match="--log"):
        Witness(home, [LOG] * 65)
