"""`intertwine agent serve` and `intertwine agent api-key`: predictions for the participant's own programs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from intertwine.client.home import Home
from intertwine.client.serving.api_keys import ApiKeys

api_key = typer.Typer(help="Who may ask for predictions.", no_args_is_help=True)
console = Console()

HomeOption = Annotated[Path, typer.Option("--home", help="The agent's home folder.")]
NameArgument = Annotated[str, typer.Argument(help="Whose key it is.")]
_DEFAULT_HOME = Path.home() / ".intertwine" / "agent"


@api_key.command()
def add(name: NameArgument, home: HomeOption = _DEFAULT_HOME) -> None:
    """Make an API key and print it, this once; the agent keeps a digest."""
    typer.echo(_keys(home).add(name))


@api_key.command("list")
def list_keys(home: HomeOption = _DEFAULT_HOME) -> None:
    """Show who has a key, and since when."""
    keys = _keys(home).all()
    if not keys:
        console.print("There are no API keys. Make one: intertwine agent api-key add NAME")
        return
    table = Table("name", "added")
    for name, key in sorted(keys.items()):
        table.add_row(name, datetime.fromtimestamp(key.added, UTC).isoformat(" ", "seconds"))
    console.print(table)


@api_key.command()
def remove(name: NameArgument, home: HomeOption = _DEFAULT_HOME) -> None:
    """Make an API key void, from the next request on."""
    _keys(home).remove(name)
    console.print(f"The API key [bold]{name}[/] is void.")


def _keys(home: Path) -> ApiKeys:
    return ApiKeys(Home.open(home).api_keys)
