"""`intertwine agent budget`: what the agent's releases have cost, on what, and what that figure rests on."""

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from intertwine.client.budget import cost
from intertwine.client.home import AgentSettings, Home
from intertwine.client.ledger import NOT_COMPARED, Ledger, SlotRow
from intertwine.models.registry import task as find_task
from intertwine.protocols.errors import InputError

console = Console()
_DEFAULT_HOME = Path.home() / ".intertwine" / "agent"


def budget(
    home: Annotated[Path, typer.Option("--home", help="The agent's home folder.")] = _DEFAULT_HOME,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what every run of every task has cost, in all too, and what that figure rests on."""
    opened = Home.open(home)
    with closing(Ledger(opened.ledger)) as ledger:
        tasks = {name: ledger.slots(name) for name in ledger.tasks()}
        restored = ledger.compared().restored
    if as_json:
        typer.echo(json.dumps(_document(tasks, restored)))
        return
    _show(tasks, opened.settings)
    if restored:
        console.print(" ".join(NOT_COMPARED), style="bold yellow", highlight=False)
    elif not tasks:
        console.print("Nothing has been released yet; nothing is spent.")


def _document(tasks: dict[str, list[SlotRow]], restored: bool) -> dict[str, Any]:
    rows = [row for slots in tasks.values() for row in slots]
    return {
        "releases": [_slot(row) | _release(row) for row in rows if row.release],
        "open": [_slot(row) for row in rows if not row.release],
        "restored": restored,
    }


def _slot(row: SlotRow) -> dict[str, Any]:
    return {"run": row.run, "task": row.task, "round": row.number}


def _release(row: SlotRow) -> dict[str, Any]:
    figures = {level.value: figure.epsilon for level, figure in cost([row]).items()}
    return {"prove_s": row.prove_s, "epsilon": figures}


def _show(tasks: dict[str, list[SlotRow]], settings: AgentSettings) -> None:
    for name, slots in tasks.items():
        chosen = settings.tasks.get(name)
        limit = (
            f"at most {chosen.max_epsilon:g} in all" if chosen else "not joined: settings.toml lacks the task"
        )
        console.print(f"[bold]{name}[/]: epsilon of {_record(name)}, {limit}")
        console.print(_table(slots))
    if tasks:
        console.print(
            "Adjacency: zero-out. [bold]proven[/] figures rest on proofs that anyone can check, "
            "[bold]attested[/] ones on this agent's own clipping of each record. The limit is for one "
            "record; [bold]participant[/] figures are about all that this one has. Open slots count towards "
            "the limit: they are committed to, and their releases may still be asked for."
        )


def _record(task: str) -> str:
    try:
        return find_task(task).record
    except InputError:
        return "a record"  # the task's package is not installed any more


def _table(slots: Sequence[SlotRow]) -> Table:
    """A row for every run, and for all together, at each level of assurance."""
    columns = ("assurance", "releases", "open", "epsilon", "delta")
    table = Table(Column("run", overflow="fold"), *(Column(name, no_wrap=True) for name in columns))
    for run in dict.fromkeys(row.run for row in slots):
        _add(table, run, [row for row in slots if row.run == run])
    table.add_section()
    _add(table, "all runs", slots)
    if not all(row.release for row in slots):
        _add(table, "with open slots", slots, count_open=True)
    return table


def _add(table: Table, label: str, slots: Sequence[SlotRow], count_open: bool = False) -> None:
    released = [row for row in slots if row.release]
    counts = (str(len(released)), str(len(slots) - len(released)))
    figures = cost(slots if count_open else released)
    for level, figure in figures.items():
        table.add_row(label, level.value, *counts, f"{figure.epsilon:.2f}", f"{figure.delta:g}")
    if not figures:
        table.add_row(label, "", *counts, "0.00")
