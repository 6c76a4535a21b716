"""`intertwine audit`: verify a bundle on any machine, and say in plain words what it means.

Exit codes: 0 all checks passed, 1 a check failed, 2 unusable input.
"""

import dataclasses
import json
import math
import re
import shlex
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from intertwine.protocols.cosignature import MAX_COSIGNED_BYTES
from intertwine.protocols.errors import InputError
from intertwine.protocols.files import read_bounded, write_atomic
from intertwine.protocols.policy import Policy
from intertwine.zk import proof_file
from intertwine.zk.audit import verify_bundle
from intertwine.zk.audit.proofs import ProofCache
from intertwine.zk.audit.report_page import render
from intertwine.zk.audit.verdict import Status, Verdict
from intertwine.zk.audit.verdict_json import verdict_to_json
from intertwine.zk.audit.watch_cli import watch
from intertwine.zk.audit.witness_cli import app as witness_app
from intertwine.zk.audit.wording import ASSURANCES, beyond, no_protection
from intertwine.zk.privacy import ALL_TASKS, PrivacyRow
from intertwine.zk.proof_verdict import Opinion, ProofVerdict, Verifiers, judge
from intertwine.zk.reference_string import cache_folder

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.add_typer(witness_app, name="witness")
app.command()(watch)

_MAX_KEY_FILE_BYTES = 1024
_MARKS = {
    Status.PASSED: ("pass", "green"),
    Status.FAILED: ("FAIL", "bold red"),
    Status.NOT_REACHED: ("not reached", "yellow"),
}


