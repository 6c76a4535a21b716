"""An agent changes its signing key through the real control plane, whatever interrupts it."""

import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from intertwine.client import cli as agent_cli
from intertwine.client.enrol import enrol
from intertwine.client.home import Home as AgentHome
from intertwine.client.keys import Ask, ask_coordinator, key_in_use, rotate_key
from intertwine.client.ledger import Ledger
from intertwine.client.participant import honest_release
from intertwine.protocols.entries import (
    Enrolment,
    KeyChange,
)
from intertwine.protocols.errors import FederationError, InputError, IntertwineError
from intertwine.protocols.files import read_bounded
from intertwine.protocols.keys import KeyStatus, NewKey, sign_new_key
from intertwine.protocols.round import Signed
from intertwine.protocols.signing import SigningKey
from intertwine.server.enrolment import invite
from intertwine.server.membership import change_key, key_status
from tests.federation import Member, MemoryFederation
from tests.serving import served


@pytest.fixture
def served_client(pair: MemoryFederation) -> Any:
    with served(pair.home, pair.store, lambda _key: 77) as client:
        yield client


@pytest.fixture
def agent(pair: MemoryFederation, served_client: httpx.Client) -> AgentHome:
    """An agent that enrolled through the real path."""
    home = AgentHome(pair.root / "agent")
    token = invite(pair.home, pair.store, "cedar", "security", ["toy"], 60)
    enrol(home, str(served_client.base_url), token, {"toy": pair.root / "alder.csv"})
    return home


def in_force(federation: MemoryFederation) -> str:
    return key_status(federation.store, "cedar").signing_key


def test_the_agent_replaces_its_key(pair: MemoryFederation, agent: AgentHome) -> None:
    old = agent.signing_key.public
    shown = CliRunner().invoke(
        agent_cli.app, ["rotate-key", "--home", str(agent.path)], catch_exceptions=False
    )
    new = agent.signing_key.public
    assert new in shown.output.replace("\n", "")
    assert new != old
    assert in_force(pair) == new
    assert not agent.next_signing_key_file.exists()
    assert agent.signing_key_file.stat().st_mode & 0o777 == 0o600
    assert rotate_key(agent, ask_coordinator(agent)).public == in_force(pair)
    assert key_status(pair.store, "cedar").changes == 2
    assert pair.entries(KeyChange)[0].change.body.old_key == pair.entries(Enrolment)[-1].signing_key
    pair.assert_passes()


class Crash(BaseException):
    """The agent's process ends here."""


def crash_before_the_request(_ask: Ask) -> Ask:
    def ask(change: Signed[NewKey] | None) -> KeyStatus:
        raise Crash

    return ask


def crash_between_the_requests(ask: Ask) -> Ask:
    def broken(change: Signed[NewKey] | None) -> KeyStatus:
        if change is not None:
            raise Crash
        return ask(None)

    return broken


def crash_before_the_answer(ask: Ask) -> Ask:
    def broken(change: Signed[NewKey] | None) -> KeyStatus:
        status = ask(change)
        if change is not None:
            raise Crash
        return status

    return broken


@pytest.mark.parametrize(
    "crash", [crash_before_the_request, crash_between_the_requests, crash_before_the_answer]
)
@pytest.mark.parametrize("way", ["rotate-key", "next use"])
def test_a_change_that_was_interrupted_is_finished(
    pair: MemoryFederation, agent: AgentHome, crash: Callable[[Ask], Ask], way: str
) -> None:
    ask, old = ask_coordinator(agent), agent.signing_key.public
    with pytest.raises(Crash):
        rotate_key(agent, crash(ask))
    announced = SigningKey.read(agent.next_signing_key_file).public
    assert agent.next_signing_key_file.stat().st_mode & 0o777 == 0o600
    assert agent.signing_key.public == old
    assert in_force(pair) == (announced if crash is crash_before_the_answer else old)

    if way == "rotate-key":
        rotate_key(agent, ask)
    else:
        with key_in_use(agent, ask) as identity:
            assert identity.key.public == announced
    assert agent.signing_key.public == in_force(pair) == announced
    assert not agent.next_signing_key_file.exists()
    assert len(pair.entries(KeyChange)) == 1


