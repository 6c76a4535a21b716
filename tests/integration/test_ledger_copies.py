"""Copies of the ledger that come back: whatever was spent since they were made is found in the log."""

import json
import logging
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from click.testing import Result
from typer.testing import CliRunner

from intertwine.client import cli
from intertwine.client.backup import back_up, restore
from intertwine.client.budget import spent
from intertwine.client.comparison import Comparison, LogComparison, compare, log_client
from intertwine.client.doctor import diagnose
from intertwine.client.enrol import enrol
from intertwine.client.home import Home
from intertwine.client.ledger import Ledger, LogRow
from intertwine.client.participant import Participant, honest_release
from intertwine.client.run import run_agent
from intertwine.protocols.envelope import Envelope
from intertwine.protocols.errors import FederationError, InputError, VerificationError
from intertwine.protocols.files import lock
from intertwine.protocols.round import Refusal, Signed
from intertwine.protocols.settings import write_settings
from intertwine.server.enrolment import invite
from tests.federation import Member, MemoryFederation
from tests.serving import served
from tests.toy import register, write_points


@dataclass
class Scene:
    """One participant after two runs: the first ended well, of the second only its commit is known here.

    before, after: copies of its ledger. plain: its file as it was before, as somebody would copy it by hand.
    """

    federation: MemoryFederation
    home: Home
    before: Path
    after: Path
    plain: Path

    def restart(self, home: Home) -> Participant:
        """The agent of another home."""
        ledger, member = Ledger(home.ledger), self.federation.members["cedar"]
        ready = LogComparison(ledger, home.identity, log_client(home)).ensure
        return Participant(home.identity, member.tasks, ledger, honest_release, ready)

    def refusal(self, participant: Participant) -> str:
        """Why a participant does not commit to the second run's round, which it has committed to before."""
        _, request = self.federation.requests[-1]
        reply = Envelope.from_bytes(participant.handle(request), ())
        return Signed[Refusal].decode(reply.document).body.reason


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    root = tmp_path_factory.mktemp("copies")
    with pytest.MonkeyPatch.context() as patch:
        toy, federation = register(patch), MemoryFederation(root)
        data = write_points(root / "points.csv", 8, seed=1)
        with served(federation.home, federation.store, lambda _key: 77) as client:
            yield play(federation, Home(root / "agent"), client, toy, data)


def play(federation: MemoryFederation, home: Home, client: httpx.Client, toy: str, data: Path) -> Scene:
    token = invite(federation.home, federation.store, "cedar", "security", [toy], 60)
    enrol(home, str(client.base_url), token, {toy: data})
    root = home.path.parent
    scene = Scene(federation, home, root / "before.copy", root / "after.copy", root / "plain.db")
    first = federation.add("alder", {toy: data})
    ledger = Ledger(home.ledger)
    member = Member(home.identity, first.tasks, honest_release, ledger, 77)
    federation.members = {"cedar": member}
    back_up(home, scene.before)
    shutil.copy(home.ledger, scene.plain)
    federation.execute(federation.plan(toy, "one", participants=["cedar"], quorum=1))
    federation.enrol_records("cedar", toy)
    federation.tamper = lambda *_: None
    with pytest.raises(FederationError, match="0 commits"):
        federation.execute(federation.plan(toy, "two", participants=["cedar"], quorum=1))
    back_up(home, scene.after)
    ledger.close()
    return scene


@pytest.fixture
def home(scene: Scene, tmp_path: Path) -> Home:
    """The agent's home, for one test."""
    shutil.copytree(scene.home.path, tmp_path / "agent")
    return Home(tmp_path / "agent")


def lose(home: Home) -> None:
    for path in home.path.glob("ledger.db*"):
        path.unlink()


def epsilon(home: Home) -> list[float]:
    with closing(Ledger(home.ledger)) as ledger:
        return [cost.guarantee.epsilon for cost in spent(ledger, "toy")]


def compared(home: Home) -> Comparison:
    with closing(Ledger(home.ledger)) as ledger:
        return compare(ledger, home.identity, log_client(home))


def by_command(scene: Scene, home: Home) -> None:
    lose(home)
    restore(home, scene.before)


def by_hand(scene: Scene, home: Home) -> None:
    lose(home)
    shutil.copy(scene.plain, home.ledger)


def not_at_all(_scene: Scene, home: Home) -> None:
    lose(home)
    Ledger(home.ledger, anew=True).close()  # as `agent run` does


