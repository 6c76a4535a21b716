"""`intertwine coordinator`: run a federation."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from intertwine.models.registry import task as find_task
from intertwine.protocols.accounting import Assurance, guarantee
from intertwine.protocols.checkpoint import log_verifier
from intertwine.protocols.errors import FederationError
from intertwine.protocols.logs import configure_logging
from intertwine.protocols.plan import Plan
from intertwine.protocols.settings import read_toml
from intertwine.server.access import grants_in_force
from intertwine.server.admin_cli import doctor, grant, models, revoke_token, runs, seconds, when, withdraw
from intertwine.server.cosigning import coordinator_policy, quorum_reached
from intertwine.server.database import Database, postgresql_url
from intertwine.server.enrolment import invite as make_invitation
from intertwine.server.enrolment import open_invitations
from intertwine.server.export import export_bundle
from intertwine.server.home import Home
from intertwine.server.launch import build_plan
from intertwine.server.launch import launch as launch_run
from intertwine.server.membership import active_participants
from intertwine.server.membership import revoke as end_membership
from intertwine.server.pace import expected_seconds
from intertwine.server.store import Run, Store
from intertwine.server.superlink import ControlClient
from intertwine.server.supervisor import forget_driver, start_driver
from intertwine.server.supervisor import resume as resume_run
from intertwine.server.supervisor import stop as stop_run
from intertwine.server.up import control_client, down
from intertwine.server.up import up as serve
from intertwine.server.views import participant_views, run_views
from intertwine.zk.sampler import total_variation

app = typer.Typer(help="Run a federation: invite, launch, follow, stop.", no_args_is_help=True)
console = Console()
app.command("withdraw")(withdraw)
app.command("grant")(grant)
app.command("revoke-token")(revoke_token)
app.command("runs")(runs)
app.command("models")(models)
app.command("doctor")(doctor)

HomeOption = Annotated[Path, typer.Option("--home", help="The coordinator's home folder.")]
_DEFAULT_HOME = Path.home() / ".intertwine" / "coordinator"
_LOOK_S, _PATIENCE_S, _WATCH_S = 5.0, 60.0, 1.0
_HOUR_S, _MAX_HOURS = 3600, 24 * 365
_MAX_PLAN_FILE_BYTES = 64 << 10


@app.command()
def init(
    home: HomeOption = _DEFAULT_HOME,
    host: Annotated[
        list[str] | None,
        typer.Option(help="Public name or address; once for each, the first in invitations."),
    ] = None,
    bind: Annotated[str | None, typer.Option(help="Local address to listen on.")] = None,
    fleet_port: Annotated[int | None, typer.Option(help="Public port of the participants' nodes.")] = None,
    control_port: Annotated[int | None, typer.Option(help="Public port of the control plane.")] = None,
    superlink_port: Annotated[int | None, typer.Option(help="Loopback port of Flower's SuperLink.")] = None,
    database: Annotated[
        str | None, typer.Option(help="URL of a PostgreSQL database; without it, SQLite in the home.")
    ] = None,
) -> None:
    """Make a home: CA, TLS certificate, signing key, database, settings. Safe to run twice."""
    if database:
        Database(postgresql_url(database, "--database")).check()
    ports = {"fleet_port": fleet_port, "control_port": control_port, "superlink_port": superlink_port}
    given = {"bind": bind, "database_url": database, **ports}
    choices = {name: value for name, value in given.items() if value is not None}
    before = _shown(Home(home))
    opened = Home.init(home, host or (), choices)
    _store(opened)
    console.print(f"The coordinator's home is {home}; its log key is {opened.signing_key.public}")
    typer.echo(f"For policies: log {log_verifier(opened.signing_key.public)}")
    after = _shown(opened)
    if changed := [name for name in before if before[name] != after[name]]:
        for name in changed:
            console.print(f"{name}: {after[name]}; it was {before[name]}.", highlight=False)
        console.print("Restart `up` if it runs.")


@app.command()
def invite(
    participant: Annotated[str, typer.Argument(help="The participant's name.")],
    role: Annotated[str, typer.Option(help="retailer, creator, smb or security.")],
    tasks: Annotated[
        list[str],
        typer.Option("--task", "--tasks", help="A task it may join, or several, separated by commas."),
    ],
    home: HomeOption = _DEFAULT_HOME,
    hours: Annotated[float, typer.Option(help="How long the token is valid, at most a year.")] = 72.0,
) -> None:
    """Print a one-time invitation token."""
    lifetime_s = seconds("--hours", hours, _HOUR_S, _MAX_HOURS)
    names = [name.strip() for value in tasks for name in value.split(",")]
    opened = Home.open(home)
    typer.echo(make_invitation(opened, _store(opened), participant, role, names, lifetime_s))


@app.command()
def revoke(
    participant: Annotated[str, typer.Argument(help="The participant's name.")],
    reason: Annotated[str, typer.Option(help="Why; it is logged, and so public.")],
    home: HomeOption = _DEFAULT_HOME,
) -> None:
    """End a participant's membership for good. Works while runs are in progress: they go on without it."""
    opened = Home.open(home)
    was_member = end_membership(_store(opened), participant, reason, control_client(opened).unregister)
    when = "now" if was_member else "already"
    console.print(f"Participant [bold]{participant}[/] is revoked {when}; its node is expelled.")