def test_a_crash_before_the_key_is_put_in_place(
    pair: MemoryFederation, agent: AgentHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.replace

    def crash(source: Path, target: Path) -> Path:
        if source == agent.next_signing_key_file:
            raise Crash
        return rename(source, target)

    ask = ask_coordinator(agent)
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(Path, "replace", crash)
        rotate_key(agent, ask)
    assert agent.next_signing_key_file.exists()
    assert agent.signing_key.public != in_force(pair)
    assert rotate_key(agent, ask).public == in_force(pair)
    assert len(pair.entries(KeyChange)) == 1


def test_an_unreachable_coordinator_leaves_the_key_in_force(pair: MemoryFederation, agent: AgentHome) -> None:
    def away(_change: Signed[NewKey] | None) -> KeyStatus:
        raise FederationError("The coordinator cannot be reached.", "Check its address.")

    old = agent.signing_key.public
    with pytest.raises(FederationError):
        rotate_key(agent, away)
    with pytest.raises(FederationError), key_in_use(agent, away):
        pass
    assert agent.signing_key.public == old == in_force(pair)


def test_a_home_restored_from_an_old_copy(pair: MemoryFederation, agent: AgentHome) -> None:
    kept, ask = agent.signing_key_file.read_bytes(), ask_coordinator(agent)
    rotate_key(agent, ask)
    agent.signing_key_file.write_bytes(kept)
    with pytest.raises(FederationError, match="neither our old nor our new"):
        rotate_key(agent, ask)
    assert len(pair.entries(KeyChange)) == 1


def take_part(federation: MemoryFederation, home: AgentHome) -> None:
    """Make the agent a participant of the federation in memory, with its own ledger and key."""
    tasks = federation.members["alder"].tasks
    federation.members["cedar"] = Member(home.identity, tasks, honest_release, Ledger(home.ledger), 77)


def test_the_key_stays_while_a_slot_waits_for_its_release(
    pair: MemoryFederation, agent: AgentHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intertwine.client.keys._WAIT_S", 0.2)
    take_part(pair, agent)
    pair.tamper = lambda _name, _kind, _reply: None
    with pytest.raises(FederationError, match="quorum"):
        pair.execute(pair.plan("toy", "silent", participants=["cedar"]))
    ask, old = ask_coordinator(agent), agent.signing_key.public
    with pytest.raises(InputError, match="Round 1 of run 'silent' waits"):
        rotate_key(agent, ask)
    assert not agent.next_signing_key_file.exists()
    assert in_force(pair) == old
    assert rotate_key(agent, ask, abandon_slots=True).public == in_force(pair) != old
    assert rotate_key(agent, ask).public == in_force(pair)  # the slot was the first key's


def test_a_slot_is_waited_for(pair: MemoryFederation, agent: AgentHome) -> None:
    """The agent that runs beside the command releases a moment later."""
    take_part(pair, agent)
    pair.tamper = lambda _name, _kind, _reply: None
    with pytest.raises(FederationError, match="quorum"):
        pair.execute(pair.plan("toy", "slow", participants=["cedar"]))
    ledger, old = pair.members["cedar"].ledger, agent.signing_key.public
    (slot,) = ledger.unreleased()
    releasing = threading.Timer(0.3, ledger.release, (slot.slot, "ab" * 32, b"the release", 0.1))
    releasing.start()
    assert rotate_key(agent, ask_coordinator(agent)).public == in_force(pair) != old
    releasing.join()
    assert not ledger.unreleased()


def test_the_key_stays_while_records_are_half_enrolled(pair: MemoryFederation, agent: AgentHome) -> None:
    def away(_envelope: bytes) -> None:
        raise FederationError("The coordinator is away.")

    take_part(pair, agent)
    with pytest.raises(FederationError):
        pair.enrol_records("cedar", "toy", away)
    with pytest.raises(InputError, match="half enrolled"):
        rotate_key(agent, ask_coordinator(agent))
    assert not agent.next_signing_key_file.exists()


def test_a_key_in_use_is_not_replaced(agent: AgentHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intertwine.client.keys._WAIT_S", 0.2)
    ask = ask_coordinator(agent)
    with key_in_use(agent, ask), key_in_use(agent, ask), pytest.raises(InputError, match="in use"):
        rotate_key(agent, ask)


def bearer(agent: AgentHome) -> dict[str, str]:
    return {"authorization": f"Bearer {read_bounded(agent.access_token, 64).decode()}"}


def test_the_latest_change_is_accepted_again_and_an_older_one_is_not(
    pair: MemoryFederation, agent: AgentHome, served_client: httpx.Client
) -> None:
    keys = [agent.signing_key, SigningKey.generate(), SigningKey.generate()]
    changes = [
        sign_new_key(pair.store.deployment, "cedar", number, old, new).encode()
        for number, (old, new) in enumerate(pairwise(keys), 1)
    ]

    def post(change: bytes) -> httpx.Response:
        return served_client.post("/v1/keys", content=change, headers=bearer(agent))

    for change in (changes[0], changes[0], changes[1], changes[1]):
        assert post(change).status_code == 201
    replayed = post(changes[0])
    assert replayed.status_code == 400
    assert set(replayed.json()) == {"error", "remedy"}
    assert len(pair.entries(KeyChange)) == 2
    assert KeyStatus.decode(served_client.get("/v1/keys", headers=bearer(agent)).content) == KeyStatus(
        participant="cedar", signing_key=keys[-1].public, changes=2
    )


def test_what_is_no_change_of_the_senders_key(pair: MemoryFederation, agent: AgentHome) -> None:
    key, new = agent.signing_key, SigningKey.generate()
    deployment, before = pair.store.deployment, pair.store.entries()
    refused = {
        "signature": sign_new_key(deployment, "cedar", 1, SigningKey.generate(), new),
        "key_change": sign_new_key(deployment, "alder", 1, key, new),
        "does not follow": sign_new_key(deployment, "cedar", 2, key, new),
        "another deployment": sign_new_key("ab" * 32, "cedar", 1, key, new),
        "was registered": sign_new_key(deployment, "cedar", 1, key, pair.members["alder"].key),
    }
    for words, change in refused.items():
        with pytest.raises(IntertwineError, match=words):
            change_key(pair.store, "cedar", change)
    assert pair.store.entries() == before
    assert in_force(pair) == key.public


def test_a_key_that_was_given_up_is_never_registered_again(pair: MemoryFederation, agent: AgentHome) -> None:
    given_up = pair.change_key("alder")
    change = sign_new_key(pair.store.deployment, "cedar", 1, agent.signing_key, given_up)
    with pytest.raises(InputError, match="was registered"):
        change_key(pair.store, "cedar", change)


def test_a_revoked_participants_token_is_void(
    pair: MemoryFederation, agent: AgentHome, served_client: httpx.Client
) -> None:
    assert served_client.get("/v1/keys", headers=bearer(agent)).status_code == 200
    pair.revoke("cedar")
    for method, path in (("GET", "/v1/keys"), ("POST", "/v1/keys"), ("GET", "/v1/models/toy")):
        assert served_client.request(method, path, content=b"{}", headers=bearer(agent)).status_code == 401
    with pytest.raises(InputError, match="revoked"):
        rotate_key(agent, ask_coordinator(agent))
    assert agent.signing_key.public == in_force(pair)
