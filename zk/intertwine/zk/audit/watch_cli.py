"""`intertwine audit watch`: follow a live log, and tell somebody when something is wrong.

Exit codes: 0 ended with Ctrl-C, or all is well (`--once`); 1 an alert; 2 unusable input.
"""

import contextlib
import math
import signal
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from intertwine.protocols.errors import InputError
from intertwine.protocols.policy import Policy
from intertwine.zk.audit.alert import Alert, Outbox
from intertwine.zk.audit.http_client import HttpClient, UnreachableError, trusting
from intertwine.zk.audit.live import LiveAudit
from intertwine.zk.audit.log_client import LogClient
from intertwine.zk.audit.watch import GRACE_S, Progress, Watcher
from intertwine.zk.audit.watch_state import WatchState

_STATE = Path("~/.intertwine/watch")


def watch(
    url: Annotated[str, typer.Argument(help="The control plane's address, https://host:port.")],
    policy: Annotated[
        Path | None,
        typer.Option(help="A policy: the log's key, its witnesses and their quorum.", metavar="FILE"),
    ] = None,
    log_key: Annotated[
        str | None, typer.Option(help="The log's public key, if there is no policy.", metavar="HEX")
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(help="The deployment's CA certificate; by default the machine's CAs.", metavar="FILE"),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="What is remembered between runs; by default a folder for each log below "
            "~/.intertwine/watch.",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None,
    interval: Annotated[float, typer.Option(help="Seconds between looks.", min=1.0, max=86_400.0)] = 10.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, and say with the exit code.")] = False,
    max_epsilon: Annotated[
        float | None, typer.Option(help="Alert if a participant's epsilon gets larger.", metavar="EPSILON")
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(help="POST alerts here and go on, instead of ending at the first.", metavar="URL"),
    ] = None,
) -> None:
    """Follow a live log and check everything that is new in it; exit code 1 at the first alert."""
    rules = _policy(policy, log_key)
    if max_epsilon is not None and not max_epsilon > 0:
        raise InputError(f"--max-epsilon: {max_epsilon} is not a positive number.", "Choose a larger one.")
    server, trusted = HttpClient(url, trusting(ca)), trusting(ca, also=True)
    witnesses = {each.nickname: HttpClient(each.url, trusted) for each in rules.witnesses if each.url}
    receiver = None if webhook is None else HttpClient(webhook, trusted)
    folder = state or _STATE.expanduser() / rules.log_key[:16]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.closing(WatchState(folder, rules.origin)) as memory:
        client = LogClient(server)
        live = LiveAudit(rules, client, lambda: memory.tree, memory.verified, max_epsilon or math.inf)
        outbox = None if receiver is None else Outbox(receiver, rules.origin, memory.sent)
        grace_s = 0 if once else GRACE_S
        watcher = Watcher(rules, client, memory, live, witnesses=witnesses, grace_s=grace_s)
        try:
            well = _follow(watcher, outbox, None if once else interval)
        except KeyboardInterrupt:
            return
    raise typer.Exit(0 if well else 1)


def _policy(file: Path | None, log_key: str | None) -> Policy:
    if (file is None) == (log_key is None):
        raise InputError(
            "Whose log this is must be known from elsewhere.", "Give either --policy or --log-key."
        )
    return Policy.of_key(log_key or "") if file is None else Policy.read(file)


def _follow(watcher: Watcher, outbox: Outbox | None, interval: float | None) -> bool:
    """Look at the log every `interval` seconds, or once if it is None; whether all was well.

    Without an outbox the first alert ends it, or, if it looks once, that look.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    alerts = 0
    with console.status("Asking the log …") as line:
        watcher.on_progress = lambda progress: line.update(_progress(progress, alerts))
        while True:
            for alert in watcher.step():
                alerts += 1
                if outbox is None or outbox.put(alert):
                    console.print(_alert(alert))
                if outbox is None and interval is not None:
                    return False
            if outbox is not None:
                _deliver(outbox, console)
            if interval is None:
                break
            time.sleep(interval)
    console.print(f"{_progress(watcher.progress, alerts)}.")
    return not alerts


def _deliver(outbox: Outbox, console: Console) -> None:
    try:
        outbox.flush()
    except UnreachableError as error:
        console.print(Text(f"The webhook did not take an alert, which waits: {error.problem}", "yellow"))


def _progress(progress: Progress, alerts: int) -> str:
    judged = "" if progress.judged == progress.size else f" ({progress.judged} judged)"
    return (
        f"{progress.size} entries{judged}, {progress.rounds} rounds, "
        f"{progress.proofs} proofs verified, {alerts} alerts"
    )


def _alert(alert: Alert) -> Text:
    entry = "" if alert.entry is None else f", entry {alert.entry}"
    check = f", check {alert.check}" if alert.check else ""
    said = f"{entry}{check}: {alert.problem} {alert.remedy}"
    shown = "".join(character if character.isprintable() else "?" for character in said)
    return Text.assemble(("ALERT ", "bold red"), (alert.kind, "bold"), shown)
