"""What the documentation shows exists: commands, options, links, targets, examples, checks, figures."""

import ast
import json
import re
import shlex
import tomllib
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import click
import pytest
import typer

from docs.examples import FENCE
from intertwine.client import cli as agent
from intertwine.client import participant
from intertwine.client.records import FEW
from intertwine.models.recipes import RECIPES
from intertwine.models.registry import TASKS
from intertwine.models.registry import task as find_task
from intertwine.protocols import accounting, bundle, dataset, enrolment, entries, keys, mechanism, publication
from intertwine.protocols import plan as plans
from intertwine.protocols import round as rounds
from intertwine.protocols.accounting import Assurance
from intertwine.protocols.checkpoint import open_checkpoint
from intertwine.protocols.document import Document
from intertwine.protocols.encoding import sha256
from intertwine.protocols.errors import InputError
from intertwine.protocols.merkle import leaf_hash, verify_inclusion
from intertwine.server import cli as coordinator
from intertwine.zk import dataset as dataset_statement
from intertwine.zk import dataset_proof, glm, release, round_proof, statistics
from intertwine.zk.audit import cli as audit
from intertwine.zk.audit import verdict

ROOT = Path(__file__).parents[2]
SPECIFICATION = ROOT / "protocols" / "spec"
PAGES = sorted(
    [
        *(ROOT / "README.md", ROOT / "SECURITY.md"),
        *SPECIFICATION.glob("*.md"),
        *(ROOT / "zk").glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
INTERTWINE = click.Group(
    "intertwine",
    {
        "agent": typer.main.get_command(agent.app),
        "audit": typer.main.get_command(audit.app),
        "coordinator": typer.main.get_command(coordinator.app),
    },
)
MODULES = (bundle, dataset, enrolment, entries, keys, mechanism, plans, publication, rounds)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, or the group if they stop there, and the words after its name."""
    found: click.Command = INTERTWINE
    for position, word in enumerate(words):
        if not hasattr(found, "commands") or word.startswith("-"):
            return found, words[position:]
        group = typing.cast(click.Group, found)
        assert word in group.commands, f"there is no `intertwine {shlex.join(words)}`"
        found = group.commands[word]
    return found, []


def command_paths(group: click.Command = INTERTWINE, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words that name each command, groups within groups included."""
    for name, found in typing.cast(click.Group, group).commands.items():
        if hasattr(found, "commands"):
            yield from command_paths(found, (*path, name))
        else:
            yield (*path, name)


def fences(page: Path, language: str) -> list[str]:
    """The contents of the page's fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def shown_commands(page: Path) -> list[list[str]]:
    """The arguments of every `intertwine` command line in a shell block."""
    lines = "\n".join(fences(page, "sh")).replace("\\\n", " ").splitlines()
    found = [re.search(r"(?:^|[$][(])intertwine ([^)]*)", line) for line in lines]
    return [shlex.split(match[1], comments=True) for match in found if match]


def mentioned_commands(page: Path) -> list[list[str]]:
    """The arguments of every command in the prose's code spans, complete or not."""
    return [shlex.split(text) for text in re.findall(r"`intertwine ([^`]+)`", prose(page))]


def tables(page: Path) -> Iterator[list[dict[str, str]]]:
    """The rows of each table, by column heading."""
    for block in re.findall(r"(?:^\|.*\|\n)+", prose(page) + "\n", re.MULTILINE):
        header, _, *rows = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block.splitlines()
        ]
        yield [dict(zip(header, row, strict=True)) for row in rows]


@cache
def anchors(page: Path) -> set[str]:
    """The fragments that the page's headings can be linked by."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def known_checks() -> set[str]:
    """Every name that the code gives to a check."""
    statements = (release, statistics, glm, dataset_statement)
    names = {check.name for statement in statements for check in statement.CHECKS}
    names |= {check.name for check in verdict.CHECKS} | {"release_missing"}
    names |= set(re.findall(r"^ ?\d+ (\w+)", str(participant.__doc__), re.MULTILINE))
    for part in ("protocols", "zk", "models", "client", "server"):
        for path in (ROOT / part).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "VerificationError":
                    first = node.args[0]
                    names |= {str(first.value)} if isinstance(first, ast.Constant) else set()
    return names


def classes() -> dict[str, type[Document]]:
    """Every document class of the protocols, by name."""
    found: dict[str, type[Document]] = {}
    for module in MODULES:
        for name, value in vars(module).items():
            if (
                isinstance(value, type)
                and issubclass(value, Document)
                and value.__module__ == module.__name__
                and "[" not in name  # pydantic leaves `Signed[NewKey]` where it is first named
            ):
                found[name] = value
    return found


def document_class(name: str) -> type[Document]:
    """The class that an example names, such as `Plan` or `Signed[Commit]`."""
    inner = re.fullmatch(r"Signed\[(\w+)\]", name)
    if inner is None:
        return classes()[name]
    return rounds.Signed[classes()[inner[1]]]  # type: ignore[type-var,misc]


def examples() -> list[tuple[str, str]]:
    """Class name and JSON text of every example in the specification."""
    found = []
    for page in sorted(SPECIFICATION.glob("*.md")):
        for match in FENCE.finditer(page.read_text()):
            found.append((match[1], match[0].removeprefix(match[1])))
    return found


def decoded(name: str) -> typing.Any:
    text = next(text for found, text in examples() if found == name)
    return document_class(name).parse(json.loads(text))


# Commands


@every_page
def test_shown_commands_parse(page: Path) -> None:
    for words in shown_commands(page):
        found, arguments = resolve(words)
        try:
            found.make_context(str(found.name), list(arguments))
        except click.UsageError as error:
            pytest.fail(f"intertwine {shlex.join(words)}: {error.format_message()}")


@every_page
def test_mentioned_commands_exist(page: Path) -> None:
    for words in mentioned_commands(page):
        found, rest = resolve(words)
        options = {option for parameter in found.params for option in parameter.opts} | {"--help"}
        assert {word for word in rest if word.startswith("--")} <= options


@pytest.mark.parametrize("path", list(command_paths()), ids=" ".join)
def test_reference_lists_every_command_and_option(path: tuple[str, ...]) -> None:
    reference = (ROOT / "docs" / "reference" / "cli.md").read_text()
    _, found, section = reference.partition(f"### intertwine {' '.join(path)}\n")
    assert found
    section = section.partition("\n##")[0]
    for parameter in resolve(list(path))[0].params:
        if isinstance(parameter, click.Option):
            for option in (*parameter.opts, *parameter.secondary_opts):
                assert re.search(rf"`{option}[ `]", section), f"{option} is missing"
        else:
            assert str(parameter.human_readable_name).strip("[]").upper() in section


def test_a_wrong_option_would_be_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\nKEY=$(intertwine coordinator init --no-such-option 1)\n```\n")
    with pytest.raises(pytest.fail.Exception, match="no-such-option"):
        test_shown_commands_parse(page)


def test_readme_targets_exist() -> None:
    targets = set(re.findall(r"`make ([a-z]+)`", prose(ROOT / "README.md")))
    targets |= set(re.findall(r"^make ([a-z]+)", "\n".join(fences(ROOT / "README.md", "sh")), re.MULTILINE))
    assert {"demo", "test"} <= targets
    assert targets <= set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


# Links


@every_page
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_relative_to(ROOT), f"{target} leaves the repository"
        assert linked.is_file(), f"{target} does not exist"
        if fragment:
            assert fragment in anchors(linked), f"{target} has no such heading"


def test_every_page_can_be_reached_from_the_index() -> None:
    start = ROOT / "docs" / "index.md"
    seen, waiting = set(), [start]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)\s#]+\.md)", prose(page))
        waiting += [(page.parent / link).resolve() for link in links if ":" not in link]
    assert set(PAGES) <= seen


def test_images_are_small_and_described() -> None:
    for page in PAGES:
        for text, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text()):
            assert len(text) > 20
            assert (page.parent / target).stat().st_size <= 300_000


# Specification


@pytest.mark.parametrize(("name", "text"), examples(), ids=lambda value: value if len(value) < 40 else "")
def test_examples_decode(name: str, text: str) -> None:
    document_class(name).parse(json.loads(text))


def test_every_document_has_an_example() -> None:
    shown = {re.sub(r"Signed\[(\w+)\]", r"\1", name) for name, _ in examples()}
    assert shown >= set(classes()) - {"Signed"}


def test_examples_fit_together() -> None:
    """Signatures verify, digests match, and the publication is in the log of the record's checkpoint."""
    plan, commit, released = decoded("Plan"), decoded("Signed[Commit]"), decoded("Signed[Release]")
    enrolled, beacon, record = decoded("Enrolment"), decoded("BeaconEntry"), decoded("ModelRecord")
    assert commit.open(enrolled.signing_key).plan == plan.digest()
    assert released.open(enrolled.signing_key).commit == commit.digest()
    assert released.body.beacon == beacon.beacon
    assert sha256(bytes.fromhex(beacon.nonce)) == decoded("RoundOpened").nonce_digest
    context = rounds.StatementContext.create(plan, commit, bytes.fromhex(beacon.beacon))
    assert context == decoded("StatementContext")
    origin = decoded("Manifest").origin
    assert record.verify(origin, plan.deployment) == decoded("Publication")
    request = decoded("Signed[ReleaseRequest]").open(plan.deployment)
    entry = entries.CommitEntry(time=request.commit_time, commit=commit)
    checkpoint = open_checkpoint(request.checkpoint, origin, plan.deployment)
    path = [bytes.fromhex(node) for node in request.inclusion.path]
    leaf = leaf_hash(entry.encode())
    verify_inclusion(leaf, request.inclusion.index, checkpoint.size, path, checkpoint.root)


def test_plan_table_lists_every_field() -> None:
    (table,) = [rows for rows in tables(SPECIFICATION / "documents.md") if "`quorum`" in str(rows)]
    fields = {name for row in table for name in re.findall(r"`(\w+)`", row["field"])}
    assert fields == set(plans.Plan.model_fields)


# Checks and figures


@every_page
def test_named_checks_exist_in_the_code(page: Path) -> None:
    for table in tables(page):
        for row in table:
            shown = set(re.findall(r"`(\w+)`", row.get("check", "")))
            assert shown <= known_checks(), f"{shown - known_checks()} in {page.name}"


def numbered(page: Path, first: str) -> list[tuple[int, str, str]]:
    """The numbered checks of the table whose first row is `first`."""
    for table in tables(page):
        if table[0].get("#") and table[0]["check"] == f"`{first}`":
            what = list(table[0])[-1]
            return [(int(row["#"]), row["check"].strip("`"), row[what]) for row in table]
    raise AssertionError(f"no table begins with {first}")


def test_check_tables_say_what_the_code_says() -> None:
    auditor = numbered(ROOT / "docs" / "how-to" / "verify-a-bundle.md", "bundle_format")
    assert auditor == [(check.number, check.name, check.what) for check in verdict.CHECKS]
    agents = [
        *numbered(SPECIFICATION / "round.md", "request_signature"),
        *numbered(SPECIFICATION / "round.md", "release_slot"),
    ]
    stated = re.findall(r"^ ?(\d+) (\w+) +(.*)$", str(participant.__doc__), re.MULTILINE)
    assert agents == [(int(number), name, what) for number, name, what in stated]


@pytest.mark.parametrize(
    ("module", "last"), [(round_proof, "weights_range"), (dataset_proof, "proof_digest")]
)
def test_checks_come_in_the_order_of_the_code(module: ModuleType, last: str) -> None:
    stated = re.findall(r"^    (\w+)  +(\w.*)$", str(module.__doc__), re.MULTILINE)
    (table,) = [rows for rows in tables(SPECIFICATION / "round.md") if rows[-1].get("check") == f"`{last}`"]
    assert [(row["check"].strip("`"), row["what"]) for row in table] == stated


def planned(task: str, choices: dict[str, typing.Any]) -> plans.Plan:
    """The plan that the task's recipe and a coordinator's choices make."""
    derived = {"task": task, "dimension": find_task(task).dimension}
    return plans.Plan.parse(
        decoded("Plan").model_dump(mode="json") | RECIPES[task].choices() | choices | derived
    )


def test_plan_files_fit_the_task_that_they_are_for() -> None:
    reference = ROOT / "docs" / "reference" / "cli.md"
    shown = [tomllib.loads(text) for text in fences(reference, "toml")]
    assert len(shown) == 2
    assert planned("forecast", shown[0]).rounds == 6
    (loss,) = planned("risk", shown[1]).losses(0.0).values()
    figures = accounting.guarantee(loss * shown[1]["rounds"], float(RECIPES["risk"].delta))
    assert f"ε is {figures.epsilon:.2f}" in prose(reference)


def test_privacy_page_states_the_recipes_cost() -> None:
    (table,) = [rows for rows in tables(ROOT / "docs" / "privacy.md") if "rounds" in rows[0]]
    assert {row["task"] for row in table} == set(RECIPES)
    for row in table:
        chosen, shown = RECIPES[row["task"]], {}
        for level, loss in planned(row["task"], {}).losses(0.0).items():
            figures = accounting.guarantee(loss * chosen.rounds, float(chosen.delta))
            shown[level.value] = pytest.approx(figures.epsilon, rel=5e-3)
        assert {level: float(row[level]) for level in Assurance if row[level] != "none"} == shown
        assert (row["statement"], int(row["rounds"])) == (chosen.mechanism.statement, chosen.rounds)


def test_privacy_page_names_each_tasks_record() -> None:
    (table,) = [rows for rows in tables(ROOT / "docs" / "privacy.md") if set(rows[0]) == {"task", "record"}]
    assert {row["task"]: row["record"] for row in table} == {name: find_task(name).record for name in TASKS}


# Data formats


def csv_examples(page: Path) -> list[tuple[str, str]]:
    return re.findall(r"^```csv (\w+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *csv_examples(ROOT / "docs" / "reference" / "data-formats.md"),
        *csv_examples(ROOT / "docs" / "tutorial.md"),
    ],
)
def test_data_examples_load(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(text)
    if name != "forecast":
        find_task(name).load(path)
        return
    # A series that could be learned from is too long to show: only its length may be wrong.
    with pytest.raises(InputError, match="spans 3 weeks, fewer than the 25"):
        find_task(name).load(path)


def test_the_floors_are_those_of_the_tasks() -> None:
    page = (ROOT / "docs" / "reference" / "data-formats.md").read_text()
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    floors = {name: find_task(name).fewest_records for name in TASKS}
    assert {name: (int(least), int(advised)) for name, least, advised in rows} == {
        name: (least, FEW * least) for name, least in floors.items()
    }


def test_every_task_has_a_data_example() -> None:
    shown = {name for name, _ in csv_examples(ROOT / "docs" / "reference" / "data-formats.md")}
    assert shown == set(TASKS)
