"""`intertwine agent backup`, `restore` and `doctor`: what keeps an agent in good health."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from intertwine.client.backup import back_up
from intertwine.client.backup import restore as put_back
from intertwine.client.comparison import compare, log_client
from intertwine.client.doctor import diagnose
from intertwine.client.home import Home
from intertwine.client.ledger import Ledger
from intertwine.protocols.doctor import as_json, healthy, show
from intertwine.protocols.errors import FederationError

HomeOption = Annotated[Path, typer.Option("--home", help="The agent's home folder.")]
_DEFAULT_HOME = Path.home() / ".intertwine" / "agent"
console = Console()


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; one that is there is replaced.")],
    home: HomeOption = _DEFAULT_HOME,
) -> None:
    """Write a whole copy of the privacy ledger to one file, while the agent runs or not."""
    copy = back_up(Home.open(home), file)
    console.print(
        f"{file} holds the ledger of [bold]{copy.participant}[/] up to entry {copy.log_size} of the log."
    )
    console.print("It holds secrets: keep it where only you can read it.")


def restore(
    file: Annotated[Path, typer.Argument(help="A copy that `backup` has written.")],
    home: HomeOption = _DEFAULT_HOME,
) -> None:
    """Put a copy in the ledger's place, and add what the coordinator's log holds of ours since then."""
    opened = Home.open(home)
    copy, given_up = put_back(opened, file)
    made = datetime.fromtimestamp(copy.time, UTC)
    console.print(f"The ledger is that of {made:%Y-%m-%d %H:%M} UTC again.")
    if given_up:
        console.print(f"Slots without a release that are given up, and that count as spent: {given_up}.")
    try:
        found = compare(Ledger(opened.ledger), opened.identity, log_client(opened))
    except FederationError as error:
        console.print(
            f"It is not compared with the coordinator's log yet: {error.problem}", style="bold yellow"
        )
        console.print("Start the agent: it commits to nothing before that is done.")
        return
    for line in found.lines:
        console.print(line, style="bold yellow", highlight=False)
    console.print(f"It was compared with all {found.size} entries of the coordinator's log.")


def doctor(
    home: HomeOption = _DEFAULT_HOME,
    json_: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """Examine everything that the agent needs, and say what to do. Exit code 1 if anything fails."""
    findings = diagnose(Home.find(home))
    if json_:
        typer.echo(as_json(findings))
    else:
        show(findings, console)
    if not healthy(findings):
        raise typer.Exit(1)