@app.command()
def up(
    home: HomeOption = _DEFAULT_HOME,
    log_format: Annotated[str, typer.Option(help="text or json.")] = "text",
) -> None:
    """Start SuperLink and control plane; ends with Ctrl-C or SIGTERM."""
    configure_logging(log_format)
    opened = Home.open(home)
    settings = opened.settings
    serve(opened, lambda: console.print(f"Ready: {settings.control_url}, fleet at {settings.fleet_address}"))


@app.command()
def launch(
    task: Annotated[
        str, typer.Argument(help="What to train: forecast, recommendation, risk or an installed task.")
    ],
    run: Annotated[str, typer.Option(help="A name for the run.")],
    home: HomeOption = _DEFAULT_HOME,
    plan: Annotated[Path | None, typer.Option(help="A TOML file with plan fields of your choice.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Number of rounds.")] = None,
    participant: Annotated[list[str] | None, typer.Option(help="Take only these.")] = None,
    wait: Annotated[bool, typer.Option(help="Follow the run to its end.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Log and start nothing.")] = False,
) -> None:
    """Check a plan, show what it costs, log it and start its run."""
    opened = Home.open(home)
    store, control = _store(opened), control_client(opened)
    choices: dict[str, Any] = read_toml(plan, _MAX_PLAN_FILE_BYTES) if plan else {}
    if rounds is not None:
        choices["rounds"] = rounds
    if participant:
        choices["participants"] = participant
    checked = build_plan(store, task, run, choices)
    if not dry_run:
        control.require_answer()
    if "participants" not in choices:
        _show_left_out(store, checked)
    _show_cost(store, checked)
    if dry_run:
        return
    launch_run(store, opened.signing_key, checked, lambda: start_driver(opened, store, control, run))
    if wait:
        _follow(store, checked, control)


@app.command()
def resume(
    run: Annotated[str, typer.Argument(help="A run that was interrupted, or that failed before its end.")],
    home: HomeOption = _DEFAULT_HOME,
    wait: Annotated[bool, typer.Option(help="Follow the run to its end.")] = True,
) -> None:
    """Let a run go on from its last round. Nothing is published twice, and no budget is spent twice."""
    opened = Home.open(home)
    store, control = _store(opened), control_client(opened)
    resume_run(opened, store, control, run)
    if wait:
        _follow(store, Plan.decode(store.run(run).plan), control)


@app.command()
def status(
    home: HomeOption = _DEFAULT_HOME,
    watch: Annotated[bool, typer.Option(help="Show it again every second, until Ctrl-C.")] = False,
) -> None:
    """Show who is enrolled or invited, how every run stands, and how much of the log is co-signed."""
    opened = Home.open(home)
    store = _store(opened)
    if watch:
        with Live(_standing(opened, store), console=console, auto_refresh=False) as screen:
            while True:
                time.sleep(_WATCH_S)
                screen.update(_standing(opened, store), refresh=True)
    console.print(_standing(opened, store))
    typer.echo(f"For policies: log {log_verifier(opened.signing_key.public)}")


def _standing(opened: Home, store: Store) -> Group:
    """Participants, runs, access and co-signatures, as they are now."""
    people = Table("participant", "role", "tasks", "state")
    for member in participant_views(store):
        state = "revoked" if member.revoked else "enrolled"
        people.add_row(member.participant, member.role, ", ".join(member.tasks), state)
    for guest in open_invitations(store):
        state = f"invited until {when(guest.expires)}"
        people.add_row(guest.participant, guest.role, ", ".join(guest.tasks), state)
    progress = Table("run", "task", "rounds", "state", "phase", "latest event")
    for run in run_views(store):
        rounds = f"{run.finished_rounds}/{run.rounds}"
        progress.add_row(run.run, run.task, rounds, run.state, run.phase, Text(run.detail))
    lines = [
        f"{access.name} may use the control plane as {access.role} until {when(access.expires)}."
        for access in grants_in_force(store)
    ]
    if coordinator_policy(opened):
        size = next((size for size, _ in store.cosigned(1)), 0)
        lines.append(f"The witnesses' quorum has co-signed {size} of {store.size()} log entries.")
    return Group(people, progress, *lines)


