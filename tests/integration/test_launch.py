"""Launching: what cannot run is refused before anything is logged; a run that ends in order is no error."""

import logging
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from intertwine.models.recipes import RECIPES
from intertwine.protocols.cli import main
from intertwine.protocols.entries import PlanEntry, RoundOpened
from intertwine.protocols.errors import InputError
from intertwine.protocols.settings import read_settings, read_toml
from intertwine.server.closing import end_run
from intertwine.server.driver import drive
from intertwine.server.home import CoordinatorSettings
from intertwine.server.launch import launch
from tests.federation import MemoryFederation
from tests.toy import STATISTICS

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs one coordinator command in this process; returns exit code and what it printed."""

    def invoke(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["intertwine", "coordinator", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), " ".join((printed.out + printed.err).split())

    return invoke


# Before anything is logged


def test_a_launch_without_a_superlink_logs_nothing_and_keeps_the_name(
    pair: MemoryFederation, run: Run
) -> None:
    arguments = ("launch", "toy", "--run", "one", "--home", pair.home.path)
    code, text = run(*arguments)
    assert code == 1
    assert "does not answer. Start it with: intertwine coordinator up" in text
    assert "spends epsilon" not in text
    assert (pair.entries(PlanEntry), pair.store.runs()) == ([], [])

    code, text = run(*arguments, "--dry-run")
    assert code == 0
    assert "spends epsilon" in text
    assert (pair.entries(PlanEntry), pair.store.runs()) == ([], [])


def test_a_launch_names_whom_it_leaves_out(pair: MemoryFederation, run: Run, tmp_path: Path) -> None:
    pair.enrol_records("birch-co", "toy")
    plan = tmp_path / "plan.toml"
    mechanism = "\n".join(f"{key} = {value!r}" for key, value in STATISTICS["mechanism"].items())
    plan.write_text(f"record_bound = 32\n[mechanism]\n{mechanism}\n")
    arguments = ("launch", "toy", "--run", "one", "--plan", plan, "--dry-run", "--home", pair.home.path)
    code, text = run(*arguments)
    assert code == 0
    assert "Left out, for they have not enrolled records that fit: alder." in text
    assert "participants birch-co" in text
    code, text = run(*arguments, "--participant", "alder")
    assert code == 2
    assert "'alder' has enrolled no records" in text


def test_a_name_is_given_to_one_run(pair: MemoryFederation) -> None:
    plan = pair.plan("toy", "one")

    def attempt(_number: int) -> str:
        try:
            launch(pair.store, pair.key, plan, lambda: None)
        except InputError as error:
            return error.problem
        return ""

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(attempt, range(4))) == ["", *["There is a run 'one' already."] * 3]
    assert len(pair.entries(PlanEntry)) == 1
    with pytest.raises(InputError, match="a run 'one' already"):
        pair.plan("toy", "one")


# Choices that do not fit


UNFIT = {
    "rounds = 1e3": "field rounds: float has no canonical form.",
    "deadline_s = 2026-01-01": "field deadline_s: date has no canonical form.",
    "rounds = 99999999999999999999999999": "field rounds: integer beyond 2^53 - 1.",
    "[mechanism]\nlot = 0.5": "field mechanism.lot: float has no canonical form.",
    "quorum = 5": "field quorum: 5 is more than the 2 participants.",
    "participants = 5": "field participants: Input should be a valid array.",
    'participants = ["Not A Name"]': "field participants.0: it must be lower-case letters",
}


def test_a_shorter_run_averages_no_more_rounds_than_it_has(
    pair: MemoryFederation, toy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, toy, replace(RECIPES[toy], rounds=12, average_last=4))
    assert [pair.plan(toy, "short", rounds=rounds).average_last for rounds in (12, 4, 3, 1)] == [4, 4, 3, 1]


def test_a_plan_names_the_field_and_the_remedy(pair: MemoryFederation, tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    for choice, problem in UNFIT.items():
        path.write_text(choice)
        with pytest.raises(InputError) as refused:
            pair.plan("toy", "one", **read_toml(path, 1000))
        assert refused.value.problem.startswith(f"Plan: {problem}")
        assert refused.value.remedy


@pytest.mark.parametrize("text", ["a=" + 5000 * "[", "a=" + 5000 * "{b=", f"a={5000 * '9'}"])
def test_toml_that_no_parser_should_descend_into(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    for read in (lambda: read_toml(path, 1 << 16), lambda: read_settings(path, CoordinatorSettings)):
        with pytest.raises(InputError, match=r"settings\.toml is not valid TOML: .*\. Correct it"):
            read()


@pytest.mark.parametrize(
    "command",
    [
        ("invite", "cedar", "--role", "smb", "--task", "toy", "--hours"),
        ("grant", "ops", "--role", "auditor", "--days"),
    ],
    ids=["invite", "grant"],
)
def test_a_token_is_valid_for_a_time(pair: MemoryFederation, run: Run, command: tuple[str, ...]) -> None:
    size = pair.store.size()
    for amount in ("nan", "inf", "-inf", "1e300", "0", "-1"):
        code, text = run(*command, amount, "--home", pair.home.path)
        assert code == 2
        assert f"{command[-1]} is {float(amount):g}. Give a number over 0" in text
    assert pair.store.size() == size
    assert run(*command, "0.5", "--home", pair.home.path)[0] == 0


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["intertwine", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("intertwine, version ")


# The end of a run in its own process


class LonelyFleet:
    """Nodes as the driver's process sees them: there, and silent. Each exchange calls `meanwhile`."""

    def __init__(self, nodes: set[int], meanwhile: Callable[[], None]) -> None:
        self._nodes, self._meanwhile = nodes, meanwhile

    def online(self) -> set[int]:
        return self._nodes

    def exchange(self, requests: Mapping[int, bytes], *_: object) -> dict[int, Any]:
        self._meanwhile()
        return {}


