"""`intertwine agent`: take part in a federation."""

import json
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from intertwine.client.budget_cli import budget
from intertwine.client.care_cli import backup, doctor, restore
from intertwine.client.data_cli import data
from intertwine.client.dataset_cli import dataset
from intertwine.client.enrol import enrol
from intertwine.client.home import Home
from intertwine.client.keys import ask_coordinator, rotate_key
from intertwine.client.predict import predict as make_prediction
from intertwine.client.serving.cli import api_key
from intertwine.models.registry import task as find_task
from intertwine.models.task import DataBoundTask
from intertwine.protocols.errors import InputError
from intertwine.protocols.logs import configure_logging

app = typer.Typer(help="Take part: enrol, run rounds, see the budget, predict.", no_args_is_help=True)
app.add_typer(data, name="data")
app.add_typer(dataset, name="dataset")
app.add_typer(api_key, name="api-key")
app.command("budget")(budget)
app.command("backup")(backup)
app.command("restore")(restore)
app.command("doctor")(doctor)
console = Console()

LogFormatOption = Annotated[str, typer.Option(help="How to log: text or json.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
HomeOption = Annotated[Path, typer.Option("--home", help="The agent's home folder.")]
_DEFAULT_HOME = Path.home() / ".intertwine" / "agent"


@app.command()
def enroll(
    coordinator: Annotated[str, typer.Option(help="The coordinator's address: https://host:port.")],
    token: Annotated[str, typer.Option(help="The invitation token.")],
    data: Annotated[list[str], typer.Option(help="A task's data as TASK=FILE; once for each task.")],
    home: HomeOption = _DEFAULT_HOME,
) -> None:
    """Register this machine with a coordinator that invited it."""
    files = _data_files(data)
    settings = enrol(Home(home), coordinator, token, files)
    console.print(
        f"[bold]{settings.participant}[/] is enrolled as {settings.role} for {', '.join(settings.tasks)}."
    )
    if left_out := sorted(files.keys() - settings.tasks.keys()):
        console.print(f"Left out, for the invitation does not allow it: {', '.join(left_out)}.")
    for name in settings.tasks:
        if isinstance(find_task(name), DataBoundTask):
            console.print(f"Enrol its records: intertwine agent dataset commit {name} --home {home}")
    console.print(f"Start it with: intertwine agent run --home {home}")


@app.command()
def run(log_format: LogFormatOption = "text", home: HomeOption = _DEFAULT_HOME) -> None:
    """Serve rounds until Ctrl-C or SIGTERM."""
    from intertwine.client.run import run_agent  # noqa: PLC0415 — Flower and torch take two seconds

    configure_logging(log_format)
    run_agent(Home.open(home), stop_on_signals())


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 for any that is free.", min=0, max=65535)] = 8600,
    certificate: Annotated[Path | None, typer.Option(help="A PEM certificate chain, for HTTPS.")] = None,
    key: Annotated[Path | None, typer.Option(help="The certificate's private key.")] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy in front of this speaks TLS.")
    ] = False,
    interval: Annotated[
        float, typer.Option(help="Seconds between looks for a newer model.", min=1.0, max=86400.0)
    ] = 60.0,
    log_format: LogFormatOption = "text",
    home: HomeOption = _DEFAULT_HOME,
) -> None:
    """Answer requests for predictions over HTTP until Ctrl-C or SIGTERM."""
    from intertwine.client.serving import server  # noqa: PLC0415 — FastAPI and torch take two seconds

    configure_logging(log_format)
    address = server.Address(host, port, certificate, key, behind_proxy)
    opened = Home.open(home)
    server.serve(opened, address, interval, lambda url: console.print(f"Serving predictions at {url}"))


@app.command("rotate-key")
def change_key(
    abandon_slots: Annotated[
        bool, typer.Option("--abandon-slots", help="Even if a slot still waits for its release.")
    ] = False,
    home: HomeOption = _DEFAULT_HOME,
) -> None:
    """Replace the signing key, or finish replacing it. An agent that runs goes on with the new one."""
    opened = Home.open(home)
    with console.status("Replacing the signing key. A round that is open is finished first…"):
        key = rotate_key(opened, ask_coordinator(opened), abandon_slots)
    console.print(f"The signing key in force is {key.public} now; the old one is gone.")


@app.command()
def predict(
    task: Annotated[str, typer.Argument(help="The task whose model to use.")],
    home: HomeOption = _DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Fetch a published model, check it against the signed log, and apply it to our own records."""
    prediction = make_prediction(Home.open(home), task)
    publication = prediction.publication
    if as_json:
        document = {
            "task": task,
            "run": publication.round.run,
            "round": publication.round.number,
            "onnx_sha256": publication.onnx,
            "model": str(prediction.model),
            "lines": prediction.lines,
        }
        typer.echo(json.dumps(document))
        return
    console.print(
        f"Model [bold]{task}[/] of run {publication.round.run}, checked: sha256 {publication.onnx[:16]}…"
    )
    for line in prediction.lines:
        console.print(f"  {line}", markup=False, highlight=False)


def stop_on_signals() -> threading.Event:
    """An event that Ctrl-C and SIGTERM set."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _data_files(values: list[str]) -> dict[str, Path]:
    files = {}
    for value in values:
        name, separator, path = value.partition("=")
        if not separator or not path:
            raise InputError(f"--data {value!r} is not of the form TASK=FILE.", "Example: forecast=units.csv")
        files[name] = Path(path)
    return files