@app.callback()
def audit() -> None:
    """Verify what a federation did; watch its log, or witness it."""


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle's file.", show_default=False)],
    log_key: Annotated[
        str | None,
        typer.Option(
            help="The log's public key, or a file that holds it, from a source other than the bundle.",
            metavar="HEX_OR_FILE",
        ),
    ] = None,
    policy_file: Annotated[
        Path | None,
        typer.Option("--policy", help="The log's key and the witnesses to demand.", metavar="FILE"),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(help="A checkpoint that somebody else holds; may be repeated.", metavar="FILE"),
    ] = None,
    independent: Annotated[
        bool, typer.Option("--independent", help="Verify every proof with the second verifier as well.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="Processes that verify proofs; by default one a core.", min=1, max=256)
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Remember proofs found valid, and do not repeat them.")
    ] = True,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the verdict to this file.", metavar="FILE")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="Also write a report for filing.", metavar="FILE")
    ] = None,
) -> None:
    """Check a bundle's log, proofs, models and privacy figures; exit code 1 if anything is wrong."""
    policy = _read_policy(policy_file, log_key)
    notes = [read_bounded(path, MAX_COSIGNED_BYTES).decode(errors="replace") for path in checkpoint or ()]
    errors = Console(stderr=True)
    columns = TextColumn("Checking proofs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("proofs", total=None)
        verdict = verify_bundle(
            bundle,
            policy,
            checkpoints=notes,
            independent=independent,
            workers=workers,
            cache=ProofCache(cache_folder()) if cache else None,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if json_file is not None:
        write_atomic(json_file, verdict_to_json(verdict))
    if html_file is not None:
        command = _command(bundle, policy_file, log_key, checkpoint or [], independent)
        write_atomic(html_file, render(verdict, command, int(time.time())))
    _print(verdict, Console(highlight=False, soft_wrap=False))
    raise typer.Exit(0 if verdict.passed else 1)


@app.command("verify-proof")
def verify_proof(
    file: Annotated[Path, typer.Argument(help="The proof file.", show_default=False)],
    verifiers: Annotated[
        Verifiers, typer.Option("--verifier", help="Whose word to take; the two share no code.")
    ] = Verifiers.BOTH,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the verdict to this file.", metavar="FILE")
    ] = None,
) -> None:
    """Verify one proof by itself; exit code 1 if a verifier rejects it, 2 if the file is none."""
    verdict = judge(read_bounded(file, proof_file.MAX_FILE_BYTES), verifiers)
    if json_file is not None:
        document = {"version": "intertwine/proof-verdict/v1", **dataclasses.asdict(verdict)}
        write_atomic(json_file, (json.dumps(document, indent=2) + "\n").encode())
    _print_proof(verdict, Console(highlight=False, soft_wrap=True))
    raise typer.Exit(0 if verdict.accepted else 1)


def _command(
    bundle: Path, policy: Path | None, log_key: str | None, checkpoints: list[Path], independent: bool
) -> str:
    """What to type to get the verdict again; files by their names alone, whoever has them and wherever."""
    words = ["intertwine", "audit", "verify", bundle.name]
    if policy is not None:
        words += ["--policy", policy.name]
    if log_key is not None:
        words += ["--log-key", Path(log_key).name]
    for path in checkpoints:
        words += ["--checkpoint", path.name]
    return shlex.join(words + ["--independent"] * independent)


def _read_policy(policy: Path | None, log_key: str | None) -> Policy | None:
    """Whose word counts, from one of the two options; None without either."""
    if policy is None:
        return None if log_key is None else Policy.of_key(_read_key(log_key))
    if log_key is not None:
        raise InputError("--log-key and --policy both name the log's key.", "Give one of them.")
    return Policy.read(policy)


def _read_key(value: str) -> str:
    """The key given on the command line or in the file named there."""
    if re.fullmatch("[0-9a-fA-F]{64}", value):
        return value
    remedy = "Give the log's public key as the coordinator published it, or a file that holds it."
    try:
        content = read_bounded(Path(value), _MAX_KEY_FILE_BYTES).decode(errors="replace").strip()
    except InputError as error:
        problem = f"--log-key: {value!r} is not a key of 64 hexadecimal digits, nor a file to read it from."
        raise InputError(problem, remedy) from error
    if not re.fullmatch("[0-9a-fA-F]{64}", content):
        raise InputError(f"--log-key: {value} does not hold a key of 64 hexadecimal digits.", remedy)
    return content


def _print(verdict: Verdict, console: Console) -> None:
    console.print(_checks_table(verdict))
    if verdict.privacy:
        console.print(_privacy_table(verdict))
        for line in privacy_notes(verdict):
            console.print(line)
    console.print(_conclusion(verdict))


def _print_proof(verdict: ProofVerdict, console: Console) -> None:
    if verdict.summary is not None:
        console.print(_printable(verdict.summary.title))
        for heading, sentences in (
            ("Proven, if the proof is accepted:", verdict.summary.proven),
            ("Not proven:", verdict.summary.not_proven),
        ):
            console.print(heading)
            for sentence in sentences:
                console.print(_printable(f"  - {sentence}"))
    for opinion in verdict.opinions:
        console.print(Text.assemble(f"{opinion.verifier} verifier: ", _opinion(opinion)))
    console.print(_proof_conclusion(verdict))


def _proof_conclusion(verdict: ProofVerdict) -> Text:
    if not verdict.agreed:
        warning = "THE VERIFIERS DISAGREE. One of them has a defect: trust neither, and report this file."
        return Text.assemble(("FAIL", "bold red"), ": ", (warning, "bold red"))
    if not verdict.accepted:
        return Text.assemble(("FAIL", "bold red"), ": this proof shows nothing.")
    return Text.assemble(("PASS", "bold green"), ": this proof shows what is said above.")


def _opinion(opinion: Opinion) -> Text:
    if opinion.outcome == "accepted":
        return Text("accepted", "bold green")
    reason = f" by check {opinion.number} {opinion.check}" if opinion.check else ""
    return Text.assemble((opinion.outcome, "bold red"), _printable(f"{reason}: {opinion.problem}"))


def _checks_table(verdict: Verdict) -> Table:
    table = Table("#", "check", "result", "detail", title="Checks", title_justify="left")
    for check in verdict.checks:
        mark, style = _MARKS[check.status]
        table.add_row(str(check.number), check.name, Text(mark, style), _printable(check.detail))
    return table


def _privacy_table(verdict: Verdict) -> Table:
    table = Table(title="Privacy, over everything ever released", title_justify="left")
    for heading in ("participant", "task", "protects"):
        table.add_column(heading)
    for heading in ("epsilon", "delta", "releases", "invalid", "unverified", "aborted"):
        table.add_column(heading, justify="right")
    for row in verdict.privacy:
        numbers = (row.releases, row.invalid_releases, row.unverified_releases, row.aborts)
        table.add_row(
            row.participant,
            _task(row),
            ASSURANCES[row.assurance].short,
            Text("∞", "bold red") if math.isinf(row.guarantee.epsilon) else f"{row.guarantee.epsilon:.3g}",
            f"{row.guarantee.delta:.0e}",
            *map(str, numbers),
        )
    return table


def privacy_notes(verdict: Verdict) -> list[Text]:
    """What the figures do not say by themselves."""
    modes = ", ".join(verdict.beacon_modes) or "none"
    levels = {row.assurance for row in verdict.privacy}
    notes = [
        Text(
            "Neighbouring data sets differ by zeroing out one participant or one record. Proven figures rest "
            f"on the proofs' computational soundness and on the beacon (mode {modes}: safe against a "
            "participant alone, not against one that colludes with the coordinator). "
            + " ".join(words.note for level, words in ASSURANCES.items() if level in levels and words.note)
        )
    ]
    warned: dict[tuple[str, str], list[str]] = {}
    for row in verdict.privacy:
        if reason := no_protection(row) or beyond(row):
            rows = warned.setdefault((ASSURANCES[row.assurance].short, reason), [])
            rows.append(f"{row.participant} ({_task(row)})")
    for (protected, reason), rows in warned.items():
        notes.append(Text(f"Warning: {protected}: {reason} This concerns {', '.join(rows)}.", "yellow"))
    return notes


def _task(row: PrivacyRow) -> str:
    return "all" if row.task == ALL_TASKS else row.task


def _conclusion(verdict: Verdict) -> Text:
    counts = verdict.counts
    scope = (
        f"{counts.entries} entries, {counts.rounds} rounds; proofs verified: {counts.proofs_verified}; "
        f"rejections reproduced: {counts.proofs_rejected}."
    )
    if not verdict.passed:
        failed = ", ".join(
            f"{check.number} {check.name}" for check in verdict.checks if check.status is Status.FAILED
        )
        return Text.assemble(
            ("FAIL", "bold red"), f": this bundle is not to be trusted. Failed: {failed}. {scope}"
        )
    if verdict.self_asserted:
        note = (
            f"\nThe log's key is the bundle's own word. Compare it with the coordinator's: {verdict.log_key}"
        )
        return Text.assemble(("PASS", "bold green"), f": {scope}", (note, "yellow"))
    return Text.assemble(("PASS", "bold green"), f": {scope} Signed with the key you gave.")


def _printable(text: str) -> Text:
    """Text from a bundle, without control characters that a terminal would obey."""
    return Text("".join(character if character.isprintable() else "?" for character in text))