@pytest.fixture(autouse=True)
def logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a driver's process sets up in its logging ends with the test."""
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    monkeypatch.setattr("intertwine.server.driver.configure_logging", lambda **_: None)


@pytest.mark.parametrize("state", ["failed", "stopped", "interrupted"])
def test_a_run_that_ends_in_order_is_no_error(
    pair: MemoryFederation, caplog: pytest.LogCaptureFixture, state: str
) -> None:
    """Flower raises SystemExit in the process of a run that was stopped, if it notices first."""
    plan = pair.plan("toy", "one")
    launch(pair.store, pair.key, plan, lambda: None)

    def meanwhile() -> None:
        if state != "failed":
            end_run(pair.store, plan, "stopped", "stopped by ops")
        if state == "interrupted":
            logging.getLogger("flwr").error("Failed to push task output")
            sys.exit(0)

    fleet: Any = LonelyFleet({member.node for member in pair.members.values()}, meanwhile)
    caplog.set_level(logging.INFO)
    with pytest.raises(SystemExit) if state == "interrupted" else nullcontext():
        drive(fleet, {"home": str(pair.home.path), "run": "one"}, 1)

    assert len(pair.entries(RoundOpened)) == 1
    ended = "failed" if state == "failed" else "stopped"
    assert pair.store.run("one").state == ended
    (said,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert said.getMessage().startswith(f"the run has {ended}: ")
    assert said.exc_info is None


def test_a_surprise_is_logged_with_where_it_happened(
    pair: MemoryFederation, caplog: pytest.LogCaptureFixture
) -> None:
    launch(pair.store, pair.key, pair.plan("toy", "one"), lambda: None)

    def surprise() -> None:
        raise KeyError("surprise")

    fleet: Any = LonelyFleet({member.node for member in pair.members.values()}, surprise)
    with pytest.raises(KeyError):
        drive(fleet, {"home": str(pair.home.path), "run": "one"}, 1)
    assert [bool(record.exc_info) for record in caplog.records if record.levelno == logging.ERROR] == [True]
    assert pair.store.run("one").detail == "interrupted: KeyError: 'surprise'"
