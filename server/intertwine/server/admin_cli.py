"""Commands that show how a coordinator is, and that say who may use it or enrol."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from intertwine.protocols.doctor import as_json as findings_as_json
from intertwine.protocols.doctor import healthy, show
from intertwine.protocols.errors import InputError
from intertwine.server.access import end_grants
from intertwine.server.access import grant as grant_access
from intertwine.server.doctor import diagnose
from intertwine.server.enrolment import withdraw as end_invitations
from intertwine.server.home import Home
from intertwine.server.store import Store
from intertwine.server.views import model_views, run_views

console = Console()
HomeOption = Annotated[Path, typer.Option("--home", help="The coordinator's home folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_HOME = Path.home() / ".intertwine" / "coordinator"
_DAY_S = 86_400
_MAX_DAYS = 3650


def withdraw(
    participant: Annotated[str, typer.Argument(help="Whose invitations end.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Make all invitation tokens of a participant void that it has not used."""
    ended = end_invitations(_store(home), participant)
    console.print(f"{ended} invitation(s) of [bold]{participant}[/] are void now.")


def grant(
    name: Annotated[str, typer.Argument(help="Who gets the token.")],
    role: Annotated[str, typer.Option(help="coordinator or auditor.")],
    days: Annotated[float, typer.Option(help="How long the token is valid, at most ten years.")] = 90.0,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Print a token for the control plane. It is logged as an act, and never shown again."""
    lifetime_s = seconds("--days", days, _DAY_S, _MAX_DAYS)
    typer.echo(grant_access(_store(home), name, role, lifetime_s))


def revoke_token(
    name: Annotated[str, typer.Argument(help="Whose tokens end.")], home: HomeOption = DEFAULT_HOME
) -> None:
    """End all tokens that were granted to somebody."""
    console.print(f"{end_grants(_store(home), name)} token(s) of [bold]{name}[/] are void now.")


def runs(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show every run and how it stands."""
    views = run_views(_store(home))
    if as_json:
        _print_json(views)
        return
    rows = [
        (
            view.run,
            view.task,
            f"{view.finished_rounds}/{view.rounds}",
            view.state,
            when(view.launched),
            view.detail,
        )
        for view in views
    ]
    _print_table(("run", "task", "rounds", "state", "launched", "latest event"), rows)


def models(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show every published model."""
    views = model_views(_store(home))
    if as_json:
        _print_json(views)
        return
    rows = [
        (view.task, view.run, str(view.round), when(view.published), str(view.entry), view.onnx)
        for view in views
    ]
    _print_table(("task", "run", "round", "published", "log entry", "SHA-256 of the file"), rows)


def doctor(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Examine what is installed, files, certificates, disk, database and ports. Changes nothing."""
    findings = diagnose(Home.find(home))
    if as_json:
        typer.echo(findings_as_json(findings))
    else:
        show(findings, console)
    if not healthy(findings):
        raise typer.Exit(1)


def seconds(option: str, amount: float, unit_s: int, most: int) -> int:
    """How long `amount` units are; InputError, which names the option, unless it is in (0, most]."""
    if not 0 < amount <= most:  # nor is NaN
        raise InputError(f"{option} is {amount:g}.", f"Give a number over 0 and up to {most}.")
    return max(1, int(unit_s * amount))


def when(time: int) -> str:
    """A time in seconds since 1970, in UTC."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M")


def _store(home: Path) -> Store:
    opened = Home.open(home)
    return Store(opened, opened.signing_key)


def _print_json(views: Iterable[BaseModel]) -> None:
    typer.echo(json.dumps([view.model_dump() for view in views]))


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(*columns)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table if table.row_count else "There is none yet.")