@app.command()
def stop(
    run: Annotated[str, typer.Argument(help="A run; without it the whole coordinator stops.")] = "",
    home: HomeOption = _DEFAULT_HOME,
) -> None:
    """Stop one run, or the coordinator with everything that it started."""
    opened = Home.open(home)
    if not run:
        down(opened)
        return
    forget = partial(forget_driver, control_client(opened))
    stop_run(_store(opened), run, forget)


@app.command()
def export(
    run: Annotated[list[str] | None, typer.Argument(help="Runs; without any, all of them.")] = None,
    output: Annotated[Path, typer.Option(help="The new file to write.")] = Path("intertwine.bundle"),
    home: HomeOption = _DEFAULT_HOME,
) -> None:
    """Write the bundle that auditors verify, one file: the whole log, and everything that the runs used."""
    opened = Home.open(home)
    policy = coordinator_policy(opened)
    manifest = export_bundle(_store(opened), output, run or (), policy)
    console.print(
        f"{manifest.entries} log entries and the files of {len(manifest.runs)} run(s) exported to {output}; "
        f"log key {manifest.log_key}"
    )
    if policy and not quorum_reached(manifest.checkpoint, policy):
        console.print(
            "Warning: the witnesses' quorum has not co-signed its checkpoint, so an auditor's policy may "
            "refuse it; see that the witnesses run, and export again.",
            style="yellow",
        )


def _shown(home: Home) -> dict[str, str]:
    """A home's settings but for the database's URL, and the certificate's names; nothing for a new home."""
    if not home.settings_file.is_file():
        return {}
    settings = home.settings.model_dump(mode="json", exclude={"database_url"})
    return {name: str(value) for name, value in settings.items()} | {
        "certificate": ", ".join(sorted(home.certificate_hosts))
    }


def _store(home: Home) -> Store:
    return Store(home, home.signing_key)


def _show_left_out(store: Store, plan: Plan) -> None:
    members = [member.name for member in active_participants(store) if plan.task in member.tasks]
    if left_out := [name for name in members if name not in plan.participants]:
        console.print(f"Left out, for they have not enrolled records that fit: {', '.join(left_out)}.")


def _show_cost(store: Store, plan: Plan) -> None:
    console.print(
        f"Run [bold]{plan.run}[/]: {plan.rounds} round(s) of {plan.task}, dimension {plan.dimension}, "
        f"participants {', '.join(plan.participants)}"
    )
    record = find_task(plan.task).record
    for level, loss in plan.losses(plan.dimension * total_variation(plan.sigma)).items():
        cost = guarantee(loss * plan.rounds, float(plan.delta))
        whole = level is Assurance.PROVEN_PARTICIPANT
        console.print(
            f"Each participant spends epsilon {cost.epsilon:.3g} for {'all its data' if whole else record} "
            f"({level}), at delta {plan.delta}, {plan.adjacency} adjacency."
        )
        if whole and cost.precision_delta >= cost.delta:
            console.print("That protects no participant as a whole: the proof is that noise is honest.")
    seconds, known = expected_seconds(store, plan)
    source = "as rounds of the task took here" if known else "a rule of thumb: the task was never run here"
    console.print(f"It will take about {seconds:.0f} s ({source}).")


def _follow(store: Store, plan: Plan, control: ControlClient) -> None:
    """Show progress until the run ends; FederationError if it fails."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    seen, answered = "", time.monotonic()
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(f"{plan.run} rounds", total=plan.rounds)
        while not (row := store.run(plan.run)).ended:
            seen = _report(progress, row, seen)
            progress.update(bar, completed=row.finished_rounds)
            time.sleep(0.5)
            if time.monotonic() > answered + _LOOK_S:
                answered = time.monotonic() if control.answers() else answered
                _require_recent(answered)
        _report(progress, row, seen)
        progress.update(bar, completed=row.finished_rounds)
    if row.state != "finished":
        raise FederationError(f"Run {plan.run!r} has {row.state}: {row.detail}")


def _require_recent(answered: float) -> None:
    """FederationError if the SuperLink answered last too long ago for a mere restart."""
    if time.monotonic() > answered + _PATIENCE_S:
        raise FederationError(
            "The coordinator's servers do not answer any more.",
            "Start them: intertwine coordinator up; the run goes on by itself then.",
        )


def _report(progress: Progress, row: Run, seen: str) -> str:
    if row.detail and row.detail != seen:
        progress.console.print(f"  {row.detail}", markup=False, highlight=False)
    return row.detail
