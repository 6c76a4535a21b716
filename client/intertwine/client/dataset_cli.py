"""`intertwine agent dataset`: enrol records for the tasks that train on enrolled records."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from intertwine.client.control import pinned, request
from intertwine.client.dataset_enrolment import Send, enrol_records
from intertwine.client.datasets import Datasets, Records
from intertwine.client.home import Home
from intertwine.client.keys import ask_coordinator, key_in_use
from intertwine.client.ledger import DatasetRow, Ledger
from intertwine.client.records import read_records
from intertwine.models.registry import task as find_task
from intertwine.models.task import DataBoundTask
from intertwine.protocols.errors import InputError
from intertwine.protocols.files import read_bounded
from intertwine.zk.dataset import Shape

dataset = typer.Typer(help="Enrol the records that data-bound runs train on.", no_args_is_help=True)
console = Console()

HomeOption = Annotated[Path, typer.Option("--home", help="The agent's home folder.")]
_DEFAULT_HOME = Path.home() / ".intertwine" / "agent"
_VERIFY_S = 900.0
"""How long the coordinator may take to verify a document's pages."""


@dataset.command()
def commit(
    task: Annotated[str, typer.Argument(help="The task whose data file to enrol.")],
    home: HomeOption = _DEFAULT_HOME,
) -> None:
    """Commit to the records of a data file that are not enrolled yet, prove their form, and enrol them.

    Whatever is interrupted goes on where it was the next time.
    """
    opened = Home.open(home)
    records = load_records(opened, task)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        bar = bars.add_task(f"{task}: committing", total=None)

        def show(page: int, pages: int, part: float) -> None:
            bars.update(
                bar, description=f"{task}: page {page} of {pages}", total=pages, completed=page - 1 + part
            )

        datasets = Datasets(Ledger(opened.ledger))
        with key_in_use(opened, ask_coordinator(opened)) as identity:
            count = enrol_records(
                datasets, identity, task, records, _sender(opened), bars.console.print, show
            )
    if count:
        console.print(f"{count} records of task [bold]{task}[/] are enrolled now, {len(records)} in all.")
    else:
        console.print(f"All {len(records)} records of task [bold]{task}[/] are enrolled already.")


@dataset.command("list")
def list_datasets(home: HomeOption = _DEFAULT_HOME) -> None:
    """Show what is enrolled, and what is unfinished."""
    datasets = Datasets(Ledger(Home.open(home).ledger))
    rows = datasets.all()
    if not rows:
        console.print("No records are enrolled.")
        return
    heads = {task: datasets.head(task) for task in {row.task for row in rows}}
    used = {row.digest for head in heads.values() if head for row in datasets.chain(head.digest)}
    table = Table("task", "document", "records", "columns", "row bound", "label", "state")
    for row in rows:
        count = str(len(row.features) // (2 * row.columns))
        shape = (str(row.columns), str(row.row_bound), row.label)
        table.add_row(row.task, f"{row.sequence} {row.digest[:16]}", count, *shape, _state(row, used))
    console.print(table)


def load_records(home: Home, name: str) -> Records:
    """A task's data file as integer records; InputError if the task has none to enrol."""
    settings = home.settings
    if name not in settings.tasks:
        raise InputError(
            f"This participant has no data for task {name!r}.",
            f"Use one of: {', '.join(settings.tasks)}; or add a [tasks.{name}] section to settings.toml.",
        )
    task = find_task(name)
    if not isinstance(task, DataBoundTask):
        raise InputError(f"Task {name!r} does not train on enrolled records.", "There is nothing to enrol.")
    features, labels = task.dataset(read_records(task, settings.tasks[name].data))
    shape = Shape(task.columns, task.row_bound, task.label, task.entries)
    return Records(features, labels, shape, task.record_norm)


def _sender(home: Home) -> Send:
    url, context = f"{home.settings.control_url}/v1/datasets", pinned(home.authority)
    token = read_bounded(home.access_token, 64).decode()

    def send(envelope: bytes) -> None:
        request("POST", url, context, body=envelope, token=token, limit=1 << 16, timeout_s=_VERIFY_S)

    return send


def _state(row: DatasetRow, used: set[str]) -> str:
    if not row.enrolled:
        return "unfinished"
    return "in use" if row.digest in used else "replaced"