@pytest.mark.parametrize("come_back", [by_command, by_hand, not_at_all])
def test_what_was_spent_after_a_copy_is_found_in_the_log(
    scene: Scene, home: Home, come_back: Callable[[Scene, Home], None]
) -> None:
    before = epsilon(home)
    assert before[0] > 0
    come_back(scene, home)
    assert epsilon(home) == []
    found = compared(home)
    assert found == Comparison(found.size, commits=1, releases=1, closed=1, datasets=1)
    assert epsilon(home) == before
    assert compared(home) == Comparison(found.size)
    assert "given up" in scene.refusal(scene.restart(home))


def test_a_slot_that_was_open_in_the_copy_is_given_up_and_counts(scene: Scene, home: Home) -> None:
    lose(home)
    assert restore(home, scene.after)[1] == 1
    assert compared(home).lines == []
    with closing(Ledger(home.ledger)) as ledger:
        (row,) = [row for row in ledger.slots("toy") if not row.release]
    assert (row.run, row.seed, row.gradient, row.values) == ("two", b"", b"", b"")
    assert "given up" in scene.refusal(scene.restart(home))


def test_an_agent_whose_ledger_is_whole_goes_on(scene: Scene, home: Home) -> None:
    before = epsilon(home)
    participant, (_, request) = scene.restart(home), scene.federation.requests[-1]
    reply = Envelope.from_bytes(participant.handle(request), ())
    assert b'"kind":"Commit"' in reply.document
    assert epsilon(home) == before


def test_nothing_is_committed_while_the_coordinator_is_away(scene: Scene, home: Home) -> None:
    settings = home.settings.model_copy(update={"control_url": "https://127.0.0.1:9"})
    write_settings(home.settings_file, settings)
    lose(home)
    shown = CliRunner().invoke(
        cli.app, ["restore", str(scene.before), "--home", str(home.path)], catch_exceptions=False
    )
    assert "not compared" in shown.output
    assert "cannot be reached" in scene.refusal(scene.restart(home))
    assert epsilon(home) == []


def test_a_log_that_does_not_extend_the_known_one_is_refused(scene: Scene, home: Home) -> None:
    compared(home)
    for change in ({"size": 1000, "roots": bytes(32 * 6)}, {"size": 16, "roots": bytes(32)}):
        with closing(Ledger(home.ledger)) as ledger:
            with ledger.transaction() as session:
                row = session.get_one(LogRow, 1)
                row.size, row.roots = change["size"], change["roots"]  # type: ignore[assignment]
            with pytest.raises(VerificationError, match="log_consistency"):
                compare(ledger, home.identity, log_client(home))
            assert ledger.compared().size == change["size"]


