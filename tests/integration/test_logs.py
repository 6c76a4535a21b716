"""What serving processes log: lines of one form, with what each belongs to, and never a secret or a value."""

import io
import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from intertwine.protocols.errors import InputError
from intertwine.protocols.files import append_private
from intertwine.protocols.logs import formatter
from intertwine.server import relay
from intertwine.server.access import grant
from intertwine.server.store import RoundNonce
from tests.federation import MemoryFederation, halved_noise
from tests.serving import served
from tests.toy import register, write_points


class Watched(MemoryFederation):
    """A federation whose participants' secrets are noted while they exist."""

    def noting(self, hidden: dict[str, str]) -> "Watched":
        def tamper(participant: str, kind: str, reply: bytes) -> bytes:
            if kind == "commit":
                (row,) = self.members[participant].ledger.unreleased()
                hidden[f"seed of {participant}"] = row.seed.hex()
                hidden[f"update of {participant}"] = row.gradient.hex()
            return reply

        self.tamper = tamper
        return self


@dataclass
class Scene:
    """A run that ended, what it logged as JSON, and what must not be in there."""

    federation: MemoryFederation
    stream: io.StringIO
    hidden: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A participant and one that halves its noise carry out a run; the log goes into the details."""
    root, stream, package = tmp_path_factory.mktemp("logs"), io.StringIO(), logging.getLogger("intertwine")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter("json"))
    package.addHandler(handler)
    package.setLevel(logging.DEBUG)
    with pytest.MonkeyPatch.context() as patch:
        toy, hidden = register(patch), dict[str, str]()
        federation = Watched(root).noting(hidden)
        for seed, name in enumerate(("alder", "cedar"), 1):
            options: dict[str, Any] = {"releaser": halved_noise} if name == "cedar" else {}
            federation.add(name, {toy: write_points(root / f"{name}.csv", 8, seed)}, **options)
        federation.execute(federation.plan(toy, "spring", quorum=1))
        yield Scene(federation, stream, hidden | keys_of(federation))
    package.removeHandler(handler)
    package.setLevel(logging.NOTSET)


def keys_of(federation: MemoryFederation) -> dict[str, str]:
    """Private keys and nonces, as they would be printed."""
    keys = {"coordinator": federation.key} | {name: one.key for name, one in federation.members.items()}
    found = {f"key of {name}": key._key.private_bytes_raw().hex() for name, key in keys.items()}
    pem = federation.home.certificate_key.read_text().splitlines()
    with federation.store.reading() as session:
        nonces = session.scalars(select(RoundNonce.nonce)).all()
    return found | {"TLS key": pem[1]} | {f"nonce {number}": nonce for number, nonce in enumerate(nonces)}


def test_no_secret_and_no_value_is_logged(scene: Scene) -> None:
    federation = scene.federation
    token = grant(federation.store, "eve", "coordinator", 60)
    order = {"participant": "dogwood", "role": "smb", "tasks": ["risk"]}
    with served(federation.home, federation.store, lambda key: 7) as client:
        headers = {"authorization": f"Bearer {token}"}
        invitation = client.post("/v1/invitations", json=order, headers=headers).json()["token"]
    hidden = scene.hidden | {"access token": token, "invitation": invitation[20:]}
    assert len(hidden) == 3 + 1 + 1 + 2 * 2 + 2
    text = scene.stream.getvalue()
    assert "invited by eve" in text
    for what, value in hidden.items():
        assert len(value) >= 24
        for piece in (value, value[:24], value[-24:]):
            assert piece not in text, what
    for path in federation.root.glob("*.csv"):
        for record in path.read_text().split():
            assert record not in text
            assert record.replace(",", ", ") not in text


def test_every_event_of_a_round_says_what_it_belongs_to(scene: Scene) -> None:
    parts = ("participant", "rounds")
    events = [line for line in scene.lines() if line["logger"].rpartition(".")[2] in parts]
    assert {(line["run"], line["round"]) for line in events} == {("spring", 1)}
    participants = {line.get("participant") for line in events}
    assert participants == {"alder", "cedar", None}  # None: the round as a whole
    assert all(len(line["slot"]) == 64 for line in events if "participant" in line)
    own = [(line.get("participant"), line["message"]) for line in events if line["logger"].endswith("rounds")]
    accepted = [event for event in own if event[1].endswith("accepted")]
    assert accepted == [
        ("alder", "commit accepted"),
        ("cedar", "commit accepted"),
        ("alder", "release accepted"),
    ]
    (rejected,) = [line for line in events if line["level"] == "WARNING"]
    assert rejected["participant"] == "cedar"


def record(**extra: object) -> logging.LogRecord:
    made = logging.LogRecord("intertwine.x", logging.INFO, "file.py", 1, "it %s", ("works",), None)
    made.created = 1_800_000_000.5
    made.__dict__.update(extra)
    return made


def test_a_text_line_ends_with_what_the_event_belongs_to() -> None:
    line = formatter("text").format(record(run="spring", round=3, other="hidden"))
    assert line == "2027-01-15T08:00:00Z INFO it works run=spring round=3"


def test_a_json_line_is_one_object() -> None:
    line = formatter("json").format(record(run="spring", color_message="it \x1b[36mworks"))
    parsed = json.loads(line)
    assert parsed.pop("time").startswith("2027-01-15T08:00:00")
    assert parsed == {"level": "INFO", "logger": "intertwine.x", "message": "it works", "run": "spring"}


def test_an_unknown_format() -> None:
    with pytest.raises(InputError, match="text or json"):
        formatter("xml")


def test_what_runs_log_is_repeated_by_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "PERIOD_S", 0.01)
    path, output = tmp_path / "runs.log", io.StringIO()
    path.write_text("before\n")

    def repeated(text: str) -> bool:
        deadline = time.monotonic() + 10
        while output.getvalue() != text and time.monotonic() < deadline:
            time.sleep(0.01)
        return output.getvalue() == text

    with relay.Relay(path, output):
        with path.open("a") as file:
            file.write("one\ntw")
            file.flush()
            assert repeated("one\n")
            file.write("o\n")
        assert repeated("one\ntwo\n")
        path.rename(tmp_path / "runs.log.1")
        path.write_text("three\n")
        assert repeated("one\ntwo\nthree\n")
    assert output.getvalue() == "one\ntwo\nthree\n"


def test_a_log_file_is_private_and_gives_way_when_it_is_large(tmp_path: Path) -> None:
    path = tmp_path / "runs.log"
    for text in ("first", "second"):
        with os.fdopen(append_private(path, limit=3), "a") as file:
            file.write(text)
    assert path.stat().st_mode & 0o777 == 0o600
    assert (path.read_text(), path.with_name("runs.log.1").read_text()) == ("second", "first")
