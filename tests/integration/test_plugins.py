"""A fourth task, exactly as the how-to page has it: installed, trained with proofs, exported, applied."""

import importlib
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from intertwine.models import plugins
from intertwine.models.model_card import render
from intertwine.models.recipes import recipe
from intertwine.models.registry import TASKS, task
from intertwine.models.simulation import Participants
from intertwine.protocols.aggregation import parameters_from_bytes
from intertwine.protocols.entries import Publication, decode_entry
from intertwine.protocols.errors import FederationError, InputError
from intertwine.protocols.model_file import split_model
from intertwine.protocols.policy import Policy
from intertwine.zk.audit import verify_bundle
from tests.federation import MemoryFederation

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-task.md"
NAME = "house-prices"

Install = Callable[..., None]


def fence(language: str) -> str:
    """The page's first block of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a module as a distribution of its own, with entry points, until the test ends."""

    def install(package: str, code: str, entry_points: dict[str, str]) -> None:
        site = tmp_path / f"site-{package}"
        metadata = site / f"{package}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (site / f"{package}.py").write_text(code)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {value}\n" for name, value in entry_points.items())
        (metadata / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{lines}")
        monkeypatch.syspath_prepend(str(site))
        plugins.installed.cache_clear()

    before = set(sys.modules)
    yield install
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    monkeypatch.undo()
    plugins.installed.cache_clear()


@pytest.fixture
def houses(install: Install) -> str:
    """The page's task, under the page's own entry point."""
    project = tomllib.loads(fence("toml"))["project"]
    install("house_prices", fence("python"), project["entry-points"][plugins.GROUP])
    return NAME


def write_sales(path: Path, count: int, seed: int) -> Path:
    """Invent sales whose price grows with the area, within 10% or so."""
    rng = np.random.default_rng(seed)
    area = rng.integers(40, 200, count)
    rooms = np.maximum(1, area // 25 + rng.integers(-1, 2, count))
    price = 150_000 * np.exp(area / 130 + 0.02 * rooms + rng.normal(0, 0.1, count))
    np.savetxt(
        path,
        np.column_stack([area, rooms, price.round()]),
        fmt="%d",
        delimiter=",",
        header="area,rooms,price",
        comments="",
    )
    return path


@pytest.fixture
def federation(tmp_path: Path, houses: str) -> MemoryFederation:
    """Two participants with 400 sales each."""
    made = MemoryFederation(tmp_path / "federation")
    for seed, name in enumerate(("alder", "birch")):
        made.add(name, {houses: write_sales(tmp_path / f"{name}.csv", 400, seed)}, role="smb")
    return made


def test_the_page_is_short() -> None:
    assert len(fence("python").splitlines()) < 100


def test_the_pages_task_is_trained_with_proofs_exported_and_applied(
    federation: MemoryFederation, caplog: pytest.LogCaptureFixture
) -> None:
    for name in federation.members:
        federation.enrol_records(name, NAME)
    federation.execute(federation.plan(NAME, "spring", rounds=1))
    verdict = verify_bundle(federation.bundle(), Policy.of_key(federation.store.deployment))
    assert verdict.passed, [check for check in verdict.checks if check.status != "pass"]
    (published,) = [
        entry for entry in map(decode_entry, federation.store.entries()) if isinstance(entry, Publication)
    ]
    model = federation.store.blob(published.onnx)
    definition, held = task(NAME), federation.members["alder"].tasks[NAME].records
    data, _ = split_model(model, definition.template(), definition.dimension)
    parameters = parameters_from_bytes(data, definition.dimension)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    outputs = {"price": session.run(["price"], definition.inputs(held))[0]}
    reference = definition.reference(parameters, definition.inputs(held))["price"]
    assert outputs["price"] == pytest.approx(reference, rel=1e-9)
    assert len(definition.describe(held, outputs)) == 5
    started = definition.evaluate(definition.initial_parameters(), held)
    assert definition.evaluate(parameters, held).loss < started.loss
    agents_with_another_release_refuse(federation, caplog)


def agents_with_another_release_refuse(
    federation: MemoryFederation, caplog: pytest.LogCaptureFixture
) -> None:
    """Alder has the next version of the task, birch the same version with another graph."""
    newer, other = task(NAME), task(NAME)
    template = other.template() + b"\x00"
    newer.version, other.template = 2, lambda: template
    for name, definition in {"alder": newer, "birch": other}.items():
        member = federation.members[name]
        member.tasks[NAME] = replace(member.tasks[NAME], task=definition)
        member.restart()
    with pytest.raises(FederationError, match="0 "):
        federation.execute(federation.plan(NAME, "autumn", rounds=1))
    reasons = {
        vars(record)["participant"]: record.message
        for record in caplog.records
        if record.name == "intertwine.server.rounds" and "it declined" in record.message
    }
    assert "another model of task 'house-prices'" in reasons["alder"]
    assert "another ONNX graph" in reasons["birch"]


def test_the_pages_recipe_beats_its_baseline(tmp_path: Path, houses: str) -> None:
    definition = task(houses)
    sales = [definition.load(write_sales(tmp_path / f"{seed}.csv", 600, seed)) for seed in (1, 2)]
    ran = Participants(definition, sales).simulate(recipe(houses), seed=1)
    assert ran.epsilon < 4
    for each in ran.published:
        assert each.metric < 0.6 * each.baseline


def test_the_pages_task_has_a_card(houses: str) -> None:
    assert "A first guess at what a house sells for." in render(task(houses))


# What is refused


@pytest.mark.parametrize("shipped", TASKS)
def test_a_plug_in_cannot_take_the_name_of_a_shipped_task(install: Install, shipped: str) -> None:
    install("taker", "raise RuntimeError('imported')", {shipped: "taker:Task"})
    with pytest.raises(InputError, match="intertwine, taker"):
        task(shipped)


def test_two_plug_ins_cannot_share_a_name(houses: str, install: Install) -> None:
    install("rival", "", {houses: "rival:Task"})
    for find in (task, recipe):
        with pytest.raises(InputError, match="Several installed packages have a task 'house-prices'"):
            find(houses)


@pytest.mark.parametrize(
    ("code", "value", "problem"),
    [
        ("", "broken:Task", "cannot be loaded"),
        ("raise RuntimeError('no licence')", "broken:Task", "no licence"),
        ("class Task: name = 'clouds'", "broken:Task", "has no task 'clouds'"),
        ("from house_prices import HousePrices", "broken:HousePrices", "has no task 'clouds'"),
    ],
)
def test_a_broken_plug_in_is_refused_with_its_packages_name(
    houses: str, install: Install, code: str, value: str, problem: str
) -> None:
    install("broken", code, {"clouds": value})
    with pytest.raises(InputError, match=problem) as refused:
        task("clouds")
    assert "broken" in str(refused.value)
    assert task(houses).name == houses


def test_a_plug_in_without_a_recipe_is_refused_where_one_is_needed(install: Install) -> None:
    code = "from house_prices import HousePrices\nclass Bare(HousePrices):\n    name, recipe = 'bare', None\n"
    install("house_prices", fence("python"), {NAME: "house_prices:HousePrices"})
    install("bare", code, {"bare": "bare:Bare"})
    assert task("bare").dimension == 3
    with pytest.raises(InputError, match="has no recipe"):
        recipe("bare")


def test_an_unknown_task_lists_the_plug_ins_too(houses: str) -> None:
    for find in (task, recipe):
        with pytest.raises(InputError, match="house-prices"):
            find("weather")


def test_only_the_plug_in_that_is_asked_for_is_imported(houses: str, install: Install) -> None:
    install("loud", "raise RuntimeError('imported')", {"loud": "loud:Task"})
    assert task(houses).name == houses
    assert "loud" not in sys.modules
    importlib.invalidate_caches()