def test_at_its_start_the_agent_says_its_limits_and_compares_its_ledger(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    stop = threading.Event()
    stop.set()
    with caplog.at_level(logging.INFO):
        run_agent(home, stop)
    assert "task toy: epsilon at most 10 in all; in one run noise at least 0.390625" in caplog.text
    assert "is ready" not in caplog.text  # it is not connected
    assert "the ledger was compared with" in caplog.text


def command(home: Home, *words: str) -> Result:
    return CliRunner().invoke(cli.app, [*words, "--home", str(home.path)])


def words_of(result: Result) -> str:
    return " ".join(result.output.split())


@pytest.mark.parametrize("words", [["budget"], ["budget", "--json"], ["backup", "copy"], ["dataset", "list"]])
def test_a_ledger_that_is_gone_is_said_to_be_gone_and_no_empty_one_is_made(
    home: Home, words: list[str]
) -> None:
    lose(home)
    before = sorted(home.path.iterdir())
    error = command(home, *words).exception
    assert isinstance(error, InputError)
    assert "missing" in error.problem
    assert "agent restore" in error.remedy
    assert "agent run" in error.remedy
    home.ledger.touch()
    assert "empty" in str(command(home, *words).exception)
    home.ledger.unlink()
    assert sorted(home.path.iterdir()) == before


def test_an_empty_file_is_no_obstacle_to_a_copy(scene: Scene, home: Home) -> None:
    lose(home)
    home.ledger.touch()
    restore(home, scene.after)
    assert epsilon(home)[0] > 0


def test_a_ledger_made_anew_says_what_it_may_lack_until_it_is_compared(scene: Scene, home: Home) -> None:
    not_at_all(scene, home)
    shown = words_of(command(home, "budget"))
    assert "more may be spent" in shown
    assert "nothing is spent" not in shown
    assert json.loads(command(home, "budget", "--json").stdout)["restored"]
    with pytest.raises(InputError, match="not compared"):
        back_up(home, home.path / "copy")
    (ledger,) = [finding for finding in diagnose(home) if finding.name == "ledger"]
    assert (ledger.level, "more may be spent" in ledger.text) == ("warn", True)
    compared(home)
    assert "more may be spent" not in words_of(command(home, "budget"))
    back_up(home, home.path / "copy")


def test_the_budget_names_every_run_and_open_slot_whatever_the_settings_say(home: Home) -> None:
    settings = home.settings
    write_settings(home.settings_file, settings.model_copy(update={"tasks": {}}))
    shown = command(home, "budget").stdout
    assert "epsilon of a line, not joined: settings.toml lacks the task" in shown
    rows = [line.replace("│", " ").split() for line in shown.splitlines() if line.startswith("│")]
    _, cost = epsilon(home)
    figures = ["proven-participant", "attested-record"]
    assert [row[:4] for row in rows if row[0] == "one"] == [["one", level, "1", "0"] for level in figures]
    assert ["two", "0", "1", "0.00"] in rows
    assert ["all", "runs", "attested-record", "1", "1", f"{cost:.2f}", "1e-05"] in rows
    (both,) = [row for row in rows if row[:4] == ["with", "open", "slots", "attested-record"]]
    assert float(both[-2]) > cost
    document = json.loads(command(home, "budget", "--json").stdout)
    assert [release["run"] for release in document["releases"]] == ["one"]
    assert document["open"] == [{"run": "two", "task": "toy", "round": 1}]
    assert not document["restored"]


def test_a_home_has_one_agent(home: Home) -> None:
    lose(home)
    before = sorted(home.path.rglob("*"))
    held = lock(home.run_lock)
    with pytest.raises(InputError, match="runs already"):
        run_agent(home, threading.Event())
    os.close(held)
    assert sorted(home.path.rglob("*")) == sorted([*before, home.run_lock])


# Copies


def test_a_copy_is_private_and_the_commands_say_what_they_did(scene: Scene, home: Home) -> None:
    copy = home.path / "copy"
    command = CliRunner()
    shown = command.invoke(cli.app, ["backup", str(copy), "--home", str(home.path)], catch_exceptions=False)
    assert "the ledger of cedar" in " ".join(shown.output.split())
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    lose(home)
    words = ["restore", str(scene.before), "--home", str(home.path)]
    shown = command.invoke(cli.app, words, catch_exceptions=False)
    assert "that are spent: 1." in shown.output
    assert stat.S_IMODE(home.ledger.stat().st_mode) == 0o600
    assert not list(home.path.glob("restoring*"))


def test_a_newer_ledger_is_not_replaced(scene: Scene, home: Home) -> None:
    before = epsilon(home)
    with pytest.raises(InputError, match="holds 4 things that the copy does not"):
        restore(home, scene.before)
    assert epsilon(home) == before
    restore(home, scene.after)
    assert epsilon(home) == before


def test_a_ledger_in_use_is_not_replaced(scene: Scene, home: Home) -> None:
    with closing(Ledger(home.ledger)) as ledger, pytest.raises(InputError, match="is in use"):
        restore(home, scene.after)
    assert ledger is not None
    restore(home, scene.after)


def cut_off(data: bytes) -> bytes:
    return data[:-1]


def altered(data: bytes) -> bytes:
    return data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]


def of_somebody_else(data: bytes) -> bytes:
    return data.replace(b'"participant":"cedar"', b'"participant":"alder"', 1)


def nonsense(_data: bytes) -> bytes:
    return b"nonsense"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (cut_off, r"agent/copy is no whole copy of a ledger: .* cut off\. Take another copy"),
        (altered, "is damaged"),
        (of_somebody_else, "of the ledger of 'alder'"),
        (nonsense, "is no whole copy of a ledger"),
    ],
)
def test_what_is_no_whole_copy_of_ours_changes_nothing(
    scene: Scene, home: Home, change: Callable[[bytes], bytes], words: str
) -> None:
    path, before = home.path / "copy", home.ledger.read_bytes()
    path.write_bytes(change(scene.after.read_bytes()))
    with pytest.raises(InputError, match=words):
        restore(home, path)
    assert home.ledger.read_bytes() == before


def test_a_damaged_ledger_is_neither_copied_nor_opened(scene: Scene, home: Home) -> None:
    data = bytearray(home.ledger.read_bytes())
    data[4096:8192] = bytes(4096)
    home.ledger.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged|cannot be"):
        back_up(home, home.path / "copy")
    assert not (home.path / "copy").exists()
    home.ledger.write_bytes(b"nonsense" * 2000)
    with pytest.raises(InputError, match="not a database"):
        Ledger(home.ledger)
